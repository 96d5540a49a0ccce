"""Where a sweep stands: `3/8, about 12:04 left`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager


class Pace:
    """What is left of the runs of a sweep, by the mean of those that this process has trained.

    is_to_train: for each run whether it is still to be trained; one that is done takes no time. A launcher that runs
    them in other processes tells their numbers alone.
    """

    def __init__(self, is_to_train: Sequence[bool], clock: Callable[[], float] = time.monotonic) -> None:
        self._is_to_train = list(is_to_train)
        self._clock = clock
        self._seconds: list[float] = []

    def place(self, index: int) -> str:
        """The number of a run that begins, counted from 0, of all, and the time left where there is a mean."""
        from nodebench.training.progress import about

        place = f"{index + 1}/{len(self._is_to_train)}"
        num_left = sum(self._is_to_train[index:])
        if not self._seconds or not num_left:
            return place
        return f"{place}, {about(num_left * sum(self._seconds) / len(self._seconds))} left"

    @contextmanager
    def timed(self, index: int) -> Iterator[None]:
        """Within, run `index` goes on; one that fails counts too."""
        began = self._clock()
        yield
        if self._is_to_train[index]:
            self._seconds.append(self._clock() - began)


class PaceOfJobs:
    """What is left of runs that go on side by side, by the mean of those that finished."""

    def __init__(self, number: int, jobs: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._number = number
        self._jobs = jobs
        self._clock = clock
        self._began: dict[int, float] = {}
        self._num_ended = 0
        self._seconds: list[float] = []

    def begin(self, slot: int) -> None:
        """A run begins in `slot`."""
        self._began[slot] = self._clock()

    def end(self, slot: int, is_finished: bool) -> tuple[str, str]:
        """The run in `slot` ended: how long it took, and `3 of 8 done, about 12:04 left`."""
        from nodebench.training.progress import about, duration

        now = self._clock()
        seconds = now - self._began.pop(slot)
        self._num_ended += 1
        if is_finished:
            self._seconds.append(seconds)
        place = f"{self._num_ended} of {self._number} done"
        if self._seconds and self._num_ended < self._number:
            mean = sum(self._seconds) / len(self._seconds)
            num_waiting = self._number - self._num_ended - len(self._began)
            running = sum(max(mean - (now - began), 0.0) for began in self._began.values())
            place += f", {about((num_waiting * mean + running) / self._jobs)} left"
        return duration(seconds), place
