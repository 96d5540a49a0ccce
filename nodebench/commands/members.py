"""The runs that a sweep or an artefact consists of: what they are, checked, and how far each is."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from nodebench.config.check import check
from nodebench.config.compose import Composed, Composer
from nodebench.config.errors import ConfigError
from nodebench.config.files import config_folders, shipped_targets
from nodebench.config.identity import run_folder
from nodebench.config.launch import combinations
from nodebench.counted import counted
from nodebench.reporting.runs import find_runs

_IN_TABLE = (  # as tol, gradient and units
    *("solver.tol", "solver.rtol", "solver.atol", "solver.dt"),
    *("model.gradient", "model.width", "model.num_layers"),
)


DONE, UNFINISHED, MISSING, DAMAGED = STATES = "done", "unfinished", "missing", "damaged"


@dataclass(frozen=True)
class Member:
    """One run of a sweep: the `overrides` that ask for it, and what they compose to."""

    overrides: tuple[str, ...]
    composed: Composed


def compose_members(
    asked: Iterable[Sequence[str]], config_dir: str | Path | None = None
) -> tuple[dict[Path, Member], int]:
    """The members that lists of overrides ask for, checked, by run folder; and how many repeat one of them.

    A list whose experiment has a sweep of its own asks for every combination of that. Raises ConfigError, naming the
    member, for the first that cannot be run.
    """
    from nodebench.config.build import Builder

    allowed, composer = shipped_targets(config_folders(config_dir)), Composer(config_dir)
    members: dict[Path, Member] = {}
    repeated = 0
    for member in _spelled_out(list(asked), composer):
        with _naming(member.overrides):
            check(member.composed.config)
            Builder(member.composed.config, allowed).check_fit()
        folder = run_folder(member.composed.config)
        repeated += folder in members
        members.setdefault(folder, member)
    return members, repeated


def _spelled_out(asked: Sequence[Sequence[str]], composer: Composer) -> Iterator[Member]:
    """The one member that each list of overrides is, or all of its experiment's own sweep; a bar says how far it is."""
    with tqdm(total=len(asked), desc="composing", delay=1.0, leave=False, disable=None) as bar:
        for overrides in asked:
            with _naming(overrides):
                composed = composer.compose(overrides)
            if not composed.sweep:
                yield Member(tuple(overrides), composed)
                bar.update()
                continue
            combined = combinations(composed.sweep)
            bar.total += len(combined) - 1
            for combination in combined:
                member = (*overrides, *combination)
                with _naming(member):
                    composed = composer.compose(member)
                yield Member(member, composed)
                bar.update()


@contextmanager
def _naming(overrides: Sequence[str]) -> Iterator[None]:
    """Within, a ConfigError also says which member it is about."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{error} (in the sweep's member {shlex.join(overrides)})") from error


def varied_keys(members: Iterable[Member]) -> list[str]:
    """The keys of nodes (`model.width`) that the members were given different values of."""
    given: dict[str, set[str]] = {}
    for member in members:
        for override in member.overrides:
            key, _, value = override.partition("=")
            given.setdefault(key, set()).add(value)
    return [key for key, values in given.items() if "." in key and len(values) > 1 and key not in _IN_TABLE]


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
