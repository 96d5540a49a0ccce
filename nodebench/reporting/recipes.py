"""Which runs a figure or table of the paper asks for, and how a run that stands in for one differs from it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nodebench.ode.settings import BUDGETS
from nodebench.reporting.columns import identity
from nodebench.reporting.runs import Run

MAX_TOLD = 5  # differences that a sentence names
MAX_IN_LEGEND = 3
_WITHOUT_EFFECT = ("about", "logger", "seed", "device", "num_threads", "output_dir")
_NOT_OF_THE_NUMBERS = (
    *(f"solver.{name}" for name in BUDGETS),
    *(f"training.{name}" for name in ("force", "checkpoint_every_s", "keep_checkpoints")),
)


@dataclass(frozen=True)
class Recipe:
    """One run that is asked for, in all its seeds.

    `group` is the name of the folder that it trains into, `settings` the keys that determine its numbers.
    """

    group: str
    settings: Mapping[str, Any]

    def differences(self, run: Run, ignored: Collection[str] = ()) -> list[str]:
        """`training.num_steps=30 (3000)`: what the run has, and in brackets what the recipe has; off is as absent."""
        return [
            f"{key}={word(run.setting(key))} ({word(value)})"
            for key, value in self.settings.items()
            if key not in ignored and (run.setting(key) or None) != (value or None)
        ]

    def distance(self, run: Run, ignored: Collection[str]) -> tuple[bool, int]:
        """How far the run is from it: another model is farther than any number of settings."""
        return self.settings.get("model.name") != run.names[1], len(self.differences(run, ignored))


@dataclass(frozen=True)
class Recipes:
    """The runs of an artefact such as fig5. Where none is known, nothing is said of any run."""

    artefact: str = ""
    members: tuple[Recipe, ...] = ()

    def has(self, run: Run) -> bool:
        """Whether the run is one that the artefact asks for: it lies in the folder that the recipe trains into."""
        return not self.members or any(run.group == member.group for member in self.members)

    def complaint(self, run: Run, name: str, ignored: Collection[str] = ()) -> str:
        """A sentence on how the run, called `name`, differs from the nearest recipe; empty if it does not.

        `ignored` are keys whose values the reader is told elsewhere.
        """
        if self.has(run):
            return ""
        nearest = min(self.members, key=lambda member: member.distance(run, ignored))
        differences = nearest.differences(run, ignored)
        if not differences and nearest.differences(run):
            return ""
        told = differences[:MAX_TOLD] or ["another hash"]
        more = [f"{len(differences) - MAX_TOLD} more"] if len(differences) > MAX_TOLD else []
        return (
            f"not the recipe of {self.artefact} (in brackets: what it asks for): {name} has "
            f"{', '.join([*told, *more])}"
        )


ANY_RECIPE = Recipes()


def what_differs(runs: Sequence[Run]) -> list[str]:
    """Of each of the runs, its values of the settings that are not the same in all: `compile=true, stem=res`.

    Its hash where the first MAX_IN_LEGEND of them do not tell all runs apart; empty for a run alone.
    """
    if len(runs) == 1:
        return [""]
    keys = differing_keys(runs)
    short = [_last_part(key, keys) for key in keys[:MAX_IN_LEGEND]]
    told = [
        ", ".join(f"{name}={word(run.setting(key))}" for name, key in zip(short, keys, strict=False))
        for run in runs
    ]
    return told if len(set(told)) == len(runs) else [run.hash or str(run.folder) for run in runs]


def differing_keys(runs: Sequence[Run]) -> list[str]:
    """The settings whose values are not the same in all of the runs, but for those without effect on numbers."""
    return [
        key
        for key in dict.fromkeys(key for run in runs for key, _ in run.settings)
        if key.partition(".")[0] not in _WITHOUT_EFFECT
        and key not in _NOT_OF_THE_NUMBERS
        and any((run.setting(key) or None) != (runs[0].setting(key) or None) for run in runs)
    ]


def names_of(runs: Sequence[Run]) -> dict[str, str]:
    """What each experiment is called in a legend, by its group; of those called the same, what differs too."""
    alike: dict[str, dict[str, Run]] = {}
    for run in runs:
        told = identity(run)
        parts = [told[key] for key in ("model", "data", "solver", "tol", "gradient") if told[key]]
        alike.setdefault(" ".join(parts), {}).setdefault(run.group, run)
    names = {}
    for name, members in alike.items():
        for group, what in zip(members, what_differs(list(members.values())), strict=True):
            names[group] = ", ".join(filter(None, (name, what)))
    return names


def word(value: Any) -> str:
    """A value as it is typed on the command line."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _last_part(key: str, keys: Sequence[str]) -> str:
    """`stem` of `model.stem`, where that is clear among the keys."""
    last = key.rpartition(".")[2]
    is_clear = last != "name" and sum(other.rpartition(".")[2] == last for other in keys) == 1
    return last if is_clear else key
