"""Runs that ended for the same reason, numbers and their own folder aside: told once, where each would be a line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

FEW = 3
"""So many alike are still told one by one."""

T = TypeVar("T")
_NUMBER = re.compile(r"(?<![\w.])([+-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)(?!\w)")
_IN_A_WORD = r"[^\s()'\"`]*"


@dataclass(frozen=True)
class Alike(Generic[T]):
    """`members` that ended with one `status`, in the order they came in; `reason` has `…` where theirs differ."""

    status: str
    reason: str
    members: list[T]

    @property
    def are_many(self) -> bool:
        return len(self.members) > FEW


def grouped(endings: Iterable[tuple[T, Path, str, str]]) -> list[Alike[T]]:
    """What of (member, folder, status, reason) is alike, in the order of their first."""
    found: dict[tuple[str, ...], list[tuple[T, list[str]]]] = {}
    for member, folder, status, reason in endings:
        texts, numbers = _split(reason, folder)
        found.setdefault((status, *texts), []).append((member, numbers))
    return [
        Alike(status, _joined(texts, [numbers for _, numbers in kept]), [member for member, _ in kept])
        for (status, *texts), kept in found.items()
    ]


def _split(reason: str, folder: Path) -> tuple[list[str], list[str]]:
    """The words of a reason, and the numbers between them."""
    own = re.escape("/".join(folder.parts[-2:]))
    parts = _NUMBER.split(re.sub(f"{_IN_A_WORD}{own}", "…", reason))
    return parts[::2], parts[1::2]


def _joined(texts: list[str], numbers: list[list[str]]) -> str:
    shared = [each[0] if len(set(each)) == 1 else "…" for each in zip(*numbers, strict=True)]
    return texts[0] + "".join(number + text for number, text in zip(shared, texts[1:], strict=True))
