from __future__ import annotations

import math
import warnings

import pytest
import torch
from ode_fields import Driven, outputs_and_gradients
from torch import Tensor

from nodebench.ode import (
    AdjointDriftWarning,
    BudgetExhaustedError,
    ConvergenceWarning,
    NonFiniteError,
    Solution,
    compat,
    odeint,
)
from nodebench.ode.methods.adams import BASHFORTH, MOULTON, ORDER, adams_weights

ADAMS = ("explicit_adams", "implicit_adams")
Y0 = torch.tensor([1.0, 0.5], dtype=torch.float64)


@pytest.mark.parametrize("ts", [[0.0, 0.5, 1.0, 2.0], [2.0, 1.0, 0.6, 0.0]], ids=["forwards", "backwards"])
@pytest.mark.parametrize("gradient", ["direct", "adjoint"])
@pytest.mark.parametrize("method", ADAMS)
def test_values_and_gradients_converge_with_order_four(method: str, gradient: str, ts: list[float]) -> None:
    field = Driven()
    exact = outputs_and_gradients(field, field.exact, Y0, ts)
    errors = []
    for num_steps in (40, 80):
        found = outputs_and_gradients(
            field,
            lambda y0, times, n=num_steps: (
                odeint(
                    field, y0, times, method=method, gradient=gradient, dt=1 / n, rtol=1e-11, atol=1e-11
                ).ys
            ),
            Y0,
            ts,
        )
        errors.append([(a - b).abs().max().item() for a, b in zip(found, exact, strict=True)])
    orders = [math.log2(coarse / fine) for coarse, fine in zip(*errors, strict=True)]
    assert orders == pytest.approx([ORDER] * len(orders), abs=0.4)


