"""Members of a sweep that another process trains at the same time: they are left for the end, and not trained twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from nodebench.commands.endings import ELSEWHERE, Ending
from nodebench.commands.members import Member
from nodebench.counted import counted
from nodebench.records.lock import holder_of, who_trains
from nodebench.terminal import tell

EVERY_S = 2.0
_SETTLED = ("finished", "failed", "diverged")  # what is not tried once more because somebody else did


def train_with_others(
    members: Mapping[Path, Member], train: Callable[[Mapping[Path, Member]], Mapping[Path, Any]]
) -> dict[Path, Any]:
    """How each member ended; `train` trains those it is given, and returns ELSEWHERE for one that is held meanwhile.

    Those are waited for when all others are through. What the other process came to is then taken as it is; a member
    that it left unfinished, or was killed with, is trained here.
    """
    endings = dict(train(members)) if members else {}
    while left := [folder for folder, ending in endings.items() if _is_elsewhere(ending)]:
        free = _wait_for_one(left)
        ended = {folder: ending for folder in free if (ending := _ending_of(folder)) is not None}
        endings |= ended
        if to_train := {folder: members[folder] for folder in free if folder not in ended}:
            endings |= train(to_train)
    return endings


def _is_elsewhere(ending: Any) -> bool:
    return isinstance(ending, Ending) and ending.status == ELSEWHERE


def _wait_for_one(folders: Iterable[Path]) -> list[Path]:
    """Wait until nobody trains in one of the folders; all in which nobody does."""
    held = {folder: who for folder in folders if (who := who_trains(folder))}
    free = [folder for folder in folders if folder not in held]
    if not free:
        first, who = next(iter(held.items()))
        more = (
            f", and for {counted(len(held) - 1, 'more run')} trained elsewhere"
            if held.keys() - {first}
            else ""
        )
        tell(f"waiting   for {first}, which {who} trains{more}; Ctrl-C stops waiting")
    while not free:
        time.sleep(EVERY_S)
        free = [folder for folder in held if holder_of(folder) is None]
    return free


def _ending_of(folder: Path) -> Ending | None:
    """How the run ended that another process trained; None if there is something left to train."""
    from nodebench.training import RunFolder

    summary = RunFolder(folder).read_summary()
    if summary is None or summary["status"] not in _SETTLED:
        return None
    tell(f"{summary['status']:<9} {folder}, trained elsewhere")
    return Ending(summary["status"], summary.get("reason"))
