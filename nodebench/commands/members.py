"""The runs that a sweep or an artefact consists of: how far each is, told before they are trained."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from nodebench.commands.sweep import Member
from nodebench.counted import counted
from nodebench.reporting.runs import find_runs

DONE, UNFINISHED, MISSING, DAMAGED = STATES = "done", "unfinished", "missing", "damaged"


def state_of(folder: Path) -> str:
    """What is in a run folder: a finished run counts without its checkpoints, as a committed record does."""
    found = find_runs(folder)
    if not found:
        return MISSING
    if found[0].status == DAMAGED:
        return DAMAGED
    return DONE if found[0].is_finished else UNFINISHED


def counts(states: Mapping[Path, str]) -> str:
    """`8 runs: 3 done, 1 unfinished, 4 missing`."""
    numbers = Counter(states.values())
    return f"{counted(len(states), 'run')}: " + ", ".join(
        f"{numbers[state]} {state}" for state in STATES if numbers[state] or state != DAMAGED
    )


def member_line(state: str, member: Member, config_dir: Sequence[str] = ()) -> str:
    """How far one is, and the command that trains it alone."""
    return f"{state:<10}  {shlex.join(['nodebench', 'train', *member.overrides, *config_dir])}"
