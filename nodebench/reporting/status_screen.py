"""The states of many runs on one screen: counted, then those that go on, then those that ended otherwise, by reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from nodebench.counted import counted
from nodebench.quoting import plain
from nodebench.reporting.alike import grouped
from nodebench.reporting.states import DAMAGED, FINISHED, RUNNING, STALE, RunState
from nodebench.terminal import wrapped

MAX_RUNNING = 12
MAX_REASONS = 4  # of each other state
MAX_REASON = 160  # characters
_ORDER = (FINISHED, RUNNING, "interrupted", STALE, "failed", "diverged", DAMAGED)
_ADVICE = {
    "interrupted": "saved; the same command goes on",
    STALE: "no process is there any more; the same command goes on from the last checkpoint",
}
_INDENT = 13  # of what stands behind a word


def status_lines(states: Sequence[RunState], root: Path | str, width: int | None = None) -> list[str]:
    """The lines, none longer than `width` characters but where one word is; their number is bounded.

    Runs of a state that ended for the same reason, numbers aside, are one line, with the first of them.
    """
    numbers = Counter(state.state for state in states)
    told = [*_ORDER, *sorted(numbers.keys() - set(_ORDER))]
    counts = ", ".join(f"{numbers[name]:,} {name}" for name in told if numbers[name])
    lines = [("runs", f"{counted(len(states), 'run')} under {root}{f': {counts}' if counts else ' yet'}")]
    for name in told:
        of_state = [state for state in states if state.state == name]
        if name != FINISHED and of_state:
            words = _running(of_state) if name == RUNNING else _ended(of_state)
            lines += [("", ""), *zip((name, *[""] * len(states)), words, strict=False)]
    return [wrapped(plain(f"{word:<{_INDENT}}{words}".rstrip()), width, _INDENT) for word, words in lines]


def _running(states: Sequence[RunState]) -> Iterator[str]:
    for state in states[:MAX_RUNNING]:
        yield f"{state.folder}: {', '.join(_how_far(state))}"
    yield from _more(len(states) - MAX_RUNNING)


def _how_far(state: RunState) -> Iterator[str]:
    if state.step is None or not state.num_steps:
        yield "starting"
    else:
        yield f"step {state.step:,} of {state.num_steps:,}"
        if state.step >= state.num_steps:
            yield "evaluating"
        elif state.seconds_left is not None:
            yield f"{tqdm.format_interval(round(state.seconds_left))} left"
    yield str(state.holder)


def _ended(states: Sequence[RunState]) -> Iterator[str]:
    if advice := _ADVICE.get(states[0].state):
        yield advice
    kinds = grouped((state, state.folder, state.state, _reason(state)) for state in states)
    largest = sorted(kinds, key=lambda alike: -len(alike.members))
    for alike in largest[:MAX_REASONS]:
        number = f"{len(alike.members):,} runs, such as " if alike.members[1:] else ""
        reason = alike.reason if len(alike.reason) <= MAX_REASON else f"{alike.reason[: MAX_REASON - 1]}…"
        yield f"{number}{alike.members[0].folder}: {reason}"
    yield from _more(sum(len(alike.members) for alike in largest[MAX_REASONS:]))


def _reason(state: RunState) -> str:
    at = f"at step {state.step:,}" if state.state == STALE and state.step is not None else ""
    return ", ".join(filter(None, (at, state.reason))) or "it does not say why"


def _more(number: int) -> Iterator[str]:
    if number > 0:
        yield f"and {number:,} more"
