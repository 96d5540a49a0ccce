"""The solution inside a step. The step's error control does not see the interpolation error.

theta = (t - t0) / dt runs from 0 to 1. Orders: a tableau's own interpolant 4 (dopri5, tsit5) or more (dopri8);
cubic Hermite 3, which is below the order of a method of order 5 or more.
"""

from __future__ import annotations

from torch import Tensor

from nodebench.ode.counting import Time
from nodebench.ode.step import StageBuffer, StageList, weighted_sum
from nodebench.ode.tableau import ButcherTableau


def own_interpolant(
    tableau: ButcherTableau, y0: Tensor, dt: Time, stages: StageBuffer | StageList, theta: Time
) -> Tensor:
    """y0 + dt * sum_i P_i(theta) k_i with the tableau's polynomials P_i."""
    assert tableau.interpolant is not None
    if isinstance(theta, Tensor) or isinstance(dt, Tensor):
        polynomials = [_horner(row, theta) for row in tableau.interpolant]
        return y0 + sum(dt * p * stages[i] for i, p in enumerate(polynomials) if any(tableau.interpolant[i]))
    # Term by term: weights of a single use are not worth a copy to the device, which the host would wait for.
    weights = [dt * float(_horner(row, theta)) for row in tableau.interpolant]
    return weighted_sum(y0, [(weight, stages[i]) for i, weight in enumerate(weights) if weight])


def cubic_hermite(y0: Tensor, y1: Tensor, f0: Tensor, f1: Tensor, dt: Time, theta: Time) -> Tensor:
    """The cubic with values y0, y1 and slopes f0, f1 at the ends of the step."""
    rest = 1 - theta
    h00 = (1 + 2 * theta) * rest * rest
    h10 = theta * rest * rest * dt
    h01 = theta * theta * (3 - 2 * theta)
    h11 = -theta * theta * rest * dt
    return h00 * y0 + h10 * f0 + h01 * y1 + h11 * f1


def _horner(coefficients: tuple[float, ...], theta: Time) -> Time:
    """sum_p coefficients[p - 1] theta^p."""
    total: Time = 0.0
    for coefficient in reversed(coefficients):
        total = (total + coefficient) * theta
    return total
