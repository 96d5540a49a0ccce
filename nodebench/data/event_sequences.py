"""Sequences of events: moments in one window of time, of which nothing but the moment is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from nodebench.counted import counted
from nodebench.data.checks import check_batch_size, tensor_words
from nodebench.data.errors import DataError

Rate = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class EventSet:
    """N sequences of events.

    times: float64 (N, n), each row in order, n the most events of one sequence; what lies behind a sequence's last
    event counts for nothing.
    lengths: int64 (N,), the events of each.
    rate: of times (N, T) the true rates (N, T), events a unit of time, where they are known.
    """

    times: Tensor
    lengths: Tensor
    rate: Rate | None = None

    def __len__(self) -> int:
        return len(self.times)

    @property
    def num_events(self) -> int:
        """The events of all sequences together."""
        return int(self.lengths.sum())

    @property
    def is_event(self) -> Tensor:
        """Which entries of `times` are events, (N, n)."""
        return torch.arange(self.times.shape[1]) < self.lengths[:, None]


@dataclass(frozen=True, eq=False)
class EventSequences:
    """Sequences of events in the window from t_start to t_end, split; `val` is None where nothing was held out.

    Raises DataError for a batch size below 1 and a window without an extent; `check` for what is wrong with a split.
    """

    name: str
    train: EventSet
    val: EventSet | None
    test: EventSet
    t_start: float
    t_end: float
    batch_size: int
    notes: tuple[str, ...] = ()
    kind: ClassVar[str] = "event sequences"
    example: ClassVar[str] = "event_toy"
    dim: ClassVar[None] = None

    def __post_init__(self) -> None:
        check_batch_size(self.batch_size)
        if not -math.inf < self.t_start < self.t_end < math.inf:
            raise DataError(
                f"its window goes from t_start={self.t_start!r} to t_end={self.t_end!r}; it must end after it starts"
            )

    @property
    def duration(self) -> float:
        """Of the window."""
        return self.t_end - self.t_start

    @property
    def splits(self) -> dict[str, EventSet]:
        """By name; without val where nothing was held out for it."""
        splits = {"train": self.train, "val": self.val, "test": self.test}
        return {name: split for name, split in splits.items() if split is not None}

    def test_columns(self) -> dict[str, int]:
        """How many sequences and events the test set has."""
        return {"num_sequences": len(self.test), "num_events": self.test.num_events}

    def describe(self) -> str:
        """Its sizes in words: `800 training and 200 test sequences, 1 to 70 events each, from t=0 to 10`."""
        fewest, most = int(self.train.lengths.min()), int(self.train.lengths.max())
        events = f"{fewest} to {counted(most, 'event')}" if fewest < most else counted(most, "event")
        return (
            f"{len(self.train):,} training and {len(self.test):,} test sequences, {events} each, "
            f"from t={self.t_start:g} to {self.t_end:g}"
        )

    def check(self) -> None:
        """Raises DataError unless every split is as EventSet says, inside the window, with an event at least."""
        for name, split in self.splits.items():
            self._check(f"its {name} split", split)

    def _check(self, name: str, split: EventSet) -> None:
        times, lengths = split.times, split.lengths
        if (
            not isinstance(times, Tensor)
            or times.dtype != torch.float64
            or times.dim() != 2
            or not len(times)
        ):
            raise DataError(
                f"{name} has times {tensor_words(times)}; needed: float64 of shape (N, n), N of at least 1"
            )
        if lengths.shape != times.shape[:1] or lengths.min() < 0 or lengths.max() > times.shape[1]:
            raise DataError(
                f"{name} has lengths of shape {tuple(lengths.shape)} for times of shape {tuple(times.shape)}; needed: "
                "the number of events of each sequence"
            )
        if not split.num_events:
            raise DataError(f"{name} has no event")
        is_event = split.is_event
        if not ((times >= self.t_start) & (times <= self.t_end))[is_event].all():
            raise DataError(f"{name} has events outside the window from {self.t_start:g} to {self.t_end:g}")
        if (times.diff(dim=1) < 0)[is_event[:, 1:]].any():
            raise DataError(f"{name} has events that are not in the order of time")


def padded(sequences: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Times (n_i,) of each sequence, in order, as `times` and `lengths` of an EventSet; zeros behind the last."""
    lengths = torch.tensor([len(times) for times in sequences])
    return torch.nn.utils.rnn.pad_sequence([times.double() for times in sequences], batch_first=True), lengths
