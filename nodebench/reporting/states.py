"""What every run under a folder is doing, by its summary, and of one that is not finished its lock and heartbeat.

A finished run is opened no further, and a config is read only where nothing else tells that there was a run, so that
ten thousand take a second or two.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nodebench.records import metrics
from nodebench.records.heartbeat import Heartbeat, ago, read_heartbeat
from nodebench.records.jsonl import is_number, read_records
from nodebench.records.lock import OWNER, Holder, holder_of
from nodebench.records.summary import FILE as SUMMARY
from nodebench.reporting.run_files import read_file
from nodebench.reporting.runs import read_run, run_folders

RUNNING, STALE, DAMAGED, FINISHED = "running", "stale", "damaged", "finished"
"""Beside a summary's statuses: a process trains it; its process is gone and left none; its files cannot be read."""
SILENT_S = 900.0
"""A process on another host, of whose lock nobody can ask, counts as gone when it was not heard of for so long."""


@dataclass(frozen=True)
class RunState:
    """What the run in `folder` is doing.

    step, num_steps: how far it is; seconds_left: of its steps, as it estimated itself. `reason`: why it ended as it
    did, or what to do about one that is stale. What is not known is None or empty.
    """

    folder: Path
    state: str
    step: int | None = None
    num_steps: int | None = None
    seconds_left: float | None = None
    holder: Holder | None = None
    reason: str = ""


def run_states(root: Path | str) -> list[RunState]:
    """The state of every run at or below `root`, sorted by path."""
    return [_state(folder) for folder in sorted(run_folders(root))]


def _state(folder: Path) -> RunState:
    summary, problem = _read_summary(folder)
    status = str(summary.get("status", ""))
    if status == FINISHED:
        return RunState(folder, FINISHED)
    holder = holder_of(folder)
    beat = read_heartbeat(folder)
    if holder is not None and not _is_silent(holder, beat):
        return _running(folder, holder, beat)
    if problem:
        return RunState(folder, DAMAGED, reason=problem)
    if status:
        step, num_steps = (_whole(summary.get(name)) for name in ("step", "num_steps"))
        return RunState(folder, status, step, num_steps, reason=str(summary.get("reason") or ""))
    is_known = holder is not None or beat is not None
    if not is_known and (run := read_run(folder)).status == DAMAGED:  # was it a run at all?
        return RunState(folder, DAMAGED, reason=run.problem)
    return _stale(folder, holder, beat)


def _read_summary(folder: Path) -> tuple[dict[str, Any], str]:
    """The summary and nothing, or nothing and what is wrong with it; one that is not there is not wrong."""
    summary, problem = read_file(folder / SUMMARY)
    if summary is None:
        return {}, problem
    return summary, "" if "status" in summary else f"{SUMMARY} has no status"


def _is_silent(holder: Holder, beat: Heartbeat | None) -> bool:
    """Whether a holder that may be gone has not been heard of for long."""
    return holder.may_be_gone and (beat is None or beat.age_s > SILENT_S)


def _running(folder: Path, holder: Holder, beat: Heartbeat | None) -> RunState:
    if beat is None or beat.process != holder.process:  # the heartbeat of one that was killed before
        return RunState(folder, RUNNING, holder=holder)
    left = None if beat.seconds_left is None else max(0.0, beat.seconds_left - beat.age_s)
    return RunState(folder, RUNNING, beat.step, beat.num_steps, left, holder)


def _stale(folder: Path, holder: Holder | None, beat: Heartbeat | None) -> RunState:
    if beat is None:
        records, _ = read_records(folder / metrics.FILE)
        step = _whole(records[-1].get("step")) if records else None
        said, num_steps = "killed", None
    else:
        step, num_steps = beat.step, beat.num_steps
        said = f"process {beat.process} on {beat.host} was last heard of {ago(beat.age_s)}"
    if holder is not None:
        said = f"{said if beat else f'{holder} holds it'}; if it is gone, remove {folder / OWNER}"
    return RunState(folder, STALE, step, num_steps, holder=holder, reason=said)


def _whole(value: Any) -> int | None:
    return int(value) if is_number(value) else None
