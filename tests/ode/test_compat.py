"""compat by itself: every option of the forward solve acts."""

from __future__ import annotations

import cmath
import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from ode_fields import ListeningSwing, Swing
from scipy.integrate import solve_ivp
from torch import Tensor

from nodebench.ode import BudgetExhaustedError, ConvergenceWarning, SolveStats
from nodebench.ode import odeint as odeint_of_our_own
from nodebench.ode.compat import odeint, odeint_adjoint
from nodebench.ode.status import ConvergenceError

T = torch.tensor([0.0, 0.4, 2.0], dtype=torch.float64)
Y0 = torch.tensor([1.0, -0.5], dtype=torch.float64)


def steps(t: Tensor = T, **settings: Any) -> ListeningSwing:
    field = ListeningSwing()
    odeint(field, Y0, t, **{"rtol": 1e-5, "atol": 1e-6, **settings})
    return field


def test_defaults_are_dopri5_at_1e_7_and_1e_9() -> None:
    field = ListeningSwing()
    odeint(field, Y0, T)
    assert field.accepted == steps(method="dopri5", rtol=1e-7, atol=1e-9).accepted


@pytest.mark.parametrize(
    "options", [{"safety": 0.5}, {"dfactor": 0.9}, {"first_step": 0.7}, {"max_step": 0.05}]
)
def test_options_of_the_step_size_change_the_steps(options: dict[str, float]) -> None:
    base = {"first_step": 1.9}  # far too long: it is rejected, so that dfactor has a say
    assert steps(options={**base, **options}).tried != steps(options=base).tried, (
        "the option should change which steps are tried"
    )


def test_first_step_is_the_first_step() -> None:
    assert steps(options={"first_step": 0.01}).tried[0] == (0.0, pytest.approx(0.01))


def test_no_step_is_longer_than_max_step() -> None:
    longest = max(dt for _, dt in steps(options={"max_step": 0.05}).tried)
    assert longest == pytest.approx(0.05)


def test_steps_at_min_step_are_accepted_whatever_their_error() -> None:
    field = steps(rtol=1e-12, atol=1e-12, options={"min_step": 0.1, "first_step": 0.1})
    assert not field.rejected
    assert [dt for _, dt in field.accepted] == pytest.approx([0.1] * 20)


def test_ifactor_and_dfactor_bound_how_fast_steps_change() -> None:
    grown = steps(options={"first_step": 1e-4, "ifactor": 2.0}).accepted
    assert grown[1][1] == pytest.approx(2e-4)
    shrunk = steps(rtol=1e-12, atol=1e-12, options={"first_step": 1.0, "dfactor": 0.5}).tried
    assert shrunk[1][1] == pytest.approx(0.5)


def test_safety_scales_a_step_that_the_error_decides() -> None:
    def second_step(safety: float) -> float:
        return steps(options={"first_step": 0.5, "safety": safety}).tried[1][1]

    assert second_step(0.45) == pytest.approx(second_step(0.9) / 2)


def test_max_num_steps_counts_anew_from_each_output() -> None:
    options = {"first_step": 0.05, "max_step": 0.05}
    two, three = (torch.tensor(times, dtype=torch.float64) for times in ([0, 0.42, 2], [0, 0.42, 1.22, 2]))
    # The output at 0.42 lies in the 9th step of 40, the one at 1.22 in the 25th.
    for t, longest in ((two, 31), (three, 16)):
        assert len(steps(t, options={**options, "max_num_steps": longest}).tried) == 40
        with pytest.raises(BudgetExhaustedError, match=f"max_steps_per_output={longest - 1}"):
            steps(t, options={**options, "max_num_steps": longest - 1})


@pytest.mark.parametrize("backwards", [False, True])
def test_step_t_is_stepped_on(backwards: bool) -> None:
    t = T.flip(0) if backwards else T
    stops = torch.tensor([0.123, 1.5], dtype=torch.float64)
    assert set(stops.tolist()) <= {start for start, _ in steps(t, options={"step_t": stops}).accepted}
    assert not set(stops.tolist()) & {start for start, _ in steps(t).accepted}


