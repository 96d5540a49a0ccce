"""Result tables from runs, as terminal text, Markdown, LaTeX or CSV."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence

import pandas as pd
from tabulate import tabulate

from nodebench.reporting.columns import BOOKKEEPING, DEFAULT_COLUMNS, IDENTITY, LEGEND, METRICS
from nodebench.reporting.rows import Row, interval95, rows_over_seeds
from nodebench.reporting.runs import Run


class UnknownColumnError(ValueError):
    """A column that no table has."""


def result_table(runs: Sequence[Run], columns: Sequence[str] | None = None, style: str = "terminal") -> str:
    """The table of `runs`, one row for all seeds of an experiment, and the notes below it.

    `columns` are names from columns.py or dotted keys of config.yaml (`training.epochs`); None: those of
    DEFAULT_COLUMNS that are not empty in every row. Where two rows
    would look alike, a column with the runs' hash tells them apart. `style` is a key of STYLES. In CSV,
    numbers are unrounded, intervals have a column of their own and notes are the last column.

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
    return STYLES[style](rows, columns)


def with_values(runs: Sequence[Run], columns: Sequence[str]) -> list[str]:
    """Those of `columns` that are not empty in every row, and those that every run has by its nature."""
    rows = rows_over_seeds(list(runs))
    always = (*BOOKKEEPING, "model", "data")
    return [column for column in columns if column in always or any(row.text(column) for row in rows)]


def _check_columns(runs: Sequence[Run], columns: Sequence[str]) -> None:
    known = [*IDENTITY, *BOOKKEEPING, *METRICS]
    settings = sorted({key for run in runs for key in _dotted_keys(run.config)})
    for column in columns:
        if column not in known and column not in settings:
            nearest = difflib.get_close_matches(column, [*known, *settings], n=1, cutoff=0.0)
            raise UnknownColumnError(
                f"no column is called `{column}`; the nearest is `{nearest[0]}`. "
                f"Columns: {', '.join(known)}, or a key of the runs' config.yaml such as training.epochs"
            )


def _dotted_keys(config: dict) -> Iterator[str]:
    for name, node in config.items():
        if isinstance(node, dict):
            yield from (f"{name}.{key}" for key in _dotted_keys(node))
        else:
            yield str(name)


def _numbered_notes(rows: Sequence[Row]) -> dict[str, int]:
    notes = dict.fromkeys(note for row in rows for note in row.notes)
    return {note: number for number, note in enumerate(notes, start=1)}


def _grid(rows: Sequence[Row], columns: Sequence[str], table_format: str) -> str:
    notes = _numbered_notes(rows)
    cells = [[row.text(column) for column in columns] for row in rows]
    for row, line in zip(rows, cells, strict=True):
        if row.notes:
            line[0] += f" [{','.join(str(notes[note]) for note in row.notes)}]"
    is_number = [column in METRICS or column == "seeds" for column in columns]
    return tabulate(
        cells,
        headers=list(columns),
        tablefmt=table_format,
        disable_numparse=True,
        colalign=["right" if right else "left" for right in is_number],
    )


def _note_lines(rows: Sequence[Row]) -> list[str]:
    return [LEGEND, *(f"[{number}] {note}" for note, number in _numbered_notes(rows).items())]


def _terminal(rows: Sequence[Row], columns: Sequence[str]) -> str:
    return "\n".join([_grid(rows, columns, "simple"), "", *_note_lines(rows)])


def _markdown(rows: Sequence[Row], columns: Sequence[str]) -> str:
    return "\n".join([_grid(rows, columns, "pipe"), "", "\\\n".join(_note_lines(rows))])


def _latex(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """A booktabs tabular, the notes in small print below; needs `\\usepackage{booktabs}`."""
    escaped = str.maketrans({character: f"\\{character}" for character in "_%&#${}"})
    notes = [note.translate(escaped) for note in _note_lines(rows)]
    return "\n".join(
        [_grid(rows, columns, "latex_booktabs"), "", *(rf"{{\footnotesize {note}\par}}" for note in notes)]
    )


def _csv(rows: Sequence[Row], columns: Sequence[str]) -> str:
    table: dict[str, list] = {}
    for column in columns:
        if column in METRICS and column != "recon_ok":
            table[column] = [row.number(column) for row in rows]
            if METRICS[column].has_interval:
                table[f"{column}_interval"] = [interval95(row.values(column)) for row in rows]
        else:
            table[column] = [row.text(column) for row in rows]
    table["notes"] = ["; ".join(row.notes) for row in rows]
    return pd.DataFrame(table).to_csv(index=False).rstrip("\n")


STYLES: dict[str, Callable[[Sequence[Row], Sequence[str]], str]] = {
    "terminal": _terminal,
    "markdown": _markdown,
    "latex": _latex,
    "csv": _csv,
}
