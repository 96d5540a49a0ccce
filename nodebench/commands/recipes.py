"""The runs that a figure or table consists of, for those who draw it: the ones that `nodebench reproduce` trains."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from nodebench.commands.artefacts import ARTEFACTS
from nodebench.reporting.recipes import ANY_RECIPE, Recipe, Recipes
from nodebench.reporting.runs import Run


def recipes_of(drawn: str, runs: Sequence[Run]) -> Recipes:
    """The members of all recipes of the artefact that `drawn` shows; of a sweep, those alone that a run may be.

    A figure or table that is no artefact's has none. A recipe is looked at for those runs only that are of none before
    it.
    """
    artefact = next((each for each in ARTEFACTS.values() if drawn in (each.name, *each.also_drawn)), None)
    if artefact is None:
        return ANY_RECIPE
    from nodebench.config.identity import run_folder, what_makes_the_numbers
    from nodebench.config.merged import merge

    found: dict[str, Recipe] = {}
    for overrides in dict.fromkeys(
        tuple(override for override in overrides if not override.startswith("seed="))
        for recipe in artefact.recipes.values()
        for overrides in recipe
    ):
        for member in _asked(overrides, [run for run in runs if run.group not in found]):
            config = merge(dict(map(_given, member)))
            group = run_folder(config).parent.name
            found[group] = Recipe(group, what_makes_the_numbers(config))
    return Recipes(artefact.name, tuple(found.values()))


@cache
def _given(override: str) -> tuple[str, Any]:
    """Key and value; the same few are asked for again and again."""
    from nodebench.config.overrides import parse

    (parsed,) = parse([override])
    return parsed.key_or_group, parsed.value()


def _asked(overrides: Sequence[str], runs: Sequence[Run]) -> list[tuple[str, ...]]:
    """The overrides of one run each: of an experiment's own sweep, what one of `runs` answers to."""
    from nodebench.config.launch import combinations
    from nodebench.config.merged import sweep_of

    if not runs:
        return []
    given = dict(override.split("=", 1) for override in overrides)
    sweep = {key: values for key, values in sweep_of(given["experiment"]).items() if key not in given}
    return [
        (*overrides, *member)
        for member in (combinations(sweep) if sweep else [()])
        if any(_may_be(run, member) for run in runs)
    ]


def _may_be(run: Run, member: Sequence[str]) -> bool:
    given = (override.partition("=") for override in member)
    return all(value == (run.names[0] if key == "data" else str(run.setting(key))) for key, _, value in given)
