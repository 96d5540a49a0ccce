"""Ctrl-C and SIGTERM: finish the training step in hand, then stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """A signal asked the run to stop. No Exception, so that a task's own `except Exception` lets it through."""


class InterruptGuard:
    """Notes SIGINT and SIGTERM while it is entered, and restores the handlers that were there before.

    A training step is never torn apart: the loop calls `raise_if_received` between steps. Evaluation changes no
    training state and may take long, so it runs inside `interruptible()` and is left at once. A second Ctrl-C
    raises KeyboardInterrupt, the way out of a step that hangs. Outside the main thread no handler can be set and
    the guard does nothing.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._is_interruptible = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> InterruptGuard:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle) for number in _SIGNALS}
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
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = self.received or signal.Signals(number)
        if self._is_interruptible:
            raise Interrupted(self.received.name)
