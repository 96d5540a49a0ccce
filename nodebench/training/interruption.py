"""Ctrl-C, and the signals by which systems end a process: finish the training step in hand, then stop."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from nodebench.signals import ENDING

# SIGQUIT stays what it is, a core dump and no more: the way to see where a process hangs.
_SIGNALS = (signal.SIGINT, *ENDING)


class Interrupted(BaseException):
    """A signal asked the run to stop. No Exception, so that a task's own `except Exception` lets it through."""


class InterruptGuard:
    """Notes Ctrl-C and the signals of ENDING while it is entered, and restores the handlers that were there before.

    A training step is never torn apart: the loop calls `raise_if_received` between steps. Evaluation changes no
    training state and may take long, so it runs inside `interruptible()` and is left at once. A Ctrl-C after the first
    signal raises KeyboardInterrupt, the way out of a step that hangs. The others never do: `timeout`, batch systems and
    a shell whose connection drops send theirs twice. A signal that is ignored, as `nohup` ignores SIGHUP, stays so.
    Outside the main thread no handler can be set and the guard does nothing. `tells`: it says that a signal has come.
    """

    def __init__(self, tells: bool = True) -> None:
        self._tells = tells
        self.received: signal.Signals | None = None
        self._is_interruptible = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> InterruptGuard:
        if threading.current_thread() is threading.main_thread():
            heeded = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
            self._previous = {number: signal.signal(number, self._handle) for number in heeded}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def raise_if_received(self) -> None:
        """Raise Interrupted if a signal has come."""
        if self.received is not None:
            raise Interrupted(self.received.name)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Within, a signal raises Interrupted at once."""
        self._is_interruptible = True
        try:
            self.raise_if_received()
            yield
        finally:
            self._is_interruptible = False

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.received is not None:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self.received = signal.Signals(number)
        if self._is_interruptible:
            self._is_interruptible = False  # here: the next signal may come before `finally` has done it
            raise Interrupted(self.received.name)
        if not self._tells:
            return
        again = "Ctrl-C again" if number == signal.SIGINT else "Ctrl-C"
        _write_at_once(
            f"{self.received.name}: finishing the step in hand, then saving; {again} stops at once"
        )


def _write_at_once(text: str) -> None:
    """A line on stderr past Python's own buffers, which may be in the middle of a write when a signal comes."""
    start = "\n" if os.isatty(2) else ""  # the cursor stands behind the bar
    with suppress(OSError):
        os.write(2, f"{start}{text}\n".encode())
