"""The guess of the first step: Hairer, Norsett & Wanner's rule, and where it does not apply."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from nodebench.ode.clock import Clock
from nodebench.ode.counts import Counts
from nodebench.ode.drive.first_step import first_step
from nodebench.ode.field import CountedField
from nodebench.ode.norms import Accuracy

DTYPE = torch.float64


def guess(
    f: Any, y0: Tensor, *, t: float = 0.0, direction: float = 1.0, span: float = 10.0, **options: Any
) -> float:
    field = CountedField(f, (), Counts())
    f0 = f(torch.tensor(t, dtype=y0.dtype), y0)
    clock = Clock((t, t + direction * span))
    accuracy = Accuracy(options.pop("rtol", 1e-6), options.pop("atol", 1e-9))
    step = first_step(field, clock, y0, f0, options.pop("order", 5), accuracy)
    assert field.counts.nfe == 1
    return step


def test_it_is_the_rule_of_hairer_norsett_and_wanner() -> None:
    # y' = -2 y, y0 = 3: d0 = 1/rtol', d1 = 2 d0, h0 = 0.01 / 2, and |f1 - f0| / h0 = 4 y0 exactly.
    scale = 1e-9 + 3 * 1e-6
    d1, d2 = 6 / scale, 12 / scale
    expected = min(100 * 0.005, (0.01 / max(d1, d2)) ** (1 / 5))
    assert guess(lambda t, y: -2 * y, torch.full((4,), 3.0, dtype=DTYPE)) == pytest.approx(
        expected, rel=1e-12
    )


def test_it_is_at_most_a_hundred_times_the_euler_step_of_one_percent() -> None:
    y0 = torch.full((2,), 1e-3, dtype=DTYPE)
    assert guess(lambda t, y: torch.ones_like(y), y0) == pytest.approx(100 * 0.01 * 1e-3)


def test_a_higher_order_starts_with_a_longer_step() -> None:
    y0 = torch.ones(2, dtype=DTYPE)
    steps = [guess(lambda t, y: -y, y0, order=order) for order in (2, 3, 5, 8)]
    assert steps == sorted(steps)
    assert steps[0] < steps[-1]


def test_it_is_the_same_backwards_for_the_reflected_field() -> None:
    y0 = torch.ones(2, dtype=DTYPE)
    forwards = guess(lambda t, y: torch.cos(t) * y, y0)
    backwards = guess(lambda t, y: -torch.cos(-t) * y, y0, direction=-1.0)
    assert forwards == backwards > 0


@pytest.mark.parametrize("direction", [1.0, -1.0])
def test_its_trial_stays_inside_the_interval(direction: float) -> None:
    times = []

    def slow(t: Tensor, y: Tensor) -> Tensor:
        times.append(t.item())
        return 1e-2 * y

    for dtype in (torch.float32, torch.float64):
        for t, span in ((0.1, 0.6), (0.3, 0.4), (0.7, 0.2), (-0.6229587554, 3.967061e-4), (100.1, 0.1)):
            times.clear()
            guess(slow, torch.ones(1, dtype=dtype), t=t, direction=direction, span=span, rtol=1e-3, atol=1e-3)
            end = torch.tensor(t + direction * span, dtype=dtype).item()
            assert (times[-1] - end) * direction <= 0


def test_a_field_at_rest_starts_small() -> None:
    y0 = torch.ones(3, dtype=DTYPE)
    assert guess(lambda t, y: 0 * y, y0) == pytest.approx(1e-6)
    assert guess(lambda t, y: torch.ones_like(y), 0 * y0) <= 1e-4


def test_a_field_that_is_not_finite_at_the_start_gives_nan() -> None:
    for bad in (math.nan, math.inf, -math.inf):
        assert math.isnan(guess(lambda t, y, bad=bad: torch.full_like(y, bad), torch.ones(2, dtype=DTYPE)))


def test_a_field_that_is_not_finite_at_the_trial_point_gives_a_small_step() -> None:
    step = guess(lambda t, y: torch.where(t > 0, math.nan, 1.0) * y, torch.ones(2, dtype=DTYPE))
    assert step == pytest.approx(1e-5)
