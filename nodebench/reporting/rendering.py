"""One table, written four ways: terminal text, Markdown, LaTeX and CSV. What the cells and notes say stays words."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from nodebench.quoting import plain
from nodebench.reporting.layout import Table
from nodebench.reporting.screen import on_screen

if TYPE_CHECKING:
    import pandas as pd

_LATEX = str.maketrans(
    {
        **{character: f"\\{character}" for character in "_%&#${}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\ensuremath{<}",
        ">": r"\ensuremath{>}",
    }
)
_FORMULA = tuple(
    "=+-@\uff1d\uff0b\uff0d\uff20"
)  # begin one in a spreadsheet, in some languages full-width too


def render(table: Table, style: str, width: int | None = None) -> str:
    """The table in one of STYLES, without a line break at its end.

    `width`: of the terminal that shows it, which leaves out what does not fit and says so; None shows everything.
    """
    return on_screen(table, width) if style == SCREEN else FILES[style](table)


def _grid(table: Table, table_format: str) -> str:
    return tabulate(
        table.marked_cells,
        headers=[column.heading for column in table.columns],
        tablefmt=table_format,
        disable_numparse=True,
        colalign=["right" if column.is_number else "left" for column in table.columns],
    )


def _markdown(table: Table) -> str:
    table = table.with_words(_for_markdown)
    return "\n".join([_grid(table, "pipe"), "", "\\\n".join(table.note_lines)])


def _for_markdown(text: str) -> str:
    """No new cell, no HTML, no link and no picture."""
    return plain(text).replace("|", "&#124;").replace("<", "&lt;").replace("](", r"]\(")


def _latex(table: Table) -> str:
    """A booktabs tabular, the notes in small print below; needs `\\usepackage{booktabs}`. tabulate quotes the cells."""
    table = table.with_words(plain)
    # A line that begins with one of these would be the end of the line before it, which says how far it is away.
    grid = re.sub(r"^( *)([\[*])", r"\1{\2}", _grid(table, "latex_booktabs"), flags=re.MULTILINE)
    notes = [note.translate(_LATEX) for note in table.note_lines]
    return "\n".join([grid, "", *(rf"{{\footnotesize {note}\par}}" for note in notes)])


def _csv(table: Table) -> str:
    notes = ["; ".join(line.notes) for line in table.lines]
    return csv_text(table.data.assign(notes=notes)).rstrip("\n")


def csv_text(data: pd.DataFrame) -> str:
    """The numbers as CSV; words are words to a spreadsheet too."""
    quoted = data.map(_for_spreadsheets).rename(columns=_for_spreadsheets)
    return str(quoted.to_csv(index=False, lineterminator="\n"))


def _for_spreadsheets(value: Any) -> Any:
    """Words that would begin a formula get an apostrophe in front; numbers, written as words too, stay."""
    if not isinstance(value, str):
        return value
    text = plain(value)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


SCREEN = "terminal"
FILES: dict[str, Callable[[Table], str]] = {
    "markdown": _markdown,
    "latex": _latex,
    "csv": _csv,
}
STYLES = (SCREEN, *FILES)
