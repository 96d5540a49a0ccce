"""How many runs of a sweep train at a time here: a run's record says so, as its times are no measurements."""

from __future__ import annotations

import os

JOBS = "NODEBENCH_JOBS"
"""The variable of the environment by which a sweep tells the process of a run how many train at a time."""


def jobs_here() -> int:
    """How many runs of a sweep train at a time here, a process each; 0 where this process is none of them."""
    told = os.environ.get(JOBS, "")
    return int(told) if told.isdecimal() else 0
