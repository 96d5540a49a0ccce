"""Tries that come to nothing finite, again and again, with next to no time between them."""

from __future__ import annotations

import math

CRAWL = 1e-6  # of the interval, between two tries that were not finite
MANY_CRAWLS = 50  # in a row, which no solve comes out of


class Crawl:
    """Tells whether one solve, or one sample of it, crawls.

    At the edge of where f is finite, a state that rounding holds there would take short steps without end.
    """

    def __init__(self) -> None:
        self._last, self._count = math.nan, 0

    def is_endless(self, t: float, interval: float) -> bool:
        """Asked at a try from t that is not finite or not solved: whether many such lie next to nothing apart."""
        last, self._last = self._last, t
        if t != last:
            self._count = self._count + 1 if abs(t - last) < CRAWL * interval else 0
        return self._count >= MANY_CRAWLS
