"""How the members of a sweep end: one that fails is a row of the table and not the end of the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nodebench.commands.bugs import keep_traceback
from nodebench.config.compose import Composed
from nodebench.config.errors import ConfigError
from nodebench.config.identity import run_folder
from nodebench.config.saved import config_text
from nodebench.records.lock import who_trains
from nodebench.records.summary import FILE as SUMMARY
from nodebench.reporting.alike import grouped
from nodebench.signals import pass_on
from nodebench.terminal import tell

ELSEWHERE = "elsewhere"
"""The status of a member that another process trains: it has not ended."""


class Ending(NamedTuple):
    """How one member ended; plain values, so that a launcher can bring it from another machine."""

    status: str
    reason: str | None = None


def train_member(composed: Composed, config_dir: str | Path | None = None) -> Ending:
    """Train one member; what goes wrong is said, returned, and kept in its run folder.

    A signal goes on to whoever heeds it, once the run is saved: the command, which ends with all members, or submitit.
    """
    ending = _train(composed, config_dir)
    if ending.status != "finished":
        tell(f"{ending.status:<9} {ending.reason}")
    return ending


def _train(composed: Composed, config_dir: str | Path | None) -> Ending:
    from nodebench.commands.session import train_run
    from nodebench.training import RunFolderBusyError, RunFolderError

    try:
        outcome = train_run(composed, config_dir)
    except ConfigError as error:
        return keep_failure(composed.config, str(error))
    except RunFolderBusyError:
        return trained_elsewhere(run_folder(composed.config))
    except RunFolderError as error:
        return Ending("failed", str(error))
    except Exception as error:
        where = keep_traceback(composed.config["output_dir"])
        return keep_failure(composed.config, f"{type(error).__name__}: {error}{where}")
    try:
        if outcome.signal is not None:
            pass_on(outcome.signal)
    except Exception as error:  # submitit's, which says why it does not requeue its job
        return Ending(outcome.status, f"{outcome.reason}; {error}")
    return Ending(outcome.status, outcome.reason)


def trained_elsewhere(folder: Path) -> Ending:
    """The ending, for now, of a member whose folder another process holds."""
    return Ending(ELSEWHERE, f"{who_trains(folder) or 'another process'} trains it; it is left for the end")


def keep_failure(config: dict[str, Any], reason: str) -> Ending:
    """A member that could not even be built leaves a run folder with its status, so that tables show the row.

    One that was to be trained anew leaves the finished run as it is.
    """
    from nodebench.training import RunFolder, RunFolderError

    try:
        with RunFolder(run_folder(config), config_text(config)) as run:
            if not (run.path / "config.yaml").exists():
                run.begin({})
            if not run.is_finished():
                run.write_summary({"status": "failed", "reason": reason, "seed": config["seed"]})
    except RunFolderError as error:
        reason += f"; {error}" if str(error) not in reason else ""
    return Ending("failed", reason)


def ending_in(folder: Path) -> Ending | None:
    """How the run in `folder` ended by its summary; None where it has none."""
    from nodebench.training import RunFolder

    summary = RunFolder(folder).read_summary()
    return None if summary is None else Ending(summary["status"], summary.get("reason"))


def summary_state(folder: Path) -> tuple[int, int] | None:
    """What tells the summary of a run from one that is written in its place; None where there is none."""
    try:
        found = (folder / SUMMARY).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def report(folders: Iterable[Path], endings: Sequence[Any]) -> int:
    """Name every member that is not finished, of many that ended alike the first; the exit code."""
    unfinished = []
    for folder, ending in zip(folders, endings, strict=True):
        status, reason = (
            ending if isinstance(ending, tuple) else ("failed", f"{type(ending).__name__}: {ending}")
        )
        if status != "finished":
            unfinished.append(((folder, reason), folder, status, str(reason)))
    for alike in grouped(unfinished):
        if alike.are_many:
            number, (first, _) = len(alike.members), alike.members[0]
            tell(f"{alike.status:<9} {number:,} runs: {alike.reason}; the first is {first}")
            continue
        for folder, reason in alike.members:
            tell(f"{alike.status:<9} {folder}: {reason}")
    return 1 if unfinished else 0
