"""Experiments beside each other: the settings that differ and the results that differ, a column an experiment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from nodebench.records import Column as Recorded
from nodebench.reporting.circumstances import machine_words
from nodebench.reporting.columns import columns_of
from nodebench.reporting.layout import Column, Line, Table
from nodebench.reporting.portrait import ASKED
from nodebench.reporting.recipes import differing_keys, word
from nodebench.reporting.rows import Row, difference95, interval95

_OF_A_NODE = ("name", "method", "tol", "dt", "gradient")  # told where an experiment lacks the node altogether
_SAID = ("fewer than", "made by")  # how notes begin of what the columns and the lines above them say


@dataclass(frozen=True)
class Comparison:
    """`table` has a line for what differs, `same` is what every experiment has alike, a phrase each."""

    table: Table
    same: list[str]


def compare(sides: Sequence[Row]) -> Comparison:
    """A line for each setting and each result that is not the same in all; A, B, ... are the sides in turn.

    Of two, the difference of the means stands beside them, with its interval where both have seeds.
    """
    known = columns_of(run for side in sides for run in side.runs)
    sides = [replace(side, columns=known) for side in sides]
    columns = [
        column for column in known if column.shown & ASKED and any(side.values(column.name) for side in sides)
    ]
    told = {column.name: [side.text(column.name) for side in sides] for column in columns}
    differing = [column for column in columns if len(set(told[column.name])) > 1]
    same = [f"{name} {texts[0]}" for name, texts in told.items() if len(set(texts)) == 1]

    letters = [letter(number) for number in range(len(sides))]
    settings = list(_settings(sides))
    lines = [Line([name, *cells, *[""] * (len(sides) == 2)]) for name, cells in settings]
    lines += [Line([column.name, *told[column.name], *_difference(sides, column)]) for column in differing]
    headings = [
        Column("", is_number=False),
        *map(Column, letters),
        *([Column("B - A")] if len(sides) == 2 else []),
    ]
    data = pd.DataFrame(
        [
            *({"what": name, **dict(zip(letters, cells, strict=True))} for name, cells in settings),
            *({"what": column.name, **_numbers(sides, letters, column)} for column in differing),
        ]
    )
    return Comparison(Table(headings, lines, data, list(_legend(sides, differing))), same)


def letter(number: int) -> str:
    """A, B, ..., Z, and numbers behind that."""
    return chr(ord("A") + number) if number < 26 else str(number + 1)


def _settings(sides: Sequence[Row]) -> Iterator[tuple[str, list[str]]]:
    """Each setting that differs with its value on each side, then seeds and status where they do."""
    firsts = [side.first for side in sides]
    lacking = {node for node in ("solver",) if any(run.setting(node) is None for run in firsts)}
    for key in differing_keys(firsts):
        node, _, last = key.rpartition(".")
        is_told_elsewhere = last == "_target_" or (key == "solver.name")
        if is_told_elsewhere or (node.partition(".")[0] in lacking and last not in _OF_A_NODE):
            continue
        values = [run.setting(key) for run in firsts]
        yield key, ["" if value is None else word(value) for value in values]
    for what, cells in (
        ("seeds", [", ".join(run.seed for run in side.runs) for side in sides]),
        ("status", [side.text("status") for side in sides]),
    ):
        if len(set(cells)) > 1:
            yield what, cells


def circumstances(sides: Sequence[Row]) -> list[str]:
    """Which version made each side, on what, where that is not the same for all; else nothing."""
    every = [replace(side, counted=side.runs) for side in sides]
    versions = [", ".join(f"nodebench {version}" for version in side.versions) for side in every]
    machines = [machine_words(side) for side in every]
    told = [words for words in (versions, machines) if len(set(words)) > 1]
    return ["; ".join(filter(None, words)) for words in zip(*told, strict=True)] or [""] * len(sides)


def _difference(sides: Sequence[Row], column: Recorded) -> list[str]:
    """The last cell of a line of two sides: what the second has more than the first."""
    if len(sides) != 2:
        return []
    ours, theirs = (side.values(column.name) for side in sides)
    if not (ours and theirs and column.is_number):
        return [""]
    more = sum(theirs) / len(theirs) - sum(ours) / len(ours)
    half_width = difference95(ours, theirs) if column.has_interval else None
    interval = "" if half_width is None else f" ± {half_width:{column.format}}"
    return [f"{more:+z{column.format}}{interval}"]


def _numbers(sides: Sequence[Row], letters: Sequence[str], column: Recorded) -> dict[str, Any]:
    """The line of a result in the CSV: unrounded means and half widths."""
    numbers: dict[str, Any] = {}
    for name, side in zip(letters, sides, strict=True):
        numbers[name] = side.number(column.name) if column.is_number else side.text(column.name)
        numbers[f"{name}_interval"] = interval95(side.values(column.name)) if column.has_interval else None
    return numbers


def _legend(sides: Sequence[Row], columns: Sequence[Recorded]) -> Iterator[str]:
    units = dict.fromkeys(column.unit for column in columns if column.unit)
    if units:
        yield f"Units: {', '.join(units)}."
    if any(len(side.counted) > 1 for side in sides) and any(column.has_interval for column in columns):
        of_two = "; of a difference Welch's" if len(sides) == 2 else ""
        yield f"±: half the 95 % interval over seeds (Student's t{of_two})."
    for number, side in enumerate(sides):
        yield from (f"{letter(number)}: {note}" for note in side.notes if not note.startswith(_SAID))
