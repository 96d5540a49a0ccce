"""Exponents of growth: straight lines through logarithms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit


class Slope(NamedTuple):
    """quantity ~ value^exponent, with the standard error of the exponent; NaN where two points fit exactly."""

    exponent: float
    stderr: float


def fit_slope(values: Sequence[float], quantities: Sequence[float]) -> Slope:
    """Least squares of log(quantity) on log(value).

    Raises ValueError for fewer than two different values, or for numbers that have no logarithm.
    """
    if len(set(values)) < 2 or len(values) != len(quantities):
        raise ValueError(
            f"{len(values)} values and {len(quantities)} quantities; a slope needs two different points"
        )
    if min(*values, *quantities) <= 0:
        raise ValueError("a value or quantity is not positive; it has no logarithm")
    x, y = np.log(np.asarray(values, float)), np.log(np.asarray(quantities, float))
    x = x - x.mean()
    exponent = float(x @ y / (x @ x))
    if len(values) == 2:
        return Slope(exponent, math.nan)
    residuals = y - y.mean() - exponent * x
    return Slope(exponent, float(math.sqrt(residuals @ residuals / (len(values) - 2) / (x @ x))))


def half_interval(slope: Slope, num_points: int) -> float:
    """Half the 95 % interval of an exponent fitted to `num_points` (Student's t); NaN for two points."""
    return float(stdtrit(num_points - 2, 0.975)) * slope.stderr if num_points > 2 else math.nan
