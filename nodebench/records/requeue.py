"""A job of a batch system that is requeued gives its command again: which job that is, and what it has begun before.

A run that training.force=true has begun anew goes on when its job is requeued, and does not begin anew each time. It is
known by what its environment.json says: the job, and which of its starts that was.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nodebench.records.jsonl import read_mapping

ENVIRONMENT = "environment.json"
KEY = "forced_in"
UNCOUNTED = -1


class Job(NamedTuple):
    """A job of a batch system, by its number there; `start`: how many times it was requeued before, or UNCOUNTED."""

    name: str
    start: int


def this_job(variables: Mapping[str, str] = os.environ) -> Job | None:
    """The job that this process belongs to: Slurm's, or one of submitit's local executor; None outside of both.

    Slurm counts the starts of a job, so that a second command in its script is told from the first one given again.
    Submitit's has one command and does not count: each of its starts but the first is a requeue.
    """
    if number := variables.get("SLURM_JOB_ID"):
        restarts = variables.get("SLURM_RESTART_COUNT", "")
        name = f"slurm {variables.get('SLURM_CLUSTER_NAME', '')} {number}"
        return Job(" ".join(name.split()), int(restarts) if restarts.isdecimal() else 0)
    if number := variables.get("SUBMITIT_LOCAL_JOB_ID"):
        # The number is that of a process, and the folder one of this sweep: a path, which no record may hold.
        folder = hashlib.sha256(variables.get("SUBMITIT_FOLDER", "").encode()).hexdigest()[:8]
        return Job(f"submitit {folder} {number}", UNCOUNTED)
    return None


def marked(environment: Mapping[str, Any]) -> dict[str, Any]:
    """The environment of a run that is begun by force, with the job that does it, where it is one's."""
    job = this_job()
    return {**environment, **({KEY: job._asdict()} if job is not None else {})}


def was_begun_by_this_job(folder: Path) -> bool:
    """Whether the run in `folder` was begun by force by an earlier start of this job."""
    job = this_job()
    if job is None:
        return False
    try:
        began = Job(**read_mapping(folder / ENVIRONMENT)[KEY])
        return began.name == job.name and (job.start == UNCOUNTED or began.start < job.start)
    except (OSError, ValueError, TypeError, LookupError):
        return False
