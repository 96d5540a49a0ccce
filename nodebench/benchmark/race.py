"""Contestants take turns, A B A B, so that what the machine does meanwhile falls on all of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from nodebench.benchmark.contestants import Contestant, Measured


@dataclass
class Result:
    """What the runs of one contestant say: medians, and the distance from the first to the third quartile.

    `time_first_ms` is the time of the warm-up, with all that was made ready in it. `last` is the last run whole.
    """

    contestant: Contestant
    time_first_ms: float
    last: Measured
    times_forward_ms: list[float] = field(default_factory=list)
    times_backward_ms: list[float] = field(default_factory=list)

    def add(self, measured: Measured) -> None:
        """One more timed run."""
        self.last = measured
        self.times_forward_ms.append(measured.time_forward_ms)
        if measured.time_backward_ms is not None:
            self.times_backward_ms.append(measured.time_backward_ms)

    @property
    def time_forward_ms(self) -> float:
        return statistics.median(self.times_forward_ms)

    @property
    def time_backward_ms(self) -> float | None:
        return statistics.median(self.times_backward_ms) if self.times_backward_ms else None

    @property
    def time_ms(self) -> float:
        """The median of forward and backward together."""
        return statistics.median(self._times_ms)

    @property
    def time_iqr_ms(self) -> float:
        """The interquartile range of forward and backward together."""
        return iqr(self._times_ms)

    @property
    def _times_ms(self) -> list[float]:
        if not self.times_backward_ms:
            return self.times_forward_ms
        return [a + b for a, b in zip(self.times_forward_ms, self.times_backward_ms, strict=True)]


def race(
    contestants: Sequence[Contestant], num_rounds: int, tell: Callable[[str], object] | None = None
) -> list[Result]:
    """Every contestant once to warm up, then `num_rounds` rounds in which each has one turn.

    `tell` is handed a line for each warm-up, which may compile for a minute, and for each round. Raises ValueError for
    fewer rounds than one.
    """
    if num_rounds < 1:
        raise ValueError(f"`num_rounds` is {num_rounds}; a race has one round or more")
    results = []
    for number, contestant in enumerate(contestants, start=1):
        if tell is not None:
            tell(f"warming up {number} of {len(contestants)}, {contestant.name}")
        warm_up = contestant.run()
        results.append(Result(contestant, warm_up.time_ms, warm_up))
    for round_number in range(1, num_rounds + 1):
        if tell is not None:
            tell(f"round {round_number} of {num_rounds}")
        for result in results:
            result.add(result.contestant.run())
    return results


def iqr(values: Sequence[float]) -> float:
    """The distance between the first and the third quartile; 0 for a single value."""
    if len(values) < 2:
        return 0.0
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return third - first
