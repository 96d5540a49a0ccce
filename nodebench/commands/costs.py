"""What an experiment says that its runs cost, in words and added up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nodebench.counted import counted

MINUTES = "minutes_a_run"


def cost_words(about: Mapping[str, Any]) -> str:
    """An experiment's `about.cost`, and `about.minutes_a_run`, on one CPU core, where it was measured."""
    words = [str(about["cost"])] if "cost" in about else []
    minutes = about.get(MINUTES)
    if isinstance(minutes, int | float):
        words.append(f"{minutes:g} minute{'' if minutes == 1 else 's'} a run on one CPU core")
    return "; ".join(words) or "not stated"


def total_words(abouts: Sequence[Mapping[str, Any]]) -> str:
    """The time of runs one after the other, each by what its experiment says of one; runs without a time are named."""
    known = [about[MINUTES] for about in abouts if MINUTES in about]
    unknown = len(abouts) - len(known)
    if not known:
        return f"nobody has measured how long {counted(unknown, 'run')} take{'s' * (unknown == 1)}"
    time = time_words(60 * sum(known))
    more = f"; how long {unknown} more take nobody has measured" if unknown else ""
    return f"about {time} on one CPU core for {counted(len(known), 'run')} that {_are(len(known))} not done{more}"


def time_words(seconds: float) -> str:
    """`2 h 28 min`, `28 min`, and below a minute and a half `40 s`."""
    if seconds < 90:
        return f"{round(seconds)} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"
