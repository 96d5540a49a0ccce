"""A table before it is written: its columns, its lines, what limits them, and the numbers for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


class NothingToTabulateError(ValueError):
    """None of the runs belongs to the table; the message says how to make one that does."""


@dataclass(frozen=True)
class Column:
    """A heading, which a terminal breaks where it holds a line break, and the side that its cells keep to.

    `unit` is said below the table, of as many columns as have it once. Where a terminal has no room for all, columns of
    the highest `rank` go first, of one rank those at the right.
    """

    heading: str
    is_number: bool = True
    unit: str = ""
    rank: int = 0


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
        units = ", ".join(dict.fromkeys(column.unit for column in self.columns if column.unit))
        told = [f"Units: {units}."] if units else []
        return [*told, *self.legend, *(f"[{number}] {note}" for note, number in self.numbered_notes.items())]

    @property
    def marked_cells(self) -> list[list[str]]:
        """The cells of every line, with the numbers of its notes in the first."""
        notes = self.numbered_notes
        cells = [list(line.cells) for line in self.lines]
        for line, shown in zip(self.lines, cells, strict=True):
            if line.notes:
                numbers = sorted(notes[note] for note in line.notes)
                shown[0] += f" [{','.join(str(number) for number in numbers)}]"
        return cells

    def select(self, numbers: Iterable[int]) -> Table:
        """The table with these of its columns, of what people read."""
        kept = list(numbers)
        lines = [replace(line, cells=[line.cells[number] for number in kept]) for line in self.lines]
        return replace(self, columns=[self.columns[number] for number in kept], lines=lines)

    def with_words(self, quote: Callable[[str], str]) -> Table:
        """The table with `quote` of every heading, cell and sentence that people read."""
        columns = [replace(c, heading=quote(c.heading), unit=quote(c.unit)) for c in self.columns]
        lines = [Line([quote(cell) for cell in line.cells], [*map(quote, line.notes)]) for line in self.lines]
        return Table(columns, lines, self.data, [quote(sentence) for sentence in self.legend])
