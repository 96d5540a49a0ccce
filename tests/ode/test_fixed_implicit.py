"""Implicit methods at fixed steps: diagonally implicit ones, and fully implicit ones by collocation."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from ode_fields import outputs_and_gradients
from torch import Tensor, nn

from nodebench.ode import odeint
from nodebench.ode.methods.implicit.collocation import COLLOCATION, Collocation
from nodebench.ode.status import ConvergenceError

METHODS = ["implicit_midpoint", "sdirk2", "trbdf2", *COLLOCATION]
L_STABLE = ["sdirk2", "trbdf2", "radauIIA3", "radauIIA5"]
ORDERS = {name: method.order for name, method in COLLOCATION.items()}
TIGHT = {"rtol": 1e-11, "atol": 1e-12}


@pytest.mark.parametrize("backwards", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize("method", METHODS)
def test_halving_the_step_divides_the_error_by_two_to_the_order(
    coupled: Any, method: str, backwards: bool
) -> None:
    problem = coupled.reflected() if backwards else coupled
    errors = []
    for num_steps in (16, 32):
        grid = torch.linspace(problem.t0, problem.t1, num_steps + 1, dtype=torch.float64)
        with torch.no_grad():
            ys = odeint(problem.f, problem.y0, grid, method=method, dt=1.0, **TIGHT).ys
        exact = torch.stack([problem.solution(t) for t in grid.tolist()])
        errors.append((ys - exact).square().mean().sqrt().item())
    assert math.log2(errors[0] / errors[1]) == pytest.approx(ORDERS.get(method, 2), abs=0.25)


@pytest.mark.parametrize("method", METHODS)
def test_a_step_of_a_linear_field_multiplies_by_the_stability_function(method: str) -> None:
    def step(z: float) -> float:
        y0 = torch.ones(1, dtype=torch.float64)
        return odeint(lambda t, y: z * y, y0, [0.0, 1.0], method=method, dt=1.0, **TIGHT).ys[-1].item()

    expected = {  # Pade approximations to exp(z): Hairer & Wanner II, tables IV.5.1 to IV.5.6
        "implicit_midpoint": lambda z: (1 + z / 2) / (1 - z / 2),
        "gl4": lambda z: (1 + z / 2 + z**2 / 12) / (1 - z / 2 + z**2 / 12),
        "gl6": lambda z: (1 + z / 2 + z**2 / 10 + z**3 / 120) / (1 - z / 2 + z**2 / 10 - z**3 / 120),
        "radauIIA3": lambda z: (1 + z / 3) / (1 - 2 * z / 3 + z**2 / 6),
        "radauIIA5": lambda z: (1 + 2 * z / 5 + z**2 / 20) / (1 - 3 * z / 5 + 3 * z**2 / 20 - z**3 / 60),
    }
    for z in (-0.5, -3.0, -40.0):
        if method in expected:
            assert step(z) == pytest.approx(expected[method](z), rel=1e-9)
        assert abs(step(z)) < 1  # A-stable
    if method in L_STABLE:
        assert abs(step(-1e8)) < 1e-6


@pytest.mark.parametrize("method", METHODS)
def test_a_stiff_solve_of_few_steps_follows_the_slow_solution(method: str) -> None:
    def f(t: Tensor, y: Tensor) -> Tensor:
        return -1000 * (y - t.cos()) - t.sin()

    y0, ts = torch.ones(3, 1, dtype=torch.float64), torch.linspace(0, 2, 9, dtype=torch.float64)
    solution = odeint(f, y0, ts, method=method, dt=0.25, **TIGHT)
    torch.testing.assert_close(solution.ys, ts.cos()[:, None, None].expand(9, 3, 1), rtol=0, atol=5e-2)
    counts = solution.stats.forward
    assert (counts.num_accepted, counts.num_jacobians, counts.num_factorizations) == (8, 1, 1)


class Driven(nn.Module):
    """A small net of time and state, with a decay."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Linear(3, 2).double()

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        time = t.expand(*y.shape[:-1], 1)
        values: Tensor = self.net(torch.cat([y, time], -1)).tanh() - 5 * y
        return values


