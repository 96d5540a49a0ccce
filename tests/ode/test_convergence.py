"""The error of every method falls with the step as its order says."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from nodebench.ode import odeint
from nodebench.ode.clock import Clock
from nodebench.ode.drive.grid import uniform_grid
from nodebench.ode.methods.tableaus import load_tableaus

# Steps a unit of time of the coarser of two solves: fine enough for the leading term, coarse enough for float64.
STEPS = {"dopri5": 32, "tsit5": 32, "dopri8": 4}
# Order of the interpolant: its own, or cubic Hermite's 3, or the method's where that is lower.
INTERPOLANT_ORDERS = {
    "adaptive_heun": 2,
    "fehlberg2": 2,
    "ralston": 2,
    "bosh3": 3,
    "heun3": 3,
    "rk4": 3,
    "rk4_38": 3,
    "dopri5": 4,
    "tsit5": 4,
}


def rms_error(problem: Any, method: str, num_steps: int) -> float:
    """RMS error over the grid, so that no lucky end point flatters the method."""
    grid = torch.linspace(problem.t0, problem.t1, num_steps + 1, dtype=torch.float64)
    ys = odeint(problem.f, problem.y0, grid, method=method, dt=1.0, gradient="direct").ys
    exact = torch.stack([problem.solution(t) for t in grid.tolist()])
    return (ys - exact).square().mean().sqrt().item()


@pytest.mark.parametrize("backwards", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize("method", sorted(load_tableaus()))
def test_halving_the_step_divides_the_error_by_two_to_the_order(
    coupled: Any, method: str, backwards: bool
) -> None:
    problem = coupled.reflected() if backwards else coupled
    num_steps = STEPS.get(method, 64)
    coarse, fine = (rms_error(problem, method, n) for n in (num_steps, 2 * num_steps))
    assert math.log2(coarse / fine) == pytest.approx(load_tableaus()[method].order, abs=0.2)


def interpolation_error(problem: Any, method: str, dt: float) -> float:
    """Largest error inside one step from the exact solution."""
    direction = math.copysign(1.0, problem.t1 - problem.t0)
    t1 = problem.t0 + direction * dt
    solution = odeint(
        problem.f, problem.y0, [problem.t0, t1], method=method, dt=1.0, gradient="direct", dense_output=True
    )
    ts = [problem.t0 + theta * (t1 - problem.t0) for theta in (0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 0.95)]
    return max((solution.evaluate(t) - problem.solution(t)).abs().max().item() for t in ts)


@pytest.mark.parametrize("backwards", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize("method", sorted(INTERPOLANT_ORDERS))
def test_dense_output_has_its_order_inside_a_step(coupled: Any, method: str, backwards: bool) -> None:
    problem = coupled.reflected() if backwards else coupled
    coarse, fine = (interpolation_error(problem, method, dt) for dt in (0.05, 0.025))
    # An interpolant of order q errs by O(dt^(q + 1)) inside a step.
    assert math.log2(coarse / fine) - 1 == pytest.approx(INTERPOLANT_ORDERS[method], abs=0.2)


@pytest.mark.parametrize("backwards", [False, True], ids=["forwards", "backwards"])
def test_dense_output_of_dopri8_has_at_least_order_five(coupled: Any, backwards: bool) -> None:
    problem = coupled.reflected() if backwards else coupled
    coarse, fine = (interpolation_error(problem, "dopri8", dt) for dt in (0.2, 0.1))
    assert math.log2(coarse / fine) - 1 > 4.8


@pytest.mark.parametrize("method", ["bosh3", "dopri5", "tsit5", "dopri8", "adaptive_heun", "fehlberg2"])
def test_the_reflected_problem_takes_the_same_steps_to_the_same_values(coupled: Any, method: str) -> None:
    solutions = [
        odeint(
            p.f, p.y0, [p.t0, 0.3 * p.t1, p.t1], method=method, rtol=1e-6, atol=1e-6, gradient="direct",
            record_steps=True,
        )
        for p in (coupled, coupled.reflected())
    ]  # fmt: skip
    forwards, backwards = (s.stats.forward for s in solutions)
    assert backwards.nfe == forwards.nfe
    assert backwards.num_rejected == forwards.num_rejected
    steps = [torch.tensor(counts.steps, dtype=torch.float64) for counts in (forwards, backwards)]
    torch.testing.assert_close(-steps[1], steps[0], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(solutions[0].ys, solutions[1].ys, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("method", ["bosh3", "dopri5", "tsit5", "dopri8"])
def test_the_error_of_adaptive_steps_falls_with_the_tolerance(coupled: Any, method: str) -> None:
    errors = []
    for tolerance in (1e-5, 1e-7, 1e-9):
        ts = [coupled.t0, coupled.t1]
        ys = odeint(
            coupled.f, coupled.y0, ts, method=method, rtol=tolerance, atol=tolerance, gradient="direct"
        ).ys
        errors.append((ys[-1] - coupled.solution(coupled.t1)).abs().max().item() / tolerance)
    assert max(errors) < 10


def test_euler_with_step_one_doubles_y_for_y_prime_equal_to_y() -> None:
    ys = odeint(
        lambda t, y: y,
        torch.ones((), dtype=torch.float64),
        range(5),
        method="euler",
        dt=1.0,
        gradient="direct",
    ).ys
    assert ys.tolist() == [1, 2, 4, 8, 16]


def test_euler_with_step_one_is_a_residual_net_with_shared_weights(time_net: Any) -> None:
    f, h = time_net(), torch.linspace(-1, 1, 6, dtype=torch.float64).view(2, 3)
    ys = odeint(f, h, [0.0, 4.0], method="euler", dt=1.0, gradient="direct").ys
    for t in range(4):
        h = h + f(torch.tensor(float(t), dtype=torch.float64), h)
    torch.testing.assert_close(ys[-1], h, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize(
    ("method", "factor"),
    [
        ("midpoint", 1 + 0.5 + 0.125),
        ("heun", 1 + 0.5 + 0.125),
        ("heun3", 1 + 0.5 + 0.125 + 0.125 / 6),
        ("rk4", 1 + 0.5 + 0.125 + 0.125 / 6 + 0.0625 / 24),
        ("rk4_38", 1 + 0.5 + 0.125 + 0.125 / 6 + 0.0625 / 24),
    ],
)
def test_one_step_of_y_prime_equal_to_y_is_the_taylor_polynomial(method: str, factor: float) -> None:
    ys = odeint(
        lambda t, y: y,
        torch.ones((), dtype=torch.float64),
        [0, 0.5],
        method=method,
        dt=0.5,
        gradient="direct",
    ).ys
    assert ys[-1].item() == pytest.approx(factor, rel=1e-13)


@pytest.mark.parametrize("method", sorted(load_tableaus()))
def test_a_field_of_time_alone_is_integrated_exactly_up_to_the_order(method: str) -> None:
    degree = load_tableaus()[method].order - 1
    y0 = torch.zeros(2, dtype=torch.float64)
    ys = odeint(
        lambda t, y: ((degree + 1) * t**degree).expand(2),
        y0,
        [1.0, 3.0],
        method=method,
        dt=1.0,
        gradient="direct",
    ).ys
    assert ys[-1].tolist() == pytest.approx([3.0 ** (degree + 1) - 1] * 2, rel=1e-12)


def test_a_step_that_is_a_slip_of_the_keyboard_is_refused_before_a_grid_is_made() -> None:
    with pytest.raises(ValueError, match=r"dt=1e-12 divides the 1 from .* into more than 10,000,000 steps"):
        uniform_grid(Clock((0.0, 1.0)), 1e-12)
