"""A method of one's own, the one that docs/architecture.md shows, wherever a method goes."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nodebench.benchmark.libraries import Library, make_contestant, solve_nodebench
from nodebench.benchmark.problems import Problem
from nodebench.benchmark.race import race
from nodebench.benchmark.rows import make_rows
from nodebench.ode import ButcherTableau, OneStep, Step, Traits, compat, odeint
from nodebench.ode.methods.method import Steps

PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"
TS = torch.linspace(0, 1, 5, dtype=torch.float64)
STEPS = [{"rtol": 1e-6, "atol": 1e-6}, {"dt": 0.01}]


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """What the example on the page makes."""
    (source,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len(source.splitlines()) < 40
    names: dict[str, Any] = {}
    exec(compile(source, str(PAGE), "exec"), names)
    return names


@pytest.fixture
def trapezoid(page: dict[str, Any]) -> OneStep:
    """The page's method."""
    return page["ImplicitTrapezoid"]()


def test_the_page_solves_what_it_says(page: dict[str, Any]) -> None:
    assert page["solution"].ys[-1].tolist() == pytest.approx([torch.e**-1] * 3, rel=1e-3)


@pytest.mark.parametrize("gradient", ["direct", "checkpointed", "adjoint"])
@pytest.mark.parametrize("options", STEPS, ids=["adaptive", "fixed"])
def test_it_solves_with_every_gradient_as_dopri5_does(
    gradient: str, options: Any, trapezoid: OneStep, time_net: Any
) -> None:
    found = []
    for method, settings in ((trapezoid, options), ("dopri5", {"rtol": 1e-9, "atol": 1e-9})):
        net = time_net()
        y0, ts = torch.ones(3, dtype=torch.float64, requires_grad=True), TS.clone().requires_grad_()
        solution = odeint(net, y0, ts, method=method, gradient=gradient, **settings)
        solution.ys.square().sum().backward()
        found.append([solution.ys.detach(), y0.grad, ts.grad, *(param.grad for param in net.parameters())])
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-3)


def test_the_checkpointed_gradient_is_the_direct_one(trapezoid: OneStep, time_net: Any) -> None:
    net, grads = time_net(), []
    for gradient in ("direct", "checkpointed"):
        y0 = torch.ones(3, dtype=torch.float64, requires_grad=True)
        solution = odeint(net, y0, TS, method=trapezoid, gradient=gradient, first_step=0.1)
        grads.append(torch.autograd.grad(solution.ys.square().sum(), [y0, *net.parameters()]))
    torch.testing.assert_close(grads[1], grads[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("ts", [(0.3, 1.7), (1.7, 0.3)])
def test_it_has_its_order_and_stays_inside_the_interval(ts: Any, trapezoid: OneStep, record: Any) -> None:
    f = record(lambda t, y: torch.cos(t) * y)
    y0, exact = torch.ones(1, dtype=torch.float64), torch.tensor(ts, dtype=torch.float64).sin()
    errors = [
        (odeint(f, y0, ts, method=trapezoid, dt=dt).ys[-1] - (exact[1] - exact[0]).exp()).abs().item()
        for dt in (0.07, 0.035)
    ]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)
    assert min(ts) <= min(f.times)
    assert max(f.times) <= max(ts)


def test_its_dense_output_is_hermites_cubic(trapezoid: OneStep) -> None:
    y0 = torch.ones(1, dtype=torch.float64)
    solution = odeint(lambda t, y: -y, y0, [0.0, 1.0], method=trapezoid, dt=0.1, dense_output=True)
    assert solution.evaluate(0.537).item() == pytest.approx(torch.e**-0.537, rel=1e-3)


def test_its_evaluations_are_counted_and_end_with_the_budget(trapezoid: OneStep) -> None:
    y0 = torch.ones(1, dtype=torch.float64)
    options: Any = {"method": trapezoid, "dt": 0.1, "raise_on_failure": False}
    assert odeint(lambda t, y: -y, y0, [0.0, 1.0], **options).stats.forward.nfe == 10 * 5
    solution = odeint(lambda t, y: -y, y0, [0.0, 1.0], max_nfe=33, **options)
    assert solution.stats.forward.nfe == 30
    assert "max_nfe=33 reached at t=0.6" in solution.message


def test_it_is_a_row_of_the_bench_table(trapezoid: OneStep) -> None:
    class Decay(torch.nn.Module):
        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return -y

    problem = Problem(field=Decay(), field_name="own", y0=torch.ones(2, 3), ts=(0.0, 1.0), loss=None)
    library = Library("trapezoid", ("direct",), partial(solve_nodebench, method=trapezoid))
    results = race([make_contestant(library, problem, "direct", 1e-3)], num_rounds=1)
    (row,) = make_rows(results, [problem]).to_dict("records")
    assert (row["library"], row["gradient"], row["nfe_forward"] % 4) == ("trapezoid", "direct", 2)
    assert row["error_solution"] < 1e-2


def test_a_tableau_is_a_method_too_and_compat_keeps_torchdiffeqs_names() -> None:
    euler = ButcherTableau("my_euler", 1, c=(0.0,), a=((),), b=(1.0,))
    y0 = torch.ones(2, dtype=torch.float64)
    ys = odeint(lambda t, y: -y, y0, [0.0, 1.0], method=euler, dt=0.5).ys
    assert ys[-1].tolist() == [0.25, 0.25]
    with pytest.raises(ValueError, match="unknown method"):
        compat.odeint(lambda t, y: -y, y0, TS, method="my_euler")


@pytest.mark.parametrize("method", [3, None, OneStep, object()])
def test_what_is_no_method_is_refused(method: Any) -> None:
    with pytest.raises(
        TypeError, match=r"`method` is .*; it must be one of list_methods\(\), a ButcherTableau"
    ):
        odeint(lambda t, y: -y, torch.ones(1), [0.0, 1.0], method=method)


class Remembering(Steps):
    """Heun's steps of one solve, each of which has to begin where the one before it ended."""

    def __init__(self, course: Any) -> None:
        self._f, self._ends = course.f, [course.y0]

    def first(self, record: Any, y0: Tensor) -> Tensor:
        return self._f(record.t, y0).clone()

    def take(self, record: Any, y0: Tensor, f0: Tensor) -> Step:
        assert any(
            torch.equal(y0, end) for end in self._ends[-2:]
        )  # the latest, or that before a rejected step
        f1 = self._f(record.t1, y0 + record.dt * f0)
        self._ends += [y0, y0 + record.dt / 2 * (f0 + f1)]
        return Step(self._ends[-1], error=record.dt / 2 * (f1 - f0))

    def cost(self, record: Any) -> int:
        return 1


class MultiStep:
    """A method whose steps follow from those before them."""

    traits = Traits("remembering", order=2, has_error=True, is_one_step=False)
    begin = staticmethod(Remembering)


def test_the_adjoint_begins_a_method_with_a_memory_anew_behind_each_output(time_net: Any) -> None:
    net, y0 = time_net(), torch.ones(3, dtype=torch.float64, requires_grad=True)
    solution = odeint(net, y0, TS, rtol=1e-4, gradient="adjoint", adjoint_method=MultiStep())
    solution.ys.square().sum().backward()
    assert solution.stats.backward.num_accepted > len(TS)
