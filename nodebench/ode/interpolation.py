"""The solution inside a step. The step's error control does not see the interpolation error.

theta = (t - t0) / dt runs from 0 to 1. Orders: a tableau's own interpolant 4 (dopri5, tsit5) or more (dopri8);
cubic Hermite 3, which is below the order of a method of order 5 or more.
"""

from __future__ import annotations

from torch import Tensor

from nodebench.ode.field import Time


def cubic_hermite(y0: Tensor, y1: Tensor, f0: Tensor, f1: Tensor, dt: Time, theta: Time) -> Tensor:
    """The cubic with values y0, y1 and slopes f0, f1 at the ends of the step."""
    rest = 1 - theta
    h00 = (1 + 2 * theta) * rest * rest
    h10 = theta * rest * rest * dt
    h01 = theta * theta * (3 - 2 * theta)
    h11 = -theta * theta * rest * dt
    return h00 * y0 + h10 * f0 + h01 * y1 + h11 * f1
