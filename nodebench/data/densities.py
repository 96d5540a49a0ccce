"""Densities known by samples of them: the type, and how a function that draws points becomes one.

All randomness comes from the `torch.Generator` on the CPU that a caller hands over: the same state gives the
same points, whatever was drawn elsewhere before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nodebench.data.checks import check_batch_size

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class DensityData:
    """A density known by samples of it.

    `draw(split, n, generator)` gives float32 (n, dim) for a split of "train", "val" or "test"; `window` is the
    half-width of the square, centred on 0, that pictures show. Raises DataError for a batch size below 1.
    """

    name: str
    dim: int
    batch_size: int
    window: float
    draw: Callable[[str, int, torch.Generator], Tensor]

    def __post_init__(self) -> None:
        check_batch_size(self.batch_size)

    def describe(self) -> str:
        """What is drawn, in words."""
        return f"samples in {self.dim} dimensions"


def endless(
    name: str, points: Callable[[int, torch.Generator], Tensor], *, batch_size: int, window: float
) -> DensityData:
    """The density in the plane that `points(n, generator)` draws from: every draw is fresh, whatever the split.

    `points` returns float32 (n, 2). Drawing raises ValueError for a split that does not exist and for n < 1.
    """

    def draw(split: str, n: int, generator: torch.Generator) -> Tensor:
        check_draw(split, n)
        return points(n, generator)

    return DensityData(name, 2, batch_size, window, draw)


def check_draw(split: str, n: int) -> None:
    """ValueError for a split that does not exist, and for fewer points than one."""
    if split not in SPLITS:
        raise ValueError(f"split {split!r} does not exist; allowed: {', '.join(SPLITS)}")
    if n < 1:
        raise ValueError(f"n is {n}; allowed: 1 point or more")
