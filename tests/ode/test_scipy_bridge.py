from __future__ import annotations

import math
import re
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from ode_fields import Driven, decay, outputs_and_gradients
from scipy.integrate import ode, solve_ivp
from torch import Tensor

from nodebench.ode import BudgetExhaustedError, NonFiniteError, Solution, StepUnderflowError, odeint

BRIDGE = ("vode_adams", "lsoda")
TS = [0.0, 0.5, 0.52, 1.0, 2.0]  # two outputs inside one step
Y0 = torch.tensor([1.0, 0.5], dtype=torch.float64)
TIGHT = {"rtol": 1e-8, "atol": 1e-8}


def on_arrays(t: float, y: np.ndarray) -> np.ndarray:
    """Driven, as SciPy calls it."""
    with torch.no_grad():
        return Driven()(torch.tensor(t, dtype=torch.float64), torch.tensor(y)).numpy()


def solve_plain(
    method: str, field: Any = None, y0: Tensor = Y0, ts: list[float] = TS, **options: Any
) -> Solution:
    """A solve without gradients."""
    with torch.no_grad():
        return odeint(field or Driven(), y0, ts, method=method, gradient="direct", **options)


def by_adjoint(ts: list[float], dtype: torch.dtype = torch.float64, **options: Any) -> list[Tensor]:
    field = Driven().to(dtype)
    return outputs_and_gradients(
        field, lambda y0, ts: odeint(field, y0, ts, gradient="adjoint", **options).ys, Y0.to(dtype), ts
    )


def test_vode_adams_is_the_call_that_the_paper_made(record: Any) -> None:
    scipys = ode(on_arrays).set_integrator("vode", method="adams", **TIGHT)
    scipys.set_initial_value(Y0.numpy(), TS[0])
    expected = [Y0.numpy(), *(scipys.integrate(t).copy() for t in TS[1:])]
    field = record(Driven())
    solution = solve_plain("vode_adams", field, **TIGHT)
    assert np.array_equal(solution.ys.numpy(), expected)  # type: ignore[union-attr]
    assert solution.stats.forward.nfe == len(field.times)
    assert max(field.times) > TS[-1]  # VODE's own way: over the output and back


def test_lsoda_is_that_of_solve_ivp(record: Any) -> None:
    expected = solve_ivp(on_arrays, (TS[0], TS[-1]), Y0.numpy(), "LSODA", t_eval=TS, **TIGHT)
    field = record(Driven())
    solution = solve_plain("lsoda", field, **TIGHT)
    np.testing.assert_allclose(solution.ys.numpy(), expected.y.T, rtol=0, atol=1e-14)  # type: ignore[union-attr]
    assert solution.stats.forward.nfe == expected.nfev == len(field.times)
    assert max(field.times) <= TS[-1]


