"""What ends a command in one sentence: a choice that cannot be run, a try that failed; and nearest names."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class ConfigError(ValueError):
    """What was asked for cannot be run; the message is one sentence for the user, without a traceback."""


class FailedError(RuntimeError):
    """What was asked for was tried and failed; the message is one sentence for the user, without a traceback."""


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """` Did you mean ...?` with the nearest allowed name; where none is near, all of them if they are few."""
    allowed = sorted(allowed)
    nearest = _nearest(name, allowed)
    if nearest is not None:
        return f" Did you mean `{nearest}`?"
    return f" Choose from: {', '.join(allowed)}." if 0 < len(allowed) <= 20 else ""


def _nearest(name: str, allowed: list[str]) -> str | None:
    """By the whole name if it has dots, then by its last part: `lr` finds `optimizer.lr`."""
    whole = get_close_matches(name, allowed, n=1, cutoff=0.6) if "." in name else []
    if whole:
        return whole[0]
    ends = {key.rpartition(".")[2]: key for key in allowed}
    end = name.rpartition(".")[2]
    similar = get_close_matches(end, ends, n=1, cutoff=0.6) or [
        other
        for other in ends
        if min(len(end), len(other)) > 1 and (end.startswith(other) or other.startswith(end))
    ]
    return ends[similar[0]] if similar else None
