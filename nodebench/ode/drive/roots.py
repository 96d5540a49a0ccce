"""A root between two points where a function has different signs."""

from __future__ import annotations

import math
from collections.abc import Callable


def find_root(
    f: Callable[[float], float], ends: tuple[float, float], values: tuple[float, float], tol: float
) -> float:
    """x between the ends, f's values at which differ in sign, no farther than `tol` from a change of sign of f.

    Inverse quadratic interpolation where it can be trusted, bisection where not; f need not be smooth nor finite.

    Source: Chandrupatla, "A new hybrid quadratic/bisection algorithm", Advances in Engineering Software 28 (1997).
    """
    (b, a), (fb, fa) = ends, values  # a is the latest point, b lies across the root from it
    fraction = 0.5
    while True:
        x = a + fraction * (b - a)
        fx = f(x)
        if (fx > 0) == (fa > 0):
            c, fc = a, fa
        else:
            c, fc = b, fb
            b, fb = a, fa
        a, fa = x, fx
        best, value = (a, fa) if abs(fa) < abs(fb) else (b, fb)
        least = (tol + 2 * math.ulp(best)) / abs(b - a) if b != a else 1.0
        if value == 0 or least > 0.5:
            return best
        fraction = min(max(_fraction((a, b, c), (fa, fb, fc)), least), 1 - least)


def _fraction(points: tuple[float, float, float], values: tuple[float, float, float]) -> float:
    """How far from a to b the inverse quadratic through three points meets zero; a half where it is not monotonic."""
    (a, b, c), (fa, fb, fc) = points, values
    if c == b or fc in (fb, fa) or not all(map(math.isfinite, values)):
        return 0.5
    xi, phi = (a - b) / (c - b), (fa - fb) / (fc - fb)
    if not 1 - math.sqrt(1 - xi) < phi < math.sqrt(xi):
        return 0.5
    return fa / (fb - fa) * fc / (fb - fc) + (c - a) / (b - a) * fa / (fc - fa) * fb / (fc - fb)