@pytest.mark.parametrize("ts", [TS, TS[::-1]], ids=["forwards", "backwards"])
@pytest.mark.parametrize("method", BRIDGE)
def test_values_and_gradients_agree_with_dopri5(method: str, ts: list[float]) -> None:
    expected = by_adjoint(ts, method="dopri5", rtol=1e-11, atol=1e-11)
    for found, value in zip(by_adjoint(ts, method=method, **TIGHT), expected, strict=True):
        torch.testing.assert_close(found, value, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("method", BRIDGE)
def test_single_precision_agrees_to_its_tolerance(method: str) -> None:
    expected = by_adjoint(TS, method="dopri5", **TIGHT)
    options = {"method": method, "rtol": 1e-5, "atol": 1e-5}
    for found, value in zip(by_adjoint(TS, torch.float32, **options), expected, strict=True):
        torch.testing.assert_close(found.double(), value, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("method", BRIDGE)
def test_tuple_states_with_a_tolerance_each(method: str) -> None:
    field = Driven()

    def of_tuple(t: Tensor, y: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        dy = field(t, torch.cat([y[0], y[1].view(1)]))
        return dy[:1], dy[1]

    y0: Any = (Y0[:1], Y0[1])
    options = {"rtol": [1e-9, 1e-9], "atol": [1e-9, 1e-9], "adjoint_rtol": 1e-9, "adjoint_atol": 1e-9}
    first, second = solve_plain(method, of_tuple, y0, **options).ys
    assert (first.shape, second.shape) == ((len(TS), 1), (len(TS),))
    together = torch.stack([first[:, 0], second], dim=1)
    torch.testing.assert_close(together, solve_plain("dopri5", **TIGHT).ys, rtol=0, atol=1e-6)

    def apart(t: Tensor, y: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return -y[0], 30 * torch.cos(30 * t)

    all_tight = solve_plain(method, apart, y0, **options)
    loose = solve_plain(method, apart, y0, **{**options, "rtol": [1e-9, 1.0], "atol": [1e-9, 1.0]})
    assert loose.stats.forward.nfe < all_tight.stats.forward.nfe
    assert loose.ys[0][-1].item() == pytest.approx(math.exp(-2), abs=1e-7)


@pytest.mark.parametrize("method", BRIDGE)
def test_counts_tell_what_scipy_tells(method: str) -> None:
    solution = odeint(Driven(), Y0, TS, method=method, gradient="adjoint", record_steps=True)
    forward, backward = solution.stats.forward, solution.stats.backward
    nfe = forward.nfe
    assert (backward.nfe, forward.num_rejected) == (0, None)
    assert forward.steps is not None
    assert len(forward.steps) == forward.num_accepted
    ends = [t + dt for t, dt in forward.steps]
    assert ends[:-1] == pytest.approx([t for t, _ in forward.steps[1:]])
    assert ends[-1] >= TS[-1]
    solution.ys.sum().backward()  # type: ignore[union-attr]
    assert forward.nfe == nfe
    assert backward.nfe > 0
    assert backward.num_rejected is None


@pytest.mark.parametrize("method", BRIDGE)
def test_direct_with_autograd_is_refused(method: str) -> None:
    sentence = (
        f"gradient=`direct` records every step, which `{method}` cannot; use gradient=`adjoint`, or dopri5"
    )
    options = {"method": method, "gradient": "direct"}
    with pytest.raises(ValueError, match=re.escape(sentence)):
        odeint(Driven(), Y0, TS, **options)
    with pytest.raises(ValueError, match=re.escape(sentence)):
        odeint(lambda t, y: -y, Y0.clone().requires_grad_(), TS, **options)
    with pytest.raises(ValueError, match=re.escape(sentence)):
        odeint(lambda t, y: -y, Y0, torch.tensor(TS, requires_grad=True), **options)
    with pytest.raises(ValueError, match=f"takes single steps again, which `{method}` cannot"):
        odeint(Driven(), Y0, TS, method=method, gradient="checkpointed")


@pytest.mark.parametrize("method", BRIDGE)
def test_direct_without_a_graph_is_a_plain_solve(method: str) -> None:
    ys = odeint(lambda t, y: -y, Y0, TS, method=method, gradient="direct", **TIGHT).ys
    assert isinstance(ys, Tensor)
    torch.testing.assert_close(ys[-1], Y0 * math.exp(-2), rtol=0, atol=1e-7)
    assert torch.equal(ys[0], Y0)


def test_lsoda_refuses_large_states_before_it_solves(record: Any) -> None:
    field = record(decay)
    with pytest.raises(ValueError, match=r"200,080,008 bytes for a state of 5,001 numbers .* use vode_adams"):
        solve_plain("lsoda", field, torch.ones(5001))
    assert not field.times
    assert solve_plain("vode_adams", field, torch.ones(5001)).stats.forward.nfe == len(field.times)

    ys = odeint(
        Driven(), torch.ones(1300, 2, dtype=torch.float64), [0.0, 0.1], method="lsoda", gradient="adjoint"
    ).ys
    with pytest.raises(
        ValueError, match=r"a state of 5,206 numbers \(of the adjoint: y, adj_y and all parameters\)"
    ):
        ys.sum().backward()  # type: ignore[union-attr]


@pytest.mark.parametrize("method", BRIDGE)
def test_steps_of_ones_own_are_refused(method: str) -> None:
    for name, value in {"dt": 0.1, "step_ts": [0.5], "jump_ts": [0.5]}.items():
        with pytest.raises(ValueError, match=f"`{method}` chooses its own steps and takes no `{name}`"):
            solve_plain(method, **{name: value})


@pytest.mark.parametrize("method", BRIDGE)
def test_budgets_admit_exactly_what_the_solve_needs(method: str, record: Any) -> None:
    counts = solve_plain(method).stats.forward
    assert counts.num_accepted is not None
    within = solve_plain(method, max_nfe=counts.nfe, max_steps=counts.num_accepted)
    assert within.stats.forward == counts
    field = record(Driven())
    with pytest.raises(
        BudgetExhaustedError, match=rf"max_nfe={counts.nfe - 1} reached .* nfe {counts.nfe - 1}\)"
    ):
        solve_plain(method, field, max_nfe=counts.nfe - 1)
    assert len(field.times) == counts.nfe - 1
    with pytest.raises(BudgetExhaustedError, match=r"max_steps=3 reached at t=.* \(accepted 3, nfe"):
        solve_plain(method, max_steps=3)


@pytest.mark.parametrize("method", BRIDGE)
def test_a_failed_solve_keeps_the_outputs_it_reached(method: str) -> None:
    def f(t: Tensor, y: Tensor) -> Tensor:
        return torch.where(t > 1.5, y * math.nan, -y)

    solution = solve_plain(method, f, raise_on_failure=False, max_step=0.1)
    assert isinstance(solution.ys, Tensor)
    assert solution.ys.isfinite().all(dim=1).tolist() == [True, True, True, True, False]
    assert "non-finite solve at t=1." in solution.message


@pytest.mark.parametrize("method", BRIDGE)
def test_non_finite_fields_and_states_are_errors(method: str) -> None:
    with pytest.raises(NonFiniteError, match="the vector field or the state became NaN or Inf"):
        solve_plain(method, lambda t, y: y * math.nan)
    with pytest.raises(NonFiniteError, match="the vector field or the state became NaN or Inf"):
        solve_plain(method, lambda t, y: torch.zeros_like(y), torch.tensor([math.inf, 1.0]))


def test_a_step_that_fails_at_min_step_is_an_error() -> None:
    with pytest.raises(
        StepUnderflowError, match=r"step size underflow at t=.* with rtol=1e-10, atol=1e-10 in float64"
    ):
        solve_plain("vode_adams", rtol=1e-10, atol=1e-10, min_step=0.4)
    with pytest.raises(ValueError, match="SciPy's `lsoda` does not keep to a `min_step`"):
        solve_plain("lsoda", min_step=0.4)


@pytest.mark.parametrize("method", BRIDGE)
def test_a_singularity_ends_in_a_typed_error(method: str) -> None:
    with pytest.raises((StepUnderflowError, NonFiniteError)):
        solve_plain(method, lambda t, y: y**2)


@pytest.mark.parametrize("method", BRIDGE)
@pytest.mark.parametrize("exception", [ZeroDivisionError, KeyboardInterrupt])
def test_an_exception_in_f_comes_out_as_it_is_and_ends_the_solve(
    method: str, exception: type[BaseException]
) -> None:
    calls: list[Tensor] = []

    def f(t: Tensor, y: Tensor) -> Tensor:
        calls.append(t)
        if len(calls) == 7:
            raise exception("in f")
        return -y

    with pytest.raises(exception, match="in f") as caught:
        solve_plain(method, f)
    assert len(calls) == 7
    assert caught.traceback[-1].name == "f"


@pytest.mark.parametrize("method", BRIDGE)
def test_steps_obey_first_step_and_max_step(method: str) -> None:
    solution = solve_plain(method, ts=TS[::-1], first_step=1e-3, max_step=0.05, record_steps=True)
    steps = solution.stats.forward.steps
    assert steps is not None
    assert steps[0] == pytest.approx((2.0, -1e-3))
    assert max(abs(dt) for _, dt in steps) <= 0.05 * (1 + 1e-9)
    assert solve_plain(method, first_step=100.0).stats.forward.nfe > 0  # longer than the interval: clipped


def test_solves_in_turn_do_not_disturb_each_other() -> None:
    def forward(scale: float) -> tuple[Tensor, Tensor]:
        y0 = (scale * Y0).detach().requires_grad_()
        return y0, odeint(Driven(), y0, TS, method="vode_adams", gradient="adjoint").ys.sum()  # type: ignore[union-attr]

    alone = []
    for scale in (1.0, 3.0):
        y0, loss = forward(scale)
        loss.backward()
        alone.append(y0.grad)
    (y0, loss), (other_y0, other_loss) = forward(1.0), forward(3.0)
    loss.backward()
    other_loss.backward()
    assert torch.equal(y0.grad, alone[0])  # type: ignore[arg-type]
    assert torch.equal(other_y0.grad, alone[1])  # type: ignore[arg-type]


@pytest.mark.parametrize("method", BRIDGE)
def test_the_initial_state_is_left_alone_and_fs_warnings_are_heard(method: str) -> None:
    y0 = Y0.clone()

    def f(t: Tensor, y: Tensor) -> Tensor:
        warnings.warn("from f", UserWarning, stacklevel=2)
        return -y

    with pytest.warns(UserWarning, match="from f"):
        ys = solve_plain(method, f, y0).ys
    assert torch.equal(y0, Y0)
    assert isinstance(ys, Tensor)
    assert len({row[0].item() for row in ys}) == len(TS)


@pytest.mark.parametrize("method", BRIDGE)
def test_a_complex_state_is_solved_as_its_parts(method: str) -> None:
    y0 = torch.tensor([1.0, 0.5j], dtype=torch.complex128, requires_grad=True)
    rate = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    tolerances = {"rtol": 1e-9, "atol": 1e-9}

    def f(t: Tensor, y: Tensor, rate: Tensor) -> Tensor:
        return 1j * rate * y

    expected = []
    for name in (method, "dopri5"):
        ys = odeint(f, y0, TS, (rate,), method=name, gradient="adjoint", **tolerances).ys
        expected.append((ys.detach(), *torch.autograd.grad(ys[-1].real.sum(), (y0, rate))))
    assert expected[0][0].dtype == torch.complex128
    for one, other in zip(*expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)

    halves = solve_plain(
        method,
        lambda t, y: (1j * y[0], -1j * y[1]),
        (y0[:1].detach(), y0[1:].detach()),
        rtol=[1e-9, 1e-6],
        atol=[1e-9, 1e-6],
    )
    torch.testing.assert_close(halves.ys[0], expected[0][0][:, :1], rtol=0, atol=1e-6)


def test_a_tolerance_below_float64_is_an_error_or_met() -> None:
    assert solve_plain("lsoda", rtol=1e-15, atol=1e-8).stats.forward.nfe > 0
    with pytest.raises(StepUnderflowError, match="loosen the tolerance"):
        solve_plain("vode_adams", rtol=1e-18, atol=1e-18)
