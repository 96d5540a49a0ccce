"""Result tables from runs: one row an experiment, and the columns that are asked for."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import pandas as pd

from nodebench.quoting import plain
from nodebench.reporting.columns import BOOKKEEPING, DEFAULT_COLUMNS, DISPENSABLE, IDENTITY, METRICS, unit
from nodebench.reporting.layout import Column, Line, Table
from nodebench.reporting.rendering import render
from nodebench.reporting.rows import FEW_SEEDS, Row, interval95, rows_over_seeds
from nodebench.reporting.runs import Run
from nodebench.reporting.screen import upright


class UnknownColumnError(ValueError):
    """A column that no table has."""


def result_table(
    runs: Sequence[Run],
    columns: Sequence[str] | None = None,
    style: str = "terminal",
    width: int | None = None,
) -> str:
    """The table of `runs`, one row for all seeds of an experiment, and the notes below it.

    `columns` are names from columns.py or dotted keys of config.yaml (`training.epochs`); None: those of
    DEFAULT_COLUMNS that are not empty in every row. Where two rows
    would look alike, a column with the runs' hash tells them apart. `style` is one of rendering.STYLES; `width` is the
    terminal's, None shows all columns. In CSV, numbers are unrounded, intervals have a column of their own and notes
    are the last column.

    Raises UnknownColumnError for a column that is neither, with the nearest name.
    """
    if columns is None:
        columns = with_values(runs, DEFAULT_COLUMNS)
    _check_columns(runs, columns)
    rows = rows_over_seeds(list(runs))
    shown = [column for column in columns if column in IDENTITY]
    alike = len({tuple(row.identity[column] for column in shown) for row in rows}) < len(rows)
    if alike and "hash" not in columns:
        columns = [*shown, "hash", *(column for column in columns if column not in shown)]
    return render(_table(rows, columns), style, width)


def result_summary(runs: Sequence[Run], columns: Sequence[str], width: int | None = None) -> str:
    """What there is to say of one experiment, in `columns`, written downwards for a terminal of `width` characters."""
    (row,) = rows_over_seeds(list(runs))
    if row.notes[:1] == [FEW_SEEDS]:  # who trains one run knows
        del row.notes[0]
    return upright(_table([row], columns), width)


def with_values(runs: Sequence[Run], columns: Sequence[str]) -> list[str]:
    """Those of `columns` that are not empty in every row, and those that every run has by its nature."""
    rows = rows_over_seeds(list(runs))
    always = (*BOOKKEEPING, "model", "data")
    return [column for column in columns if column in always or any(row.text(column) for row in rows)]


def _check_columns(runs: Sequence[Run], columns: Sequence[str]) -> None:
    known = [*IDENTITY, *BOOKKEEPING, *METRICS]
    settings = sorted({key for run in runs for key, _ in run.settings})
    for column in columns:
        if column not in known and column not in settings:
            nearest = difflib.get_close_matches(column, [*known, *settings], n=1, cutoff=0.0)
            raise UnknownColumnError(
                f"no column is called `{column}`; the nearest is `{nearest[0]}`. "
                f"Columns: {', '.join(known)}, or a key of the runs' config.yaml such as training.epochs"
            )


def _column(name: str) -> Column:
    rank = 1 + DISPENSABLE.index(name) if name in DISPENSABLE else 0
    return Column(plain(name), name in METRICS or name == "seeds", unit(name), rank)


def _table(rows: Sequence[Row], columns: Sequence[str]) -> Table:
    return Table(
        [_column(column) for column in columns],
        [Line([row.text(column) for column in columns], row.notes) for row in rows],
        _numbers(rows, columns),
        _legend(rows, columns),
    )


def _legend(rows: Sequence[Row], columns: Sequence[str]) -> list[str]:
    """What a number is, where it is one of several runs."""
    metrics = [column for column in columns if column in METRICS and column != "recon_ok"]
    if not metrics or all(len(row.counted) < 2 for row in rows):
        return []
    has_interval = any(METRICS[column].has_interval for column in metrics)
    interval = ", ± half the 95 % interval (Student's t)" if has_interval else ""
    return [f"Means over the finished seeds{interval}."]


def _numbers(rows: Sequence[Row], columns: Sequence[str]) -> pd.DataFrame:
    table: dict[str, list] = {}
    for column in columns:
        if column in METRICS and column != "recon_ok":
            table[column] = [row.number(column) for row in rows]
            if METRICS[column].has_interval:
                table[f"{column}_interval"] = [interval95(row.values(column)) for row in rows]
        else:
            table[column] = [row.text(column) for row in rows]
    return pd.DataFrame(table)