@pytest.mark.parametrize("backwards", [False, True])
def test_jump_t_is_stepped_on_and_evaluated_on_both_sides(backwards: bool) -> None:
    field = steps(T.flip(0) if backwards else T, options={"jump_t": torch.tensor([1.1], dtype=torch.float64)})
    assert 1.1 in {start for start, _ in field.accepted}
    near = {t for t in field.times if abs(t - 1.1) < 1e-9}
    assert near == {math.nextafter(1.1, 0), math.nextafter(1.1, 2)}


def test_norm_decides_what_counts_as_error() -> None:
    def blind(y: Tensor) -> Tensor:
        return y.abs().max() * 0

    def strict(y: Tensor) -> Tensor:
        assert y.shape == Y0.shape
        return y.abs().max() * 1e4

    assert len(steps(options={"norm": blind}).tried) < len(steps().tried)
    assert len(steps(options={"norm": strict}).tried) > len(steps().tried)


def test_norm_of_a_tuple_state_gets_the_tuple() -> None:
    shapes = set()

    def norm(state: tuple[Tensor, ...]) -> Tensor:
        shapes.add(tuple(entry.shape for entry in state))
        return torch.stack([entry.abs().max() for entry in state]).max()

    y0 = (torch.ones(2, 3, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64))
    odeint(lambda t, y: (-y[0] * t, y[0].sum()), y0, T, options={"norm": norm})
    assert shapes == {((2, 3), ())}


