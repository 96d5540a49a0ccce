"""The signals by which systems end a process, and who has them once the run is saved."""

from __future__ import annotations

import signal

ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Beside Ctrl-C: a batch system sends SIGTERM, and ahead of a time limit or a preemption mostly SIGUSR1 or SIGUSR2."""


def pass_on(number: int) -> None:
    """Let whoever heeds signal `number` have it now that what it interrupted is saved.

    The command ends with 128 + `number` (KeyboardInterrupt for Ctrl-C, else SystemExit); submitit, in a job of its own,
    requeues that and ends it, or raises why it does not. Returns where nobody heeds it, as in a launcher's worker.
    """
    if callable(signal.getsignal(number)):
        signal.raise_signal(number)
