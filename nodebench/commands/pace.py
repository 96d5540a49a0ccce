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
