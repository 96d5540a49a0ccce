"""Time series: values at times, of which some were observed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from nodebench.counted import counted
from nodebench.data.checks import check_batch_size, check_count, tensor_words
from nodebench.data.errors import DataError


class Readings(NamedTuple):
    """What is read of N series, in the order of time, n the most that one of them has; zeros after the last.

    times (N, n); values (N, n, dim), 0 where a coordinate is missing; is_there (N, n, dim); lengths (N,), int64.
    """

    times: Tensor
    values: Tensor
    is_there: Tensor
    lengths: Tensor


@dataclass(frozen=True, eq=False)
class SeriesSet:
    """N series of T times in `dim` coordinates, all on one device.

    times: (T,), a grid that all share, or (N, T), increasing; a shorter series repeats its last time.
    values: float32 (N, T, dim), with noise; 0 where there is none.
    is_there: (N, T, dim), whether there is a value.
    observed: (N, T, dim), what of it a net reads and a likelihood is of; the rest is asked of it in a test.
    is_horizon: (N, T), times after the window, where nothing is observed: what is to be extrapolated.
    clean: (N, T, dim), the values without noise, where they are known.
    direction: (N,), 1 for series that turn counter-clockwise and -1 for the others, where they turn.
    centre: (N, dim), what they turn around, if that is not 0.
    num_read, others: of series that are some of a batch, how many times of one of its series are read at most, and
        (k,), which times that is in all.
    """

    times: Tensor
    values: Tensor
    is_there: Tensor
    observed: Tensor
    is_horizon: Tensor
    clean: Tensor | None = None
    direction: Tensor | None = None
    centre: Tensor | None = None
    num_read: int = 0
    others: Tensor | None = None

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: Tensor | slice) -> SeriesSet:
        """Some of the series."""
        shared = {"others", *(["times"] if self.times.dim() == 1 else [])}
        parts: dict[str, Any] = {name: part for name, part in vars(self).items() if isinstance(part, Tensor)}
        return replace(self, **{name: part[rows] for name, part in parts.items() if name not in shared})

    def to(self, device: torch.device | str) -> SeriesSet:
        """The same on another device."""
        moved: dict[str, Any] = {
            name: part.to(device) for name, part in vars(self).items() if isinstance(part, Tensor)
        }
        return replace(self, **moved)

    @property
    def own_times(self) -> Tensor:
        """The times of each series, (N, T)."""
        return self.times.expand(self.values.shape[:2])

    def part(self, rows: slice, t0: float) -> SeriesSet:
        """Some of the series of a batch, which are read and solved for as many times as they are among the others."""
        read = self.readings()
        others = None
        if self.times.dim() == 2:
            others = torch.where(read.is_there.any(2), read.times, t0).flatten()
        return replace(self[rows], num_read=read.times.shape[1], others=others)

    def readings(self) -> Readings:
        """What is observed, without the times at which nothing is."""
        is_read = self.observed.any(2)
        lengths = is_read.sum(1)
        num_read = max(int(lengths.max()), self.num_read)
        first = torch.argsort(~is_read, dim=1, stable=True)[:, :num_read]
        is_there = self.observed.gather(1, first[..., None].expand(-1, -1, self.values.shape[2]))
        values = self.values.gather(1, first[..., None].expand_as(is_there))
        times = self.own_times.gather(1, first) * is_read.gather(1, first)
        return Readings(times, values * is_there, is_there, lengths)


@dataclass(frozen=True, eq=False)
class Trajectories:
    """A set of time series, split.

    noise_std: of the observations, where it is known; t0 is the first time of the grid, at which a latent state
    begins. Raises DataError for a batch size below 1; `check` for what is wrong with a split.
    """

    name: str
    train: SeriesSet
    val: SeriesSet | None
    test: SeriesSet
    batch_size: int
    noise_std: float | None = None
    notes: tuple[str, ...] = ()
    kind: ClassVar[str] = "time series"
    example: ClassVar[str] = "spirals"

    def __post_init__(self) -> None:
        check_batch_size(self.batch_size)

    @property
    def dim(self) -> int:
        """The coordinates of a value."""
        return self.train.values.shape[2]

    @property
    def splits(self) -> dict[str, SeriesSet]:
        """By name; without val where nothing was held out for it."""
        splits = {"train": self.train, "val": self.val, "test": self.test}
        return {name: split for name, split in splits.items() if split is not None}

    @property
    def t0(self) -> float:
        """The first time of all."""
        return min(float(split.times.min()) for split in self.splits.values())

    def test_columns(self) -> dict[str, int]:
        """How many series the test set has, and how many points are observed of the one with the most."""
        return {"num_series": len(self.test), "num_observed": int(self.test.observed.any(2).sum(1).max())}

    def describe(self) -> str:
        """Its sizes in words: `1,000 training and 1,000 test series in 2 dimensions, 30 of 100 points observed`."""
        per_series = self.train.observed.any(2).sum(1)
        fewest, most = int(per_series.min()), int(per_series.max())
        num_points = int((self.train.is_there.any(2) & ~self.train.is_horizon).sum(1).max())
        observed = f"{fewest} to {most}" if fewest < most else f"{most}"
        return (
            f"{len(self.train):,} training and {len(self.test):,} test series in {counted(self.dim, 'dimension')}, "
            f"{observed} of {num_points} points observed"
        )

    def check(self) -> None:
        """Raises DataError unless every split is as SeriesSet says, and no series is without an observation."""
        for name, split in self.splits.items():
            _check_kind(f"its {name} split", split)
        for name, split in self.splits.items():
            _check(f"its {name} split", split, self.dim)


def on_grid(
    times: Tensor,
    clean: Tensor,
    noise: Tensor,
    observed: Tensor,
    direction: Tensor | None = None,
    centre: Tensor | None = None,
) -> SeriesSet:
    """Series (N, T, dim) at times (T,) or (N, T), with noise added, observed where (N, W) says of the first W times.

    What comes after the first W times is the horizon.
    """
    shape = clean.shape[:2]
    seen = torch.zeros(shape, dtype=torch.bool)
    seen[:, : observed.shape[1]] = observed
    is_horizon = torch.arange(shape[1]) >= observed.shape[1]
    return SeriesSet(
        times=times.float(),
        values=(clean + noise).float(),
        is_there=torch.ones(clean.shape, dtype=torch.bool),
        observed=seen[..., None].expand(clean.shape).contiguous(),
        is_horizon=is_horizon.expand(shape).contiguous(),
        clean=clean.float(),
        direction=direction,
        centre=None if centre is None else centre.float(),
    )


def some_observed(num_series: int, num_points: int, num_observed: int, chance: torch.Generator) -> Tensor:
    """(N, num_points), true at num_observed of each series' points, chosen without replacement.

    From the same state of `chance` a smaller number chooses some of the points of a larger one.
    """
    rank = torch.rand(num_series, num_points, generator=chance).argsort(1).argsort(1)
    return rank < num_observed


def check_sizes(num_points: int, num_observed: int, **others: int) -> None:
    """DataError unless 2 <= num_observed <= num_points, and the others are 1 or above."""
    check_count("num_points", num_points, at_least=2)
    check_count("num_observed", num_observed, at_least=2)
    for key, value in others.items():
        check_count(key, value, at_least=1)
    if num_observed > num_points:
        raise DataError(
            f"`data.num_observed` is {num_observed}, and a series has data.num_points={num_points}; lower the one or "
            "raise the other"
        )


def _check_kind(name: str, split: SeriesSet) -> None:
    if not isinstance(split, SeriesSet):
        raise DataError(f"{name} is a {type(split).__name__}; it must be a SeriesSet")
    values = split.values
    if not isinstance(values, Tensor) or values.dtype != torch.float32 or values.dim() != 3:
        raise DataError(f"{name} has values {tensor_words(values)}; needed: float32 of shape (N, T, dim)")


def _check(name: str, split: SeriesSet, dim: int) -> None:
    _check_shapes(name, split, dim)
    if split.direction is not None and dim != 2:
        raise DataError(
            f"{name} has a direction for series of {counted(dim, 'coordinate')}; it is for the plane alone"
        )
    for part in ("values", "times", "clean", "centre"):
        numbers = getattr(split, part)
        if numbers is not None and not numbers.isfinite().all():
            raise DataError(f"{name} has {part} that are NaN or infinite")
    times, is_there = split.own_times, split.is_there.any(2)
    is_repeated = (times.diff() == 0) & (is_there[:, 1:] | (split.times.dim() == 1))
    if (times.diff() < 0).any() or is_repeated.any():
        raise DataError(f"{name} has times that do not increase")
    if (split.observed & ~split.is_there).any() or (split.observed & split.is_horizon[..., None]).any():
        raise DataError(f"{name} observes values that are not there, or that are of the horizon")
    empty = (~split.observed.flatten(1).any(1)).nonzero()
    if len(empty):
        raise DataError(f"{name} observes nothing of series {int(empty[0])}")


def _check_shapes(name: str, split: SeriesSet, dim: int) -> None:
    num_series, num_times, own_dim = split.values.shape
    if own_dim != dim or num_series == 0 or num_times < 2:
        raise DataError(
            f"{name} has values of shape {tuple(split.values.shape)}; needed: series of {counted(dim, 'coordinate')} "
            "at two times or more"
        )
    whole = tuple(split.values.shape)
    needed: dict[str, tuple[torch.dtype | None, Sequence[tuple[int, ...]]]] = {
        "times": (torch.float32, [(num_times,), whole[:2]]),
        "is_there": (torch.bool, [whole]),
        "observed": (torch.bool, [whole]),
        "is_horizon": (torch.bool, [whole[:2]]),
        "clean": (torch.float32, [whole]),
        "direction": (None, [whole[:1]]),
        "centre": (torch.float32, [(num_series, dim)]),
    }
    for part, (dtype, shapes) in needed.items():
        found = getattr(split, part)
        if found is None and part in ("clean", "direction", "centre"):
            continue
        if (
            not isinstance(found, Tensor)
            or tuple(found.shape) not in shapes
            or found.dtype != (dtype or found.dtype)
        ):
            words = "" if dtype is None else f"{str(dtype).removeprefix('torch.')} "
            raise DataError(
                f"{name} has {part} {tensor_words(found)}; needed: {words}of shape {' or '.join(map(str, shapes))}"
            )
