"""How a run ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from nodebench.training.environment import PROCESSES, describe_environment, describe_version, mixes_versions
from nodebench.training.progress import say
from nodebench.training.run_folder import RunFolder
from nodebench.training.settings import TrainingSettings
from nodebench.training.state import TrainingState


@dataclass(frozen=True)
class Outcome:
    """How a run ended: status finished, interrupted, diverged or failed, and its summary.json.

    `signal` is the number of the signal that asked it to stop; a run that one meets at its very end is finished all the
    same. `was_trained` is False if the run had been finished before and nothing was done.
    """

    status: str
    summary: dict[str, Any]
    reason: str | None = None
    signal: int | None = None
    was_trained: bool = True


def finished_outcome(run: RunFolder) -> Outcome | None:
    """The outcome of a run that is finished, None of any other; says on stderr which version made it."""
    summary = run.read_summary()
    if summary is None or summary["status"] != "finished":
        return None
    now = describe_environment(torch.device("cpu"))
    text = f"already finished, trained with {describe_version(summary)}; training.force=true trains anew"
    if mixes_versions([summary, now]):
        text += f"\nwarning: this is {describe_version(now)}: the numbers may not be those that it would give"
    for change in run.own_code_changes():
        text += f"\nwarning: {change}; the numbers are those of the code as it was"
    say(text)
    return Outcome("finished", summary, was_trained=False)


def what_a_run_came_to(
    record: Mapping[str, Any],
    state: TrainingState,
    settings: TrainingSettings,
    environment: Mapping[str, Any],
) -> dict[str, Any]:
    """The entries of summary.json beside its status: a record's columns, how far it is and what it was made with."""
    return {
        "seed": settings.seed,
        **{name: value for name, value in record.items() if name != "kind"},
        "epoch": state.epoch,
        "step": state.step,
        "num_steps": settings.num_steps,
        **{name: environment[name] for name in ("version", "git_commit", "git_dirty")},
        "mixed_versions": mixes_versions([environment, *environment.get("resumed_in", [])]),
        "torch": environment["packages"]["torch"],
        **{name: environment[name] for name in ("device", "device_name", "num_threads")},
        **({PROCESSES: environment[PROCESSES]} if PROCESSES in environment else {}),
    }
