"""Result tables from runs: one row an experiment, and the columns that are asked for."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import pandas as pd

from nodebench.quoting import plain
from nodebench.records import Columns
from nodebench.reporting.alike import grouped
from nodebench.reporting.columns import BOOKKEEPING, IDENTITY, RANKS, columns_of, default_columns
from nodebench.reporting.layout import Column, Line, Table
from nodebench.reporting.rendering import render
from nodebench.reporting.rows import FEW_SEEDS, Row, interval95, not_counted, rows_over_seeds
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

    `columns` are names of the records' columns, of columns.py, or dotted keys of config.yaml (`training.epochs`); None:
    those of default_columns that are not empty in every row. Where two rows would look alike, a column with the runs'
    hash tells them apart. Many runs that are not counted for one reason are one note. `style` is one of
    rendering.STYLES; `width` is the terminal's, None shows all columns. In CSV numbers are unrounded, intervals have a
    column of their own, and notes, one a run, are the last column.

    Raises UnknownColumnError for a column that is neither, with the nearest name.
    """
    known = columns_of(runs)
    rows = rows_over_seeds(list(runs))
    if columns is None:
        columns = _with_values(rows, default_columns(known))
    check_columns(runs, columns, known)
    shown = [column for column in columns if column in IDENTITY]
    alike = len({tuple(row.identity[column] for column in shown) for row in rows}) < len(rows)
    if alike and "hash" not in columns:
        columns = [*shown, "hash", *(column for column in columns if column not in shown)]
    if style != "csv":
        _tell_together(rows)
    return render(_table(rows, columns, known), style, width)


def _tell_together(rows: Sequence[Row]) -> None:
    """One sentence in place of those on runs that are not counted for the same reason, where they are many."""
    runs = [run for row in rows for run in row.runs if not run.is_finished]
    instead: dict[str, str] = {}
    for alike in grouped((run, run.folder, run.status, run.problem) for run in runs):
        if alike.are_many:
            first, reason = alike.members[0], f": {alike.reason}" if alike.reason else ""
            sentence = (
                f"not counted: {len(alike.members):,} runs that are {alike.status}{reason}; the first is "
                f"{first.group}/{first.folder.name}, and --format csv names each"
            )
            instead |= {not_counted(run): sentence for run in alike.members}
    for row in rows:
        row.notes = list(dict.fromkeys(instead.get(note, note) for note in row.notes))


def result_summary(runs: Sequence[Run], columns: Sequence[str], width: int | None = None) -> str:
    """What there is to say of one experiment, in `columns`, written downwards for a terminal of `width` characters."""
    (row,) = rows_over_seeds(list(runs))
    if row.notes[:1] == [FEW_SEEDS]:  # who trains one run knows
        del row.notes[0]
    return upright(_table([row], columns, row.columns), width)


def with_values(runs: Sequence[Run], columns: Sequence[str]) -> list[str]:
    """Those of `columns` that are not empty in every row, and those that every run has by its nature."""
    return _with_values(rows_over_seeds(list(runs)), columns)


def _with_values(rows: Sequence[Row], columns: Sequence[str]) -> list[str]:
    always = (*BOOKKEEPING, "model", "data")
    return [column for column in columns if column in always or any(row.text(column) for row in rows)]


def check_columns(runs: Sequence[Run], columns: Sequence[str], recorded: Columns) -> None:
    """Raises UnknownColumnError, with the nearest name, for what is neither a column nor a key of a run's config."""
    known = [*IDENTITY, *BOOKKEEPING, *(column.name for column in recorded)]
    unknown = [column for column in columns if column not in known]
    settings = sorted({key for run in runs for key, _ in run.settings}) if unknown else []
    for column in unknown:
        if column not in settings:
            nearest = difflib.get_close_matches(column, [*known, *settings], n=1, cutoff=0.0)
            raise UnknownColumnError(
                f"no column is called `{column}`; the nearest is `{nearest[0]}`. "
                f"Columns: {', '.join(known)}, or a key of the runs' config.yaml such as training.epochs"
            )


def _table(rows: Sequence[Row], columns: Sequence[str], known: Columns) -> Table:
    return Table(
        [_column(column, known) for column in columns],
        [
            Line([row.text(column) for column in columns], [*row.notes, *_on_times(row, columns)])
            for row in rows
        ],
        _numbers(rows, columns, known),
        _legend(rows, columns, known),
    )


def _on_times(row: Row, columns: Sequence[str]) -> list[str]:
    """What limits the times among `columns`: other runs on the machine while they were taken."""
    jobs = max((run.jobs for run in row.counted), default=1)
    has_times = any(column.startswith("time_") and row.values(column) for column in columns)
    return [f"times taken while the machine trained {jobs} runs at a time"] if jobs > 1 and has_times else []


def _column(name: str, known: Columns) -> Column:
    if name not in known:
        return Column(plain(name), is_number=name == "seeds", rank=RANKS.get(name, 0))
    return Column(plain(name), unit=known[name].unit, rank=known[name].rank)


def _legend(rows: Sequence[Row], columns: Sequence[str], known: Columns) -> list[str]:
    """What a number is, where it is one of several runs."""
    means = [known[column] for column in columns if column in known and known[column].is_number]
    if not means or all(len(row.counted) < 2 for row in rows):
        return []
    has_interval = any(column.has_interval for column in means)
    interval = ", ± half the 95 % interval (Student's t)" if has_interval else ""
    return [f"Means over the finished seeds{interval}."]


def _numbers(rows: Sequence[Row], columns: Sequence[str], known: Columns) -> pd.DataFrame:
    table: dict[str, list] = {}
    for column in columns:
        if column in known and known[column].is_number:
            table[column] = [row.number(column) for row in rows]
            if known[column].has_interval:
                table[f"{column}_interval"] = [interval95(row.values(column)) for row in rows]
        else:
            table[column] = [row.text(column) for row in rows]
    return pd.DataFrame(table)
