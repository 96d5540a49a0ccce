"""A word about a training step that takes long, from a thread beside it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

from nodebench.training.progress import say
from nodebench.training.protocols import ReadCounts

_FIRST_WORD_S = 10.0
_TIMES_LONGEST = 5
_SECONDS_BETWEEN_LOOKS = 1.0


class Patience:
    """Says how long the step in hand has taken, and its evaluations so far.

    The first word comes after 10 s or five times the longest step before it, whichever is later, and the next ones
    each time that this has doubled. `look` says it; while the object is entered, a thread looks every second.
    """

    def __init__(
        self,
        say: Callable[[str], None] = say,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._say = say
        self._clock = clock
        self._in_hand: tuple[int, float, ReadCounts] | None = None  # number, beginning and counts
        self._longest = 0.0
        self._next_word = 0.0
        self._is_over = threading.Event()

    def __enter__(self) -> Patience:
        self._is_over.clear()
        self._thread = threading.Thread(target=self._watch, name="patience", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def begin(self, step: int, counts: ReadCounts) -> None:
        """Step `step` begins; `counts` are its own."""
        self._next_word = max(_FIRST_WORD_S, _TIMES_LONGEST * self._longest)
        self._in_hand = (step, self._clock(), counts)

    def end(self) -> None:
        """The step in hand has ended."""
        if self._in_hand is not None:
            self._longest = max(self._longest, self._clock() - self._in_hand[1])
            self._in_hand = None

    def look(self) -> None:
        """Say a word if it is time."""
        if (in_hand := self._in_hand) is None:
            return
        step, began, read = in_hand
        seconds = self._clock() - began
        if seconds < self._next_word:
            return
        self._next_word = 2 * seconds
        text = f"step {step} has taken {seconds:.0f} s so far"
        with suppress(Exception):  # a task of one's own may not be ready to be asked in the middle of a step
            if (counts := read()) is not None:
                text += f": {counts.nfe_forward:,} evaluations forward, {counts.nfe_backward:,} backward"
        self._say(text)

    def _watch(self) -> None:
        while not self._is_over.wait(_SECONDS_BETWEEN_LOOKS):
            self.look()
