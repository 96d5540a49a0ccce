"""Densities known by samples of them: the type, and how a function that draws points becomes one.

All randomness comes from the `torch.Generator` on the CPU that a caller hands over: the same state gives the
same points, whatever was drawn elsewhere before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from nodebench.data.checks import check_batch_size, check_window, tensor_words
from nodebench.data.errors import DataError

SPLITS = ("train", "val", "test")
_NUM_LOOKED_AT = 1000


@dataclass(frozen=True)
class DensityData:
    """A density known by samples of it.

    `draw(split, n, generator)` gives float32 (n, dim) for a split of "train", "val" or "test"; `window` is the
    half-width of the square, centred on 0, that pictures show; `notes` are a sentence each on what is odd. Raises
    DataError for a batch size or a dimension below 1, a window without an extent, and a draw that cannot be called;
    `check` for what it draws.
    """

    name: str
    dim: int
    batch_size: int
    window: float
    draw: Callable[[str, int, torch.Generator], Tensor]
    notes: tuple[str, ...] = ()
    kind: ClassVar[str] = "samples of a density"
    example: ClassVar[str] = "two_circles"

    def __post_init__(self) -> None:
        check_batch_size(self.batch_size)
        check_window(self.window)
        if isinstance(self.dim, bool) or not isinstance(self.dim, int) or self.dim < 1:
            raise DataError(
                f"its dim is {self.dim!r}; a density has a whole number of dimensions, 1 or above"
            )
        if not callable(self.draw):
            raise DataError(
                f"its draw is a {type(self.draw).__name__}; it must be a function draw(split, n, generator)"
            )

    def check(self) -> None:
        """Raises DataError unless `draw` gives points as it should, going by a few of every split."""
        n = min(self.batch_size, _NUM_LOOKED_AT)
        for split in SPLITS:
            call = f"draw({split!r}, {n}, generator)"
            try:
                points = self.draw(split, n, torch.Generator().manual_seed(0))
            except Exception as error:
                raise DataError(f"{call} failed with {type(error).__name__}: {error}") from error
            counts = (n,) if split == "train" else range(1, n + 1)  # a file may hold out fewer points
            shapes = [(count, self.dim) for count in counts]
            if (
                not isinstance(points, Tensor)
                or points.dtype != torch.float32
                or tuple(points.shape) not in shapes
            ):
                raise DataError(
                    f"{call} gave {tensor_words(points)}; needed: a float32 tensor of shape ({n}, {self.dim})"
                )
            if not torch.isfinite(points).all():
                raise DataError(
                    f"{call} gave points that are NaN or infinite; every coordinate must be finite"
                )

    def test_columns(self) -> dict[str, int]:
        """None: how many points are drawn is the task's."""
        return {}

    def describe(self) -> str:
        """What is drawn, in words."""
        return f"samples in {self.dim} dimension{'s' * (self.dim > 1)}"


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