@pytest.mark.parametrize("method", METHODS)
def test_the_adjoint_agrees_with_direct_as_steps_shrink(method: str) -> None:
    field, y0 = Driven(), torch.tensor([[1.0, -0.5], [0.3, 2.0]], dtype=torch.float64)

    def solve(gradient: str) -> list[Tensor]:
        options: Any = {"method": method, "gradient": gradient, "dt": 0.02, **TIGHT}
        return outputs_and_gradients(
            field, lambda y0, ts: odeint(field, y0, ts, **options).ys, y0, [0.0, 0.4]
        )

    for one, other in zip(solve("direct"), solve("adjoint"), strict=True):
        torch.testing.assert_close(one, other, rtol=5e-3, atol=5e-4)


@pytest.mark.parametrize("method", ["gl4", "trbdf2"])
def test_tuple_states_outputs_inside_steps_and_single_precision(method: str) -> None:
    y0 = (torch.ones(2), torch.full((1, 2), 2.0))
    ys = odeint(
        lambda t, y: (-y[0], y[1] * t),
        y0,
        [0.0, 0.5, 1.0],
        method=method,
        dt=0.05,
        dense_output=True,
    )
    assert ys.ys[0].dtype == torch.float32
    torch.testing.assert_close(ys.ys[0][-1], torch.full((2,), math.exp(-1)), rtol=1e-3, atol=0)
    inside = ys.evaluate(0.525)
    torch.testing.assert_close(inside[1], torch.full((1, 2), 2 * math.exp(0.525**2 / 2)), rtol=1e-3, atol=0)


@pytest.mark.parametrize("method", METHODS)
def test_without_dt_they_say_that_they_need_it(method: str) -> None:
    with pytest.raises(
        ValueError, match=f"`{method}` has no embedded error estimate, so it needs fixed steps"
    ):
        odeint(lambda t, y: -y, torch.ones(2), [0.0, 1.0], method=method)


def test_the_matrices_of_all_stages_are_refused_by_their_bytes_before_they_are_made() -> None:
    y0 = torch.ones(2500, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"`gl6` solves with matrices of 7,500 x 7,500 numbers, 1.26 GiB"):
        odeint(lambda t, y: -y, y0, [0.0, 1.0], method="gl6", dt=1.0)


@pytest.mark.parametrize("method", METHODS)
def test_a_step_that_has_no_solution_is_an_error_with_its_name(method: str) -> None:
    with pytest.raises(ConvergenceError, match="Newton's iteration did not converge"):
        odeint(lambda t, y: y**2 + 2, torch.zeros(1), [0.0, 2.0], method=method, dt=2.0)


def test_a_long_step_is_solved_where_an_explicit_one_leads_astray() -> None:
    y0 = torch.tensor([0.8], dtype=torch.float64)
    y1 = odeint(lambda t, y: -(y**3), y0, [0.0, 1.6], method="implicit_euler", dt=2.0, **TIGHT).ys[-1]
    assert (y1 + 1.6 * y1**3).item() == pytest.approx(0.8, rel=1e-10)


def test_the_coefficients_are_the_published_ones() -> None:
    root3, root6 = math.sqrt(3), math.sqrt(6)
    expected = {
        "gl4": [[1 / 4, 1 / 4 - root3 / 6], [1 / 4 + root3 / 6, 1 / 4]],
        "radauIIA3": [[5 / 12, -1 / 12], [3 / 4, 1 / 4]],
        "radauIIA5": [
            [(88 - 7 * root6) / 360, (296 - 169 * root6) / 1800, (-2 + 3 * root6) / 225],
            [(296 + 169 * root6) / 1800, (88 + 7 * root6) / 360, (-2 - 3 * root6) / 225],
            [(16 - root6) / 36, (16 + root6) / 36, 1 / 9],
        ],
    }
    for name, rows in expected.items():
        for row, wanted in zip(COLLOCATION[name].a, rows, strict=True):
            assert row == pytest.approx(wanted, abs=1e-14)
            assert math.fsum(row) == pytest.approx(sum(wanted), abs=1e-14)


@pytest.mark.parametrize(
    ("order", "nodes", "message"),
    [
        (2, (0.5, 0.5), "they must differ"),
        (2, (0.0, 1.0), r"lie in \(0, 1\]"),
        (3, (0.25, 0.75), "no quadrature of order 3"),
    ],
)
def test_nodes_that_make_no_method_are_refused(order: int, nodes: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Collocation("mine", order, nodes)
