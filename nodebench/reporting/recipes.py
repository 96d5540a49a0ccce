"""Which runs a figure or table of the paper asks for, and how a run that stands in for one differs from it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from nodebench.reporting.runs import Run

MAX_TOLD = 5  # differences that a sentence names


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
            f"{key}={_word(run.setting(key))} ({_word(value)})"
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


def _word(value: Any) -> str:
    """A value as it is typed on the command line."""
    return value if isinstance(value, str) else json.dumps(value, default=str)