def test_tuple_tolerances_hold_entry_by_entry() -> None:
    def solve(rtol: Any, atol: Any) -> int:
        calls = 0

        def f(t: Tensor, y: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            nonlocal calls
            calls += 1
            return torch.cos(40 * t) * y[0], -y[1]

        odeint(f, (Y0, Y0), T, rtol=rtol, atol=atol)
        return calls

    assert solve((1.0, 1e-4), (1.0, 1e-4)) < solve((1e-4, 1.0), (1e-4, 1.0))


def test_fixed_steps_without_step_size_go_from_output_to_output() -> None:
    field = Swing()
    odeint(field, Y0, T, method="euler")
    assert field.times == T[:-1].tolist()


def test_step_size_divides_the_interval_and_leaves_the_rest_to_the_last_step() -> None:
    field = Swing()
    odeint(field, Y0, T, method="euler", options={"step_size": 0.6})
    assert field.times == pytest.approx([0.0, 0.6, 1.2, 1.8])


def test_grid_constructor_gets_the_call_and_says_where_to_step() -> None:
    field = Swing()

    def construct(func: Any, y0: Tensor, t: Tensor) -> Tensor:
        assert func is field
        assert torch.equal(y0, Y0)
        assert torch.equal(t, T)
        return torch.tensor([0.0, 0.1, 0.5, 2.0], dtype=torch.float64)

    odeint(field, Y0, T, method="euler", options={"grid_constructor": construct})
    assert field.times == [0.0, 0.1, 0.5]


def test_perturb_evaluates_just_inside_each_step() -> None:
    field = Swing()
    odeint(field, Y0, T[[0, 2]], method="heun2", options={"perturb": True})
    assert field.times == [math.nextafter(0, 1), math.nextafter(2, 0)]


@pytest.mark.parametrize("method", ["heun2", "heun3", "rk4"])
def test_a_fixed_step_is_rounded_once(method: str) -> None:
    slope, t = torch.tensor([0.2]), torch.tensor([0.0, 4.0], dtype=torch.float64)
    y0 = torch.tensor([3.2], requires_grad=True)
    y1 = odeint(lambda t, y: slope, y0, t, method=method, options={"step_size": 0.01})[-1].item()
    y = torch.tensor([3.2])
    for _ in range(400):
        y = y + 0.01 * slope
    assert abs(y1 - 4.0) <= abs(y.item() - 4.0) + 2e-5


def test_interp_is_linear_by_default_and_cubic_on_request() -> None:
    ends = odeint(Swing(), Y0, T[[0, 2]], method="heun3", options={"step_size": 2.0})
    options = {"step_size": 2.0}
    linear = odeint(Swing(), Y0, T, method="heun3", options=options)[1]
    cubic = odeint(Swing(), Y0, T, method="heun3", options={**options, "interp": "cubic"})[1]
    torch.testing.assert_close(linear, ends[0] + 0.2 * (ends[1] - ends[0]))
    f0, f1 = Swing()(T[0], ends[0]), Swing()(T[2], ends[1])
    expected = 0.896 * ends[0] + 0.104 * ends[1] + 2.0 * (0.128 * f0 - 0.032 * f1)  # theta = 0.2
    torch.testing.assert_close(cubic, expected)


@pytest.mark.parametrize("method", ["explicit_adams", "implicit_adams", "fixed_adams", "scipy_solver"])
def test_adams_and_scipy_agree_with_dopri5_and_its_adjoint(method: str) -> None:
    def solve(**settings: Any) -> list[Tensor]:
        field = Swing()
        ys = odeint_adjoint(field, Y0, T, rtol=1e-9, atol=1e-10, **settings)
        ys[-1].sum().backward()
        return [ys.detach(), field.stiffness.grad]

    options = {} if method == "scipy_solver" else {"step_size": 0.005}
    for actual, expected in zip(solve(method=method, options=options), solve(), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)


def test_adams_steps_on_the_grid_and_interpolates_by_the_cubic() -> None:
    def grid(func: Any, y0: Tensor, t: Tensor) -> Tensor:
        return torch.linspace(0, 2, 32, dtype=t.dtype)

    field = Swing()
    inside = odeint(
        field, Y0, T, method="explicit_adams", options={"grid_constructor": grid, "interp": "cubic"}
    )
    assert {round(t * 31 / 2, 9) for t in field.times} >= set(range(31))
    torch.testing.assert_close(inside, odeint(Swing(), Y0, T), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("method", ["explicit_adams", "implicit_adams"])
@pytest.mark.parametrize("gradient", [odeint, odeint_adjoint])
def test_perturbed_adams_steps_never_evaluate_on_the_grid(method: str, gradient: Any) -> None:
    field, options = Swing(), {"step_size": 0.25, "perturb": True}
    ys = gradient(field, Y0, T[[0, 2]], method=method, rtol=1e-3, atol=1e-3, options=options)
    ys[-1].sum().backward()
    grid = [0.25 * i for i in range(9)]
    assert not set(field.times) & set(grid)
    assert {math.nextafter(t, 3) for t in grid[:-1]} <= set(field.times)
    plain = odeint(Swing(), Y0, T[[0, 2]], method=method, rtol=1e-3, atol=1e-3, options={"step_size": 0.25})
    torch.testing.assert_close(ys, plain, rtol=1e-12, atol=1e-12)


IMPLICIT = ["implicit_euler", "implicit_midpoint", "trapezoid", "gl4", "gl6"]
IMPLICIT += ["radauIIA3", "radauIIA5", "sdirk2", "trbdf2"]


@pytest.mark.parametrize("method", IMPLICIT)
@pytest.mark.parametrize("solve", [odeint, odeint_adjoint])
def test_implicit_methods_take_the_options_of_fixed_steps(method: str, solve: Any) -> None:
    field, options = Swing(), {"step_size": 0.05, "interp": "cubic"}
    ys = solve(field, Y0, T, method=method, options=options)
    (grad,) = torch.autograd.grad(ys[-1].sum(), field.stiffness)
    expected = odeint(Swing(), Y0, T)
    tolerance = 0.7 if method == "implicit_euler" else 3e-2
    torch.testing.assert_close(ys, expected, rtol=0, atol=tolerance)
    assert grad.isfinite().all()

    perturbed, options = Swing(), {"step_size": 0.5, "perturb": True}
    solve(perturbed, Y0, T, method=method, options=options)
    assert not {0.0, 0.5, 1.0, 1.5, 2.0} & set(perturbed.times)


@pytest.mark.parametrize("method", ["trapezoid", "radauIIA5"])
@pytest.mark.parametrize("shape", [(), (2,), (2, 3)])
def test_implicit_methods_solve_complex_states_as_their_parts(method: str, shape: tuple[int, ...]) -> None:
    rate = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    y0 = torch.full(shape, 1 + 0.5j, dtype=torch.complex128, requires_grad=True)

    def f(t: Tensor, y: Tensor) -> Tensor:
        assert y.shape == shape
        return 1j * rate * y * t

    def solve(gradient: Any, **settings: Any) -> tuple[Tensor, ...]:
        ys = gradient(f, y0, T, **settings)
        return (ys.detach(), *torch.autograd.grad(ys[-1].real.sum(), (y0, rate)))

    expected, atol = solve(odeint), torch.full(shape, 1e-9)
    steps: Any = {"method": method, "options": {"step_size": 0.05}}
    by_adjoint = partial(odeint_adjoint, adjoint_params=(rate,), adjoint_atol=1e-9)
    for gradient in (partial(odeint, atol=atol), partial(by_adjoint, atol=atol)):
        for one, other in zip(solve(gradient, **steps), expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-2)


def test_implicit_methods_solve_tuples_of_complex_states() -> None:
    y0 = (torch.ones(1, 2, dtype=torch.complex64), torch.tensor(2j))
    heard = []

    def f(t: Tensor, y: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return -y[0], 1j * y[1]

    f.callback_step = lambda t, y, dt: heard.append(y[0].dtype)  # type: ignore[attr-defined]
    ys = odeint(f, y0, T, method="gl4", options={"step_size": 0.1}, atol=(1e-6, 1e-7), rtol=1e-6)
    torch.testing.assert_close(ys[0][-1], y0[0] * math.exp(-2), rtol=1e-4, atol=0)
    torch.testing.assert_close(
        ys[1][-1], torch.tensor(2j * cmath.exp(2j)), rtol=1e-4, atol=0, check_dtype=False
    )
    assert set(heard) == {torch.complex64}


@pytest.mark.parametrize("method", IMPLICIT)
def test_max_iters_bounds_newtons_iteration(method: str) -> None:
    def f(t: Tensor, y: Tensor) -> Tensor:
        return -(y**3)

    y0, settings = torch.ones(1, dtype=torch.float64), {"method": method, "rtol": 1e-10, "atol": 1e-10}
    odeint(f, y0, T, **settings)
    with pytest.raises(ConvergenceError, match="Newton's iteration did not converge"):
        odeint(f, y0, T, options={"max_iters": 1}, **settings)


def test_adams_interpolates_by_a_line_as_other_fixed_steps_do() -> None:
    ends = odeint(Swing(), Y0, T[[0, 2]], method="explicit_adams")
    assert torch.equal(
        odeint(Swing(), Y0, T, method="explicit_adams", options={"step_size": 2.0})[1],
        ends[0] + 0.2 * (ends[1] - ends[0]),
    )


def test_tsit5_chooses_the_steps_of_our_own() -> None:
    field, stats = steps(method="tsit5"), SolveStats()
    with torch.no_grad():
        odeint_of_our_own(
            Swing(), Y0, T, method="tsit5", rtol=1e-5, atol=1e-6, stats=stats, record_steps=True
        )
    assert stats.forward.steps is not None
    assert [dt for _, dt in field.accepted] == pytest.approx([dt for _, dt in stats.forward.steps], rel=1e-4)


def test_max_iters_bounds_the_corrector() -> None:
    def calls(max_iters: int) -> int:
        field = Swing()
        options = {"step_size": 0.1, "max_iters": max_iters}
        settings = {"rtol": 1e-14, "atol": 1e-14, "method": "implicit_adams", "options": options}
        with pytest.warns(ConvergenceWarning, match=f"after {max_iters} iterations"):
            odeint(field, Y0, T[[0, 2]], **settings)
        return len(field.times)

    # 3 Runge-Kutta steps start the solve of 20, then each costs one evaluation and one an iteration.
    assert [calls(1), calls(2)] == [12 + 17 * 2, 12 + 17 * 3]


def test_scipy_solver_is_lsoda_and_respects_its_step_bounds() -> None:
    def calls(**options: Any) -> int:
        field = Swing()
        with torch.no_grad():
            odeint(field, Y0, T, rtol=1e-5, atol=1e-6, method="scipy_solver", options=options)
        return len(field.times)

    assert calls(solver="LSODA") == calls()
    assert calls(max_step=0.01) > 200 > calls()


@pytest.mark.parametrize("solver", ["RK45", "RK23", "DOP853", "Radau", "BDF", "LSODA"])
def test_scipy_solver_takes_the_steps_of_solve_ivp(solver: str) -> None:
    def on_arrays(t: float, y: np.ndarray) -> np.ndarray:
        return theirs(torch.tensor(t, dtype=torch.float64), torch.from_numpy(y)).detach().numpy()

    ours, theirs, settings = Swing(), Swing(), {"rtol": 1e-6, "atol": 1e-8}
    ts = torch.tensor([0.0, 0.4, 0.40001, 2.0], dtype=torch.float64)  # two of them inside one step
    with torch.no_grad():
        ys = odeint(ours, Y0, ts, method="scipy_solver", options={"solver": solver}, **settings)
    expected = solve_ivp(on_arrays, (0.0, 2.0), Y0.numpy(), solver, ts.numpy(), **settings)
    # solve_ivp asks for DOP853's interpolant, of three evaluations, at both ends of the solve too.
    assert solver == "DOP853" or ours.times == theirs.times
    assert len(theirs.times) - len(ours.times) == (6 if solver == "DOP853" else 0)
    torch.testing.assert_close(ys, torch.from_numpy(expected.y.T), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("solver", ["RK45", "Radau", "BDF"])
def test_scipys_solvers_have_gradients_by_the_adjoint(solver: str) -> None:
    def solve(**settings: Any) -> tuple[Tensor, ...]:
        field, y0 = Swing(), Y0.clone().requires_grad_()
        ys = odeint_adjoint(field, y0, T, rtol=1e-9, atol=1e-10, **settings)
        return (ys.detach(), *torch.autograd.grad(ys[-1].sum(), (y0, field.stiffness)))

    for one, other in zip(solve(method="scipy_solver", options={"solver": solver}), solve(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_a_solve_that_scipy_cannot_record_has_no_gradient_and_says_so() -> None:
    for y0, field in ((Y0.clone().requires_grad_(), lambda t, y: -y), (Y0, Swing())):
        with pytest.warns(UserWarning, match="`scipy_solver` records nothing.* use odeint_adjoint"):
            ys = odeint(field, y0, T, method="scipy_solver")
        assert not ys.requires_grad
    odeint(lambda t, y: -y, Y0, T, method="scipy_solver")  # where nothing requires grad, nothing is said


def test_min_step_of_a_scipy_solver_without_one_is_a_warning() -> None:
    options = {"solver": "RK45", "min_step": 0.1}
    with torch.no_grad(), pytest.warns(UserWarning, match="SciPy's RK45 has no `min_step`"):
        odeint(Swing(), Y0, T, method="scipy_solver", options=options)


@pytest.mark.parametrize("backwards", [False, True])
def test_callbacks_hear_the_true_time_and_a_positive_step(backwards: bool) -> None:
    field = steps(T.flip(0) if backwards else T, options={"first_step": 1.9})
    sign = -1 if backwards else 1
    assert field.rejected
    assert sorted(field.tried) == sorted(field.accepted + field.rejected)
    for (start, dt), (following, _) in zip(field.accepted, field.accepted[1:], strict=False):
        assert dt > 0
        assert start + sign * dt == pytest.approx(following)


def test_callbacks_of_a_tuple_state_get_the_tuple() -> None:
    seen = []

    def f(t: Tensor, y: tuple[Tensor, Tensor]) -> list[Tensor]:
        return [-y[0], y[1] * t]

    f.callback_step = lambda t, y, dt: seen.append(tuple(entry.shape for entry in y))  # type: ignore[attr-defined]
    odeint(f, (torch.ones(2, 2), torch.ones(3)), torch.tensor([0.0, 1.0]), method="rk4")
    assert seen == [((2, 2), (3,))]


def test_callbacks_that_a_method_never_calls_get_a_warning() -> None:
    with (
        torch.no_grad(),
        pytest.warns(
            UserWarning, match="`scipy_solver` never calls callback_accept_step, callback_reject_step, c"
        ),
    ):
        odeint(ListeningSwing(), Y0, T, method="scipy_solver")
    with pytest.warns(UserWarning, match="`rk4` never calls callback_accept_step, callback_reject_step"):
        odeint(ListeningSwing(), Y0, T, method="rk4")


def test_t_that_requires_grad_gets_it_from_both() -> None:
    expected = torch.tensor([-2.0, 0.0, 2.0], dtype=torch.float64) * math.exp(2.0)
    for solve, settings in ((odeint, {}), (odeint_adjoint, {"adjoint_params": ()})):
        t = T.clone().requires_grad_()
        solve(lambda t, y: y, torch.ones(2, dtype=torch.float64), t, **settings)[-1].sum().backward()
        torch.testing.assert_close(t.grad, expected, rtol=1e-5, atol=1e-6)


def test_one_output_time_returns_the_initial_state() -> None:
    assert torch.equal(odeint(Swing(), Y0, T[:1]), Y0[None])
