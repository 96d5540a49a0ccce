"""What passes between the processes that train one net: numbers by meetings, vectors by sums.

A meeting is an all-gather on the host, over gloo: each process tells a few numbers and hears those of all, in the order
of the ranks. All meetings are of one size. Each has room for a word that one goes, so that a process that fails,
wherever it is, can join whatever meeting the others come to next; and says what it is about, so that processes that are
not where the others are stop, all of them and at once, and never mix their numbers.

A sum is made in parts, each by one process in the order of the ranks, and handed round: over nccl where the vector is
on a GPU, else over gloo. So all have the same bits, the same in every run with as many processes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from enum import IntEnum
from functools import reduce
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from nodebench.ranks import Place

_NUMBERS = 61  # of one meeting, beside whether one goes, what it is about, and how many numbers there are
_LOOK_EVERY = timedelta(seconds=0.5)
_SETTLE_IN_S = (
    10.0  # what the others have to come to a meeting once a signal has come; torchrun kills after 30 s
)
_HOST = torch.device("cpu")
_NO_END = timedelta(days=365)  # one process evaluates, and the others wait as long as it takes


class ProcessesError(RuntimeError):
    """The processes cannot go on together."""


class LeftError(ProcessesError):
    """Another process has gone. `reason`: what it said of a failure; empty where it ended, or was killed."""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class LostError(LeftError):
    """Another process is not there any more, or does not come."""


class About(IntEnum):
    """What a meeting is about."""

    SOLVE = 1
    LOSS = 2
    GRADIENT = 3
    START = 4
    SUM = 5
    END = 6


class Meetings:
    """The other processes, as one of them has them. `seconds` and `number_held` are what meetings and sums took so far.

    `is_asked_to_stop` is asked while it waits: the others may have gone without a word. Raises ProcessesError where
    they cannot be reached.
    """

    def __init__(self, place: Place, device: torch.device) -> None:
        self.place = place
        self.is_asked_to_stop: Callable[[], bool] = lambda: False
        self.seconds, self.number_held = 0.0, 0
        self._is_over = False
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        try:
            store, rank, size = next(dist.rendezvous("env://"))
            # torchrun keeps its store when it starts the processes again, with the addresses of those before.
            attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
            self._store = dist.PrefixStore(f"nodebench/attempt{attempt}", store)
            dist.init_process_group(
                backend, store=self._store, rank=rank, world_size=size, timeout=_NO_END
            )  # the store has a timeout of its own, of minutes
        except (RuntimeError, ValueError) as error:
            raise ProcessesError(f"the {place.number} processes do not find each other: {error}") from error
        self._heard = torch.empty(place.number, _NUMBERS + 3, dtype=torch.float64)
        self._rows = list(self._heard.unbind())

    def gather(self, numbers: Sequence[float], /, about: About = About.SOLVE) -> list[list[float]]:
        """These numbers of every process, in the order of the ranks.

        Raises LeftError where one has gone, ProcessesError where one tells of something else.
        """
        told: list[list[float]] = [[] for _ in self._rows]
        for begin in range(0, max(len(numbers), 1), _NUMBERS):
            part = numbers[begin : begin + _NUMBERS]
            for mine, heard in zip(told, self._meet(about, part), strict=True):
                mine.extend(heard[: len(part)])
        return told

    def total(self, x: Tensor, /) -> Tensor:
        """The sum over all of such a vector of each. Raises as `gather` does."""
        self.gather([x.numel()], About.SUM)
        return self.sum(x)

    def sum(self, x: Tensor) -> Tensor:
        """The same right behind a meeting, to which all have come."""
        began, number, size = time.perf_counter(), self.place.number, x.numel()
        sent = x.new_zeros(number, -(-size // number))
        sent.view(-1)[:size] = x
        parts = torch.empty_like(sent)
        self._wait(dist.all_to_all_single(parts, sent, async_op=True), x.device)
        own = reduce(torch.add, parts.unbind())
        self._wait(dist.all_gather(list(sent.unbind()), own, async_op=True), x.device)
        self.seconds += time.perf_counter() - began
        return sent.view(-1)[:size]

    def from_first(self, content: bytes | None) -> bytes:
        """What the first process hands to all, which gives None of the others. Raises as `gather` does."""
        size = int(self.gather([len(content or b"")], About.START)[0][0])
        buffer = torch.zeros(size, dtype=torch.uint8)
        if content is not None:
            buffer = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        self._wait(dist.broadcast(buffer, src=0, async_op=True))
        return buffer.numpy().tobytes()

    def leave(self, reason: str = "") -> None:
        """Tell the others at their next meeting that this process goes, `reason` being what went wrong, and let go."""
        if not self._is_over:
            with suppress(ProcessesError, RuntimeError):
                if reason:
                    self._store.set(self._key(self.place.rank), reason)
                self._meet(About.END, (), goes=True)
        with suppress(RuntimeError, ValueError):
            dist.destroy_process_group()

    def _meet(self, about: About, numbers: Sequence[float], goes: bool = False) -> list[list[float]]:
        if self._is_over:
            raise LeftError("the others have gone")
        began, rest = time.perf_counter(), [0.0] * (_NUMBERS - len(numbers))
        told = torch.tensor([goes, about, len(numbers), *numbers, *rest], dtype=torch.float64)
        self._wait(dist.all_gather(self._rows, told, async_op=True))
        heard: list[list[float]] = self._heard.tolist()
        self.seconds += time.perf_counter() - began
        self.number_held += 1
        gone = [rank for rank, row in enumerate(heard) if row[0]]
        if gone:
            self._is_over = True
            raise self._left(gone)
        if len({tuple(row[1:3]) for row in heard}) > 1:
            where = ", ".join(f"{About(int(row[1])).name.lower()} of {int(row[2])}" for row in heard)
            raise ProcessesError(
                f"the processes are not where the others are ({where}, by rank); a net that several train computes "
                "each row by itself, and draws random numbers for the whole batch"
            )
        return [row[3:] for row in heard]

    def _left(self, gone: Sequence[int]) -> LeftError:
        """What those who go have to say."""
        for rank in gone:
            key = self._key(rank)
            if rank != self.place.rank and self._store.check([key]):
                reason = f"rank {rank}: {self._store.get(key).decode()}"
                return LeftError(reason, reason)
        return LeftError("the others have gone")

    def _key(self, rank: int) -> str:
        return f"nodebench/reason/{rank}"

    def _wait(self, work: Any, device: torch.device = _HOST) -> None:
        """Wait for a collective, so that signals are heard; raises LostError if it cannot end."""
        asked_at: float | None = None
        while True:
            try:
                if has_ended(work, device):
                    return
            except RuntimeError as error:
                self._is_over = True
                raise LostError("another process was lost") from error
            if asked_at is None and self.is_asked_to_stop():
                asked_at = time.monotonic()
            if asked_at is not None and time.monotonic() - asked_at > _SETTLE_IN_S:
                self._is_over = True
                raise LostError("the others did not come to stop together")


def has_ended(work: Any, device: torch.device) -> bool:
    """Whether a collective has ended, waited for a while; RuntimeError if it has failed."""
    if device.type == "cpu":
        try:
            work.wait(_LOOK_EVERY)
        except RuntimeError:
            if not work.is_completed():  # the while is over
                return False
            work.wait()  # it may have ended right behind that; raises what it has failed with
        return True
    # With a time to wait, nccl would give the whole group up when that is over.
    if not work.is_completed():
        time.sleep(1e-4)
        return False
    work.wait()
    return True
