"""heartbeat.json: how far a run is, who trains it and when that was; there while it goes on, or where it was killed.

Whoever wants to know reads it and need not ask the run's process, which may be on another host.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from nodebench.records.jsonl import is_number, read_mapping, to_json
from nodebench.records.storage import RunFolderError, write_fleeting

FILE = "heartbeat.json"
EVERY_S = 5.0


class Heartbeat(NamedTuple):
    """What a run that goes on says of itself.

    `seconds_left` is an estimate of the steps that are left, None before there is one; `at` is in seconds since 1970,
    by the clock of `host`.
    """

    step: int
    num_steps: int
    seconds_left: float | None
    process: int
    host: str
    at: float

    @property
    def age_s(self) -> float:
        """How long ago it was written, in seconds; where the clock of its host is ahead, 0."""
        return max(0.0, time.time() - self.at)


class Heart:
    """Writes the heartbeat of the run in `folder`: at its first beat, and not more often than every EVERY_S seconds.

    A file that cannot be written stops nothing.
    """

    def __init__(self, folder: Path, num_steps: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = folder / FILE
        self._num_steps = num_steps
        self._clock = clock
        self._next = -1.0

    def beat(self, step: int, seconds_left: Callable[[], float | None]) -> None:
        """Say that `step` steps are done, if it is time to; only then is `seconds_left` asked."""
        now = self._clock()
        if now < self._next:
            return
        self._next = now + EVERY_S
        beat = Heartbeat(
            step, self._num_steps, seconds_left(), os.getpid(), socket.gethostname(), time.time()
        )
        with suppress(OSError, RunFolderError):
            write_fleeting(self._path, f"{to_json(beat._asdict())}\n".encode())

    def stop(self) -> None:
        """Take the file away: what the run came to stands in its summary."""
        with suppress(OSError):
            self._path.unlink()


def read_heartbeat(folder: Path) -> Heartbeat | None:
    """What the run in `folder` last said; None if it says nothing, or what cannot be."""
    try:
        content = read_mapping(folder / FILE)
        beat = Heartbeat(**content)
    except (OSError, ValueError, TypeError):
        return None
    left = beat.seconds_left
    numbers = (beat.step, beat.num_steps, beat.process)
    is_whole = all(isinstance(number, int) and is_number(number) for number in numbers)
    return beat if is_whole and is_number(beat.at) and (left is None or is_number(left)) else None


def ago(seconds: float) -> str:
    """`12 s ago`, `4 min ago`, `3 h ago`, `2 days ago`: roughly, as it is said of what was last heard of."""
    for unit, size, most in (("s", 1, 120), ("min", 60, 120), ("h", 3600, 48)):
        if seconds < most * size:
            return f"{seconds // size:.0f} {unit} ago"
    return f"{seconds // 86400:.0f} days ago"
