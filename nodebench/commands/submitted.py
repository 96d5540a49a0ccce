"""Members of a sweep as jobs of one of Hydra's launchers (submitit, Ray), on this machine or on a cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from nodebench.allocation import keep_freed_memory
from nodebench.commands.endings import Ending, ending_in, keep_failure, summary_state, train_member
from nodebench.commands.members import Member
from nodebench.commands.run_log import kept_in_log
from nodebench.commands.share import share
from nodebench.config.compose import compose
from nodebench.config.errors import FailedError
from nodebench.config.identity import run_folder
from nodebench.config.launch import job_number, launch, launcher_name
from nodebench.counted import counted
from nodebench.records.jobs import JOBS, jobs_here
from nodebench.records.lock import holder_of
from nodebench.terminal import tell

ON_THIS_MACHINE = "submitit_local"  # which starts all of its jobs at once


def run_submitted(
    members: Mapping[Path, Member],
    labels: Sequence[str],
    launcher_overrides: Sequence[str],
    config_dir: str | Path | None = None,
) -> dict[Path, Ending]:
    """How every member ended that the launcher ran, a job each; one that is lost is a failure and no end of the others.

    Raises ConfigError if there is no such launcher, FailedError if it fails before a member has begun. A signal ends
    the waiting alone.
    """
    name = launcher_name(launcher_overrides)
    tell(f"jobs      {counted(len(members), 'job')} of {name}; `nodebench status` says how far they are")
    before = {folder: summary_state(folder) for folder in members}
    number = 0

    def tell_result(returned: Any) -> None:
        nonlocal number
        status = returned.status if isinstance(returned, Ending) else "ended"
        tell(f"{status:<9} {labels[number]}; {number + 1} of {len(members)} done")
        number += 1

    try:
        with _shared_by(len(members)) if name == ON_THIS_MACHINE else nullcontext():
            returned = launch(
                [list(member.composed.overrides) for member in members.values()],
                partial(run_in_job, config_dir=config_dir),
                launcher_overrides,
                config_dir,
                tell_result,
            )
    except FailedError as error:
        if not any(summary_state(folder) != before[folder] or holder_of(folder) for folder in members):
            raise
        tell(str(error))
        returned = [error] * len(members)
    except (KeyboardInterrupt, SystemExit):
        tell("stopped   jobs that were submitted may go on; the same command submits what is not finished")
        raise
    return {
        folder: _ending(member, each, summary_state(folder) != before[folder])
        for (folder, member), each in zip(members.items(), returned, strict=True)
    }


def run_in_job(overrides: Sequence[str], config_dir: str | Path | None = None) -> Ending:
    """Compose and train one member in the job that a launcher made for it; what it prints goes to its run's log.txt."""
    keep_freed_memory()
    composed = compose(overrides, config_dir)
    os.environ.setdefault(JOBS, "1")
    if jobs_here() > 1:
        os.environ.update(share(job_number(), jobs_here(), str(composed.config["device"])))
    with kept_in_log(run_folder(composed.config)):
        return train_member(composed, config_dir)


@contextmanager
def _shared_by(jobs: int) -> Iterator[None]:
    """Within, processes that are started keep to their share of the cores; their GPU is that of their job's number."""
    shared = share(0, jobs, "cpu")
    before = {name: os.environ.get(name) for name in shared}
    os.environ.update(shared)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _ending(member: Member, returned: Any, left_summary: bool) -> Ending:
    """How a job ended: as it says, else by the summary if it left one; else it was killed, or its node is gone."""
    if isinstance(returned, Ending):
        return returned
    config = member.composed.config
    if left_summary and (told := ending_in(run_folder(config))) is not None:
        return told
    why = " ".join(str(returned).split())
    return keep_failure(
        config, f"its job ended without a result, as when it is killed or its node fails: {why[:200]}"
    )
