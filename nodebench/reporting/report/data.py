"""The runs as data for the page's own table: columns, a row an experiment and a row a run, as text and as numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nodebench.quoting import plain
from nodebench.records import Columns
from nodebench.records.jsonl import is_number
from nodebench.reporting.columns import BOOKKEEPING, IDENTITY, columns_of, default_columns
from nodebench.reporting.report.experiments import Experiment, Neighbours, as_json
from nodebench.reporting.rows import Row, rows_over_seeds
from nodebench.reporting.runs import Run

EXPERIMENT, TASK, SCORE, MEASURE, REASON = "experiment", "task", "score", "measure", "reason"
_IN_THE_NAME = ("model", "units")  # of an experiment
MAX_SETTINGS = 60
"""Settings that become columns: beyond, a folder of a hundred different configs would be a page of its own."""
_COSTS = (
    "num_params",
    "nfe_forward",
    "nfe_backward",
    "time_step_ms",
)  # shown where tasks stand beside each other


@dataclass(frozen=True)
class TableColumn:
    """A column of the page's table. `is_shown`: unasked; `is_setting`: a key of the config."""

    key: str
    heading: str
    unit: str
    is_number: bool
    is_shown: bool
    is_setting: bool = False


@dataclass(frozen=True)
class TableRow:
    """An experiment or one run of it; `anchor` is where the page says more of it. A cell a column, numbers beside."""

    kind: str
    anchor: str
    status: str
    cells: tuple[str, ...]
    numbers: tuple[float | None, ...]


def table_columns(found: Sequence[Neighbours]) -> list[TableColumn]:
    """What the rows can show: what tells them apart, the records' columns that have a value, the settings that vary."""
    runs = [run for each in found for run in each.runs]
    known = columns_of(runs)
    names = _recorded(found, known)
    several_tasks = len({each.task for each in found}) > 1
    usual = {*default_columns(known), *BOOKKEEPING}
    shown = {*(name for name in usual if name not in names), SCORE, *_COSTS} if several_tasks else usual
    rows = [each.row for neighbours in found for each in neighbours.experiments]
    columns = [
        TableColumn(EXPERIMENT, "experiment", "", False, True),
        TableColumn(TASK, "task", "", False, len({each.data for each in found}) < len(found)),
    ]
    for name in IDENTITY:
        has_values = any(row.identity[name] for row in rows)
        is_shown = name in shown and name not in _IN_THE_NAME
        columns += [TableColumn(name, name, "", False, is_shown)] if has_values else []
    columns.append(TableColumn("seeds", "seeds", "the finished ones, or the run's own", True, True))
    if several_tasks:
        columns.append(
            TableColumn(SCORE, "score", "what experiments of one task are compared by", True, True)
        )
    for name in names:
        unit = known[name].unit
        columns.append(TableColumn(name, plain(name), unit, known[name].is_number, name in shown))
    columns.append(TableColumn("status", "status", "", False, True))
    if any(run.problem for run in runs):
        columns.append(TableColumn(REASON, "reason", "why a run is not finished", False, False))
    varying = dict.fromkeys(key for each in found for one in each.experiments for key in one.settings)
    taken = {column.key for column in columns}
    for key in [key for key in varying if key not in taken][:MAX_SETTINGS]:
        columns.append(TableColumn(key, key, "setting", False, False, is_setting=True))
    return columns


def table_rows(found: Sequence[Neighbours], columns: Sequence[TableColumn]) -> list[TableRow]:
    """A row an experiment over its seeds, each followed by a row a run."""
    return [
        row
        for neighbours in found
        for experiment in neighbours.experiments
        for row in _rows(experiment, columns)
    ]


def as_data(columns: Sequence[TableColumn], rows: Sequence[TableRow]) -> dict[str, Any]:
    """What the page's script reads: lists in the order of the columns."""
    return {
        "columns": [
            [column.key, column.heading, column.unit, column.is_number, column.is_shown, column.is_setting]
            for column in columns
        ],
        "rows": [
            [row.kind, row.anchor, plain(row.status), [plain(cell) for cell in row.cells], list(row.numbers)]
            for row in rows
        ],
    }


def _recorded(found: Sequence[Neighbours], known: Columns) -> list[str]:
    """The records' columns that some run has a value in, as tables order them, then the others."""
    runs = [run for each in found for run in each.runs]
    usual = [name for name in default_columns(known) if name in known]
    others = [column.name for column in known if column.name not in usual]
    return [name for name in (*usual, *others) if any(_has_value(run, name) for run in runs)]


def _has_value(run: Run, name: str) -> bool:
    value = run.summary.get(name)
    return isinstance(value, bool) or is_number(value)


def _rows(experiment: Experiment, columns: Sequence[TableColumn]) -> Iterator[TableRow]:
    row = experiment.row
    cells = [_cell(experiment, row, column) for column in columns]
    yield TableRow("experiment", experiment.key, row.text("status"), *_columns(cells))
    for run in row.runs:
        (alone,) = rows_over_seeds([run])
        told = [_cell(experiment, alone, column) for column in columns]
        named = {"seeds": (run.seed, None), REASON: (run.problem, None)}
        told = [named.get(column.key, cell) for column, cell in zip(columns, told, strict=True)]
        yield TableRow("run", experiment.key, run.status, *_columns(told))


def _columns(cells: Sequence[tuple[str, float | None]]) -> tuple[tuple[str, ...], tuple[float | None, ...]]:
    return tuple(text for text, _ in cells), tuple(number for _, number in cells)


def _cell(experiment: Experiment, row: Row, column: TableColumn) -> tuple[str, float | None]:
    """What is read, and what is sorted by."""
    key = column.key
    if key == EXPERIMENT:
        return experiment.label, None
    if key == TASK:
        return experiment.task.replace("_", " "), None
    if key == REASON:
        return "; ".join(dict.fromkeys(run.problem for run in row.runs if run.problem)), None
    if key == SCORE:
        score = experiment.score
        return (row.text(score.name), as_json(row.number(score.name))) if score else ("", None)
    if key == MEASURE:
        return experiment.score.name if experiment.score else "", None
    if column.is_setting:
        return experiment.settings.get(key, ""), None
    number = row.number(key) if key in row.columns and row.columns[key].is_number else None
    return row.text(key), len(row.counted) if key == "seeds" else as_json(number)
