from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import linregress

from nodebench.benchmark.slopes import Slope, fit_slope, half_interval


def test_a_power_is_its_exponent_without_error() -> None:
    slope = fit_slope([1, 2, 4, 8], [3.0, 12.0, 48.0, 192.0])
    assert slope.exponent == pytest.approx(2.0)
    assert slope.stderr == pytest.approx(0.0, abs=1e-7)


def test_the_standard_error_is_that_of_a_line_through_the_logarithms() -> None:
    values, quantities = [2.0, 4.0, 8.0, 32.0, 64.0], [1.1, 1.9, 4.4, 14.0, 35.0]
    expected = linregress(np.log(values), np.log(quantities))
    slope = fit_slope(values, quantities)
    assert slope.exponent == pytest.approx(expected.slope)
    assert slope.stderr == pytest.approx(expected.stderr)


def test_two_points_have_no_standard_error() -> None:
    slope = fit_slope([1, 2], [1.0, 2.0])
    assert slope.exponent == pytest.approx(1.0)
    assert math.isnan(slope.stderr)


@pytest.mark.parametrize(
    ("values", "quantities", "message"),
    [
        ([2, 2], [1.0, 3.0], "two different points"),
        ([1, 2], [1.0], "two different points"),
        ([1, 2], [0.0, 3.0], "not positive"),
        ([0, 2], [1.0, 3.0], "not positive"),
    ],
)
def test_what_has_no_slope_is_refused(values: list[float], quantities: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_slope(values, quantities)


def test_half_an_interval_is_students_t_times_the_standard_error() -> None:
    assert half_interval(Slope(1.0, 0.5), 4) == pytest.approx(
        0.5 * 4.302652729911275
    )  # t of 2 degrees of freedom
    assert math.isnan(half_interval(Slope(1.0, math.nan), 2))
