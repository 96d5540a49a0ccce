"""One table, written four ways: terminal text, Markdown, LaTeX and CSV."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pandas as pd
from tabulate import tabulate

_LATEX = str.maketrans(
    {
        **{character: f"\\{character}" for character in "_%&#${}"},
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
    }
)


@dataclass(frozen=True)
class Column:
    """A heading, which a terminal breaks where it holds a line break, and the side that its cells keep to."""

    heading: str
    is_number: bool = True


@dataclass(frozen=True)
class Line:
    """The cells as people read them, and the sentences on what limits them; the first cell gets their numbers."""

    cells: Sequence[str]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Table:
    """What people read (`columns`, `lines`, `legend` below) and what programs read.

    `data` has a row for every line, with unrounded numbers; CSV adds the notes as its last column.
    """

    columns: Sequence[Column]
    lines: Sequence[Line]
    data: pd.DataFrame
    legend: Sequence[str] = field(default=())

    @property
    def numbered_notes(self) -> dict[str, int]:
        notes = dict.fromkeys(note for line in self.lines for note in line.notes)
        return {note: number for number, note in enumerate(notes, start=1)}

    @property
    def note_lines(self) -> list[str]:
        return [*self.legend, *(f"[{number}] {note}" for note, number in self.numbered_notes.items())]


def render(table: Table, style: str) -> str:
    """The table in one of STYLES, without a line break at its end."""
    return STYLES[style](table)


def _grid(table: Table, table_format: str, line_break: str = " ") -> str:
    notes = table.numbered_notes
    cells = [list(line.cells) for line in table.lines]
    for line, shown in zip(table.lines, cells, strict=True):
        if line.notes:
            shown[0] += f" [{','.join(str(number) for number in sorted(notes[note] for note in line.notes))}]"
    return tabulate(
        cells,
        headers=[column.heading.replace("\n", line_break) for column in table.columns],
        tablefmt=table_format,
        disable_numparse=True,
        colalign=["right" if column.is_number else "left" for column in table.columns],
    )


def _terminal(table: Table) -> str:
    return "\n".join([_grid(table, "simple", line_break="\n"), "", *table.note_lines])


def _markdown(table: Table) -> str:
    return "\n".join([_grid(table, "pipe"), "", "\\\n".join(table.note_lines)])


def _latex(table: Table) -> str:
    """A booktabs tabular, the notes in small print below; needs `\\usepackage{booktabs}`."""
    notes = [note.translate(_LATEX) for note in table.note_lines]
    return "\n".join(
        [_grid(table, "latex_booktabs"), "", *(rf"{{\footnotesize {note}\par}}" for note in notes)]
    )


def _csv(table: Table) -> str:
    notes = ["; ".join(line.notes) for line in table.lines]
    return table.data.assign(notes=notes).to_csv(index=False, lineterminator="\n").rstrip("\n")


STYLES: dict[str, Callable[[Table], str]] = {
    "terminal": _terminal,
    "markdown": _markdown,
    "latex": _latex,
    "csv": _csv,
}
