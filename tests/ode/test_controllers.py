"""Controllers as pure functions of error ratios."""

from __future__ import annotations

import math

import pytest
import torch

from nodebench.ode import odeint
from nodebench.ode.drive.controllers import CONTROLLERS, PIDController

FLAT = (1.0, 1.0)


def test_the_integral_controller_aims_at_the_safety_factor_of_the_allowed_error() -> None:
    controller = CONTROLLERS["integral"]
    assert controller.factor(0.5**5, 5, FLAT) == pytest.approx(0.9 * 2)
    assert controller.factor(2.0**5, 5, FLAT) == pytest.approx(0.9 / 2)
    assert controller.factor(0.5**3, 3, FLAT) == pytest.approx(0.9 * 2)


def test_factors_stay_between_a_fifth_and_ten() -> None:
    controller = CONTROLLERS["integral"]
    assert controller.factor(1e-30, 5, FLAT) == 10
    assert controller.factor(0.0, 5, FLAT) == 10
    assert controller.factor(1e30, 5, FLAT) == 0.2


@pytest.mark.parametrize("name", sorted(CONTROLLERS))
@pytest.mark.parametrize("order", [2, 3, 5, 8])
def test_an_accepted_step_never_shrinks_the_next_and_a_rejected_one_always_does(
    name: str, order: int
) -> None:
    controller = CONTROLLERS[name]
    for history in (FLAT, (1e8, 1.0), (1.0, 1e8), (1.3, 40.0)):
        for exponent in range(-60, 60):
            ratio = 10.0 ** (exponent / 10)
            factor = controller.factor(ratio, order, history)
            if ratio < 1:
                assert 1 <= factor <= 10
            elif ratio > 1:
                assert 0.2 <= factor <= 0.9


def test_a_rejected_step_is_controlled_by_its_own_error_alone() -> None:
    for controller in CONTROLLERS.values():
        assert controller.factor(2.0**5, 5, (7.0, 0.3)) == pytest.approx(0.45)


def test_pi_follows_hairer_and_wanner() -> None:
    # factor = safety * err_n^(-0.7/k) * err_(n-1)^(0.4/k), errors below 1.
    controller = CONTROLLERS["pi"]
    got = controller.factor(0.02, 5, (1 / 0.3, 1.0))
    assert got == pytest.approx(0.9 * 0.02 ** (-0.7 / 5) * 0.3 ** (0.4 / 5))


def test_pid_is_h312() -> None:
    # Exponents P + I + D, -(P + 2 D) and D over the order, with gains 1/18, 1/9, 1/18.
    controller = CONTROLLERS["pid"]
    got = controller.factor(1e-4, 5, (100.0, 1000.0))
    assert got == pytest.approx(0.9 * 1e4 ** (4 / 18 / 5) * 100 ** (-3 / 18 / 5) * 1000 ** (1 / 18 / 5))


def test_history_shifts_and_is_bounded() -> None:
    controller = PIDController()
    assert controller.remember(0.25, (2.0, 3.0)) == (4.0, 2.0)
    assert controller.remember(0.0, (2.0, 3.0)) == (1e8, 2.0)
    assert math.isfinite(CONTROLLERS["pid"].factor(0.5, 5, (1e8, 1e8)))


def test_a_pid_controller_with_integral_gain_alone_takes_the_steps_of_the_default() -> None:
    solutions = [
        odeint(
            lambda t, y: -20 * (y - torch.sin(5 * t)),
            torch.ones(2, dtype=torch.float64),
            [0.0, 2.0],
            rtol=1e-6,
            atol=1e-6,
            gradient="direct",
            record_steps=True,
            controller=controller,
        )
        for controller in ("integral", PIDController(proportional=0.0, integral=1.0, derivative=0.0))
    ]
    assert solutions[0].stats == solutions[1].stats
    assert torch.equal(solutions[0].ys, solutions[1].ys)


@pytest.mark.parametrize("controller", ["pi", "pid"])
def test_the_other_controllers_reach_the_same_accuracy(controller: str) -> None:
    ys = odeint(
        lambda t, y: -y, torch.ones(1, dtype=torch.float64), [0.0, 5.0], rtol=1e-7, atol=1e-9,
        controller=controller, gradient="direct",
    ).ys  # fmt: skip
    assert ys[-1].item() == pytest.approx(math.exp(-5), abs=1e-7)
