"""A figure with its data and what its reader should know, before it is written anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


class NothingToDrawError(ValueError):
    """None of the runs belongs to the figure."""


@dataclass(frozen=True)
class Drawing:
    """A drawn figure. `data`: the numbers in it; `notes`: a line for everything missing or worth knowing.

    `frames` yields the pictures of an animation one after the other (the same Figure may change and return),
    None where the figure does not move.
    """

    figure: Figure
    data: DataFrame
    notes: list[str]
    frames: Callable[[], Iterator[Figure]] | None = None
