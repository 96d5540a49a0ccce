"""Reads per_image.csv, what `nodebench measure --per-sample` found about a trained run image by image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from nodebench.records.per_image import (
    FILE,
    NAMES,
    DamagedImagesError,
    read_notes,
    read_rows,
)
from nodebench.reporting.measures import (
    NotMeasuredError,
    other_weights,
    preference,
    remarks,
    what_to_measure,
)
from nodebench.reporting.recipes import ANY_RECIPE, Recipes
from nodebench.reporting.runs import Run

ALL, RIGHT, WRONG = "all", "right", "wrong"  # the groups beside the classes
NUMBERS = ("is_right", "nfe", "num_accepted", "num_rejected", "error", "nfe_shared", "error_shared")


class Images(NamedTuple):
    """A run's measurements, a line a tolerance and image whose solve did not fail; numbers NaN where there is none.

    method: of the solver; empty where per_image.json does not tell. `notes` are for the reader, `footnotes` for the
    picture itself.
    """

    run: Run
    table: pd.DataFrame
    method: str
    notes: list[str]
    footnotes: list[str]


class Group(NamedTuple):
    """Images whose needs are shown together: a class of the data, all, or those that are classified right or wrong."""

    name: str
    lines: pd.DataFrame


def pick_images(runs: Sequence[Run], recipes: Recipes = ANY_RECIPE) -> Images:
    """The run with the most images, finished ones and those of `recipes` first.

    Raises NotMeasuredError, which says what to do, where no run has any.
    """
    found, problems = [], []
    for run in runs:
        try:
            table = pd.DataFrame(read_rows(run.folder), columns=list(NAMES))
        except (OSError, DamagedImagesError) as error:
            what = error.strerror if isinstance(error, OSError) else error
            problems.append(
                f"{run.folder / FILE} cannot be used: {what}; move it away and measure again: "
                f"`nodebench measure {run.argument} --per-sample`"
            )
            continue
        if len(table):
            found.append((run, table.astype(dict.fromkeys(NUMBERS, float))))
    if not any(table["nfe"].notna().any() for _, table in found):
        raise NotMeasuredError("; ".join([*problems, what_to_measure(runs, " --per-sample")]))
    found.sort(key=lambda pair: preference(pair[0], len(pair[1]), recipes))
    (run, table), *others = found
    origin = _origin(run)
    made_with = origin.get("made_with")
    solver = made_with.get("solver") if isinstance(made_with, dict) else None
    told, footnotes = remarks(run, [other for other, _ in others], recipes)
    notes = [*told, *problems, *other_weights(run, run.folder / FILE, origin)]
    if failed := int(table["nfe"].isna().sum()):
        notes.append(f"{failed:,} of {len(table):,} solves failed and are left out")
    return Images(
        run,
        table[table["nfe"].notna()],
        str(solver.get("method", "")) if isinstance(solver, dict) else "",
        notes,
        footnotes,
    )


def groups(table: pd.DataFrame) -> list[Group]:
    """The images of each class, all of them, and those that are classified right and wrong, if there are any."""
    found = [Group(str(label), lines) for label, lines in table.groupby("label", sort=True)]
    found.append(Group(ALL, table))
    found += [
        Group(name, lines)
        for name, value in ((RIGHT, 1.0), (WRONG, 0.0))
        if len(lines := table[table["is_right"] == value])
    ]
    return found


def _origin(run: Run) -> dict[str, Any]:
    try:
        return read_notes(run.folder)
    except (OSError, ValueError):
        return {}
