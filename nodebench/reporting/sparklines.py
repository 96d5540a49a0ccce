"""A curve as one word of a terminal: a block a point, as high as its value."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

_BLOCKS = "▁▂▃▄▅▆▇█"
_MANY = 30.0


def sparkline(values: Sequence[float], width: int = 24) -> str:
    """The curve in at most `width` blocks from its lowest to its highest, each the mean of the values it stands for.

    Heights are logarithms where `spans_decades` says so; a curve that does not change is in the middle.
    """
    num_blocks = min(len(values), width)
    bounds = [round(block * len(values) / num_blocks) for block in range(num_blocks + 1)] if values else []
    if spans_decades(values):
        values = [math.log(value) for value in values]
    means = [sum(values[begin:end]) / (end - begin) for begin, end in itertools.pairwise(bounds)]
    lowest, highest = min(means, default=0.0), max(means, default=0.0)
    if highest == lowest:
        return _BLOCKS[len(_BLOCKS) // 2 - 1] * len(means)
    return "".join(
        _BLOCKS[round((mean - lowest) / (highest - lowest) * (len(_BLOCKS) - 1))] for mean in means
    )


def spans_decades(values: Sequence[float]) -> bool:
    """Whether values are positive and so far apart that only their logarithms show how they change."""
    return bool(values) and min(values) > 0 and max(values) > _MANY * min(values)