@pytest.mark.parametrize("norm", ["full", "joint", "seminorm", "state"])
@pytest.mark.parametrize("method", ADAMS)
def test_the_adjoint_agrees_with_the_direct_gradient_under_every_norm(method: str, norm: str) -> None:
    field = Driven()

    def gradients(**options: str) -> list[Tensor]:
        def solve(y0: Tensor, ts: Tensor) -> Tensor:
            return odeint(field, y0, ts, method=method, dt=0.02, rtol=1e-9, atol=1e-9, **options).ys

        return outputs_and_gradients(field, solve, Y0, [0.0, 0.5, 1.0])

    for direct, adjoint in zip(
        gradients(gradient="direct"), gradients(gradient="adjoint", adjoint_norm=norm), strict=True
    ):
        torch.testing.assert_close(adjoint, direct, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", ADAMS)
def test_direct_gradient_is_that_of_the_discrete_solve(method: str) -> None:
    def end(y0: Tensor, A: Tensor) -> Tensor:
        ts = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
        options = {"method": method, "gradient": "direct", "dt": 0.1, "rtol": 1e-3, "atol": 1e-3}
        return odeint(lambda t, y: A @ y + torch.sin(2 * t), y0, ts, **options).ys

    inputs = (Y0.clone().requires_grad_(), Driven().A.detach().clone().requires_grad_())
    assert torch.autograd.gradcheck(end, inputs)
    assert torch.autograd.gradgradcheck(end, inputs)


def test_weights_of_equal_steps_are_the_literals() -> None:
    explicit = adams_weights(torch.tensor([0.0, -1.0, -2.0, -3.0], dtype=torch.float64))
    implicit = adams_weights(torch.tensor([1.0, 0.0, -1.0, -2.0], dtype=torch.float64))
    assert explicit.tolist() == pytest.approx(BASHFORTH, abs=1e-14)
    assert implicit.tolist() == pytest.approx(MOULTON, abs=1e-14)


def test_weights_of_unequal_steps_integrate_cubics() -> None:
    offsets = torch.tensor([0.0, -0.7, -2.1, -2.6], dtype=torch.float64)
    for power in range(ORDER):
        assert (adams_weights(offsets) @ offsets**power).item() == pytest.approx(1 / (power + 1), abs=1e-12)


@pytest.mark.parametrize("method", ADAMS)
def test_requiring_grad_of_the_times_changes_no_value(method: str) -> None:
    def solve(requires_grad: bool) -> Tensor:
        ts = torch.tensor([10.0, 10.3, 11.0], requires_grad=requires_grad)  # float32, which rounds 10.3
        return odeint(Driven(), Y0, ts, method=method, gradient="direct", dt=0.02).ys

    torch.testing.assert_close(solve(True), solve(False), rtol=0, atol=1e-13)


@pytest.mark.parametrize("method", ADAMS)
def test_a_cubic_slope_in_time_is_integrated_exactly(method: str) -> None:
    solution = odeint(
        lambda t, y: (4 * t**3).expand(1),
        torch.zeros(1, dtype=torch.float64),
        [-1.0, 2.0],
        method=method,
        dt=0.1,
    )
    assert isinstance(solution.ys, Tensor)
    assert solution.ys[-1].item() == pytest.approx(15.0, abs=1e-12)


def solve_plain(method: str, ts: list[float], **options: object) -> Solution:
    with torch.no_grad():
        return odeint(Driven(), Y0, ts, method=method, gradient="direct", **options)  # type: ignore[arg-type]


def test_explicit_adams_costs_one_evaluation_a_step_after_the_start() -> None:
    counts = solve_plain("explicit_adams", [0.0, 2.0], dt=0.1).stats.forward
    assert (counts.nfe, counts.num_accepted, counts.num_rejected, counts.num_forced) == (3 * 4 + 17, 20, 0, 0)


def test_implicit_adams_costs_one_more_evaluation_an_iteration() -> None:
    assert solve_plain("implicit_adams", [0.0, 2.0], dt=0.1).stats.forward.nfe == 3 * 4 + 17 * 2
    tight = solve_plain("implicit_adams", [0.0, 2.0], dt=0.1, rtol=1e-8, atol=1e-8).stats.forward
    assert 3 * 4 + 17 * 3 < tight.nfe <= 3 * 4 + 17 * 5


@pytest.mark.parametrize("method", ADAMS)
def test_history_continues_over_outputs_at_equal_steps(method: str) -> None:
    whole = solve_plain(method, [0.0, 1.0], dt=0.1)
    parts = solve_plain(method, [0.0, 0.3, 0.5, 1.0], dt=0.1)
    assert parts.stats.forward.nfe == whole.stats.forward.nfe
    torch.testing.assert_close(parts.ys[-1], whole.ys[-1], rtol=0, atol=1e-14)


def test_history_restarts_when_the_step_length_changes() -> None:
    counts = solve_plain(
        "explicit_adams", [0.0, 0.5, 0.95], dt=0.1
    ).stats.forward  # 5 steps of 0.1, 5 of 0.09
    assert (counts.nfe, counts.num_accepted) == (2 * (3 * 4 + 2), 10)


def test_history_survives_the_rounding_of_late_times() -> None:
    assert solve_plain("explicit_adams", [1e6, 1e6 + 1], dt=0.01).stats.forward.nfe == 3 * 4 + 97


def test_a_corrector_that_does_not_converge_is_counted_and_warned_of() -> None:
    # dt * 9 / 24 * 40 = 1.5: each iteration's change is larger than the last.
    with pytest.warns(ConvergenceWarning, match="had not converged after 4 iterations.* shorter dt"):
        solution = odeint(
            lambda t, y: -40 * y,
            torch.ones(1, dtype=torch.float64),
            [0.0, 0.5],
            method="implicit_adams",
            dt=0.1,
        )
    counts = solution.stats.forward
    assert (counts.num_unconverged, counts.num_accepted, counts.num_forced) == (2, 5, 0)
    assert solution.message == "the corrector did not converge in 2 of 5 steps"
    fine = solve_plain("implicit_adams", [0.0, 2.0], dt=0.1)
    assert (fine.stats.forward.num_unconverged, fine.message) == (0, "")


def test_a_backward_solve_that_does_not_converge_is_warned_of_too() -> None:
    y0 = torch.ones(1, dtype=torch.float64, requires_grad=True)
    options = {"method": "rk4", "adjoint_method": "implicit_adams", "dt": 0.1}
    solution = odeint(lambda t, y: -40 * y, y0, [0.0, 0.5], gradient="adjoint", params=(), **options)
    with pytest.warns(ConvergenceWarning), pytest.warns(AdjointDriftWarning):
        solution.ys.sum().backward()  # type: ignore[union-attr]
    assert solution.stats.backward.num_unconverged == 2


def test_a_warning_that_comes_at_every_solve_is_shown_once() -> None:
    def stiff(t: Tensor, y: Tensor) -> Tensor:
        return -25 * (y - torch.cos(t))

    ts = torch.linspace(0, 1, 11, dtype=torch.float64)
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("default")
        for scale in (1.0, 2.0, 3.0):
            odeint(stiff, scale * Y0, ts, method="implicit_adams", dt=0.1)
            compat.odeint(stiff, scale * Y0, ts, method="implicit_adams")
    assert [warning.category for warning in shown] == [ConvergenceWarning]


def test_a_tolerance_that_rounds_to_nothing_is_no_divergence() -> None:
    with pytest.warns(ConvergenceWarning):
        counts = solve_plain("implicit_adams", [0.0, 1.0], dt=0.1, rtol=1e-300, atol=1e-300).stats.forward
    assert counts.num_unconverged == 7


def test_a_corrector_that_overflows_says_where() -> None:
    def f(t: Tensor, y: Tensor) -> Tensor:
        return torch.where(t > 0.55, y * math.inf, y)

    with pytest.raises(NonFiniteError, match=r"t=0\.5 \(dt=0\.1\): the corrector's iteration diverged"):
        odeint(f, Y0, [0.0, 1.0], method="implicit_adams", dt=0.1)


def test_a_non_finite_state_is_an_error() -> None:
    with pytest.raises(NonFiniteError, match="the state became NaN or Inf"):
        odeint(lambda t, y: y * math.nan, Y0, [0.0, 1.0], method="explicit_adams", dt=0.1)


@pytest.mark.parametrize("method", ADAMS)
def test_max_nfe_admits_exactly_what_the_solve_needs(method: str) -> None:
    tight = {"dt": 0.1, "rtol": 1e-8, "atol": 1e-8}
    needed = solve_plain(method, [0.0, 1.0], **tight).stats.forward.nfe
    assert solve_plain(method, [0.0, 1.0], max_nfe=needed, **tight).stats.forward.nfe == needed
    with pytest.raises(BudgetExhaustedError, match=rf"max_nfe={needed - 1} reached at t=0\.9 of 1"):
        solve_plain(method, [0.0, 1.0], max_nfe=needed - 1, **tight)


def test_max_steps_ends_the_solve() -> None:
    with pytest.raises(BudgetExhaustedError, match=r"max_steps=9 reached at t=0\.9 of 1"):
        solve_plain("explicit_adams", [0.0, 1.0], dt=0.1, max_steps=9)


def test_backward_evaluations_are_counted_apart() -> None:
    solution = odeint(Driven(), Y0, [0.0, 1.0, 2.0], method="explicit_adams", gradient="adjoint", dt=0.1)
    assert solution.stats.backward.nfe == 0
    solution.ys.sum().backward()  # type: ignore[union-attr]
    # Backwards the history restarts at each output: y is reset there and adj_y jumps.
    assert solution.stats.forward.nfe == 3 * 4 + 17
    assert solution.stats.backward.nfe == 2 * (3 * 4 + 7)
    assert solution.stats.backward.num_accepted == 20


@pytest.mark.parametrize("method", ADAMS)
def test_tuple_complex_and_single_precision_states_agree_with_double(method: str) -> None:
    field, ts = Driven(), [0.0, 1.0]
    expected = solve_plain(method, ts, dt=0.05).ys[-1]

    def of_tuple(t: Tensor, y: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        dy = field(t, torch.stack(y))
        return dy[0], dy[1]

    options = {"method": method, "gradient": "direct", "dt": 0.05}
    with torch.no_grad():
        entries = odeint(of_tuple, (Y0[0], Y0[1]), ts, **options).ys
        torch.testing.assert_close(torch.stack([entry[-1] for entry in entries]), expected)
        single = odeint(Driven().float(), Y0.float(), ts, **options).ys
        assert single[-1].dtype == torch.float32
        torch.testing.assert_close(single[-1].double(), expected, rtol=1e-5, atol=1e-5)
    turning = odeint(lambda t, y: 1j * y, torch.ones(1, dtype=torch.complex128), [0.0, math.pi], **options).ys
    assert turning[-1].item() == pytest.approx(-1.0, abs=1e-4)


@pytest.mark.parametrize("method", ADAMS)
def test_calls_that_make_no_sense_are_refused(method: str) -> None:
    with pytest.raises(ValueError, match=f"`{method}` steps on a grid, so it needs fixed steps: pass dt="):
        odeint(Driven(), Y0, [0.0, 1.0], method=method)
    with pytest.raises(ValueError, match=f"takes single steps again, which `{method}` cannot"):
        odeint(Driven(), Y0, [0.0, 1.0], method=method, gradient="checkpointed", dt=0.1)
    with pytest.raises(ValueError, match=f"`{method}` has no interpolant for dense_output"):
        odeint(Driven(), Y0, [0.0, 1.0], method=method, dense_output=True, dt=0.1)
