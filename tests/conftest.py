"""The environment of every test, set before anything imports torch, and signals that arrive."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

# The tests compute on small tensors, where more threads only get in each other's way; children inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture
def signals_arrive() -> Iterator[None]:
    """Signals end a process, and its children, where pytest itself ignores them: under nohup, or in the background."""
    usual = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    ignored = [number for number in usual if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, usual[number])
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
