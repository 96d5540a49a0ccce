"""The page of a race on a terminal, which Markdown tables are too wide for."""

from __future__ import annotations

from pandas import DataFrame

from nodebench.reporting.layout import Column, Line, Table
from nodebench.reporting.screen import on_screen
from nodebench.terminal import wrapped

_SAY_LEAST = ("iqr_ms", "first_ms", "percent")  # ends of the headings that go first where there is no room


def fitted(page: str, width: int | None) -> str:
    """A page of Markdown as a terminal of `width` characters shows it, its tables by what has room; None: as it is."""
    if width is None:
        return page
    return "\n\n".join(_paragraph(text, width) for text in page.strip().split("\n\n")) + "\n"


def _paragraph(text: str, width: int) -> str:
    if not text.startswith("|"):
        return "\n".join(wrapped(line, width) for line in text.splitlines())
    headings, rule, *lines = ([cell.strip() for cell in line[1:-1].split("|")] for line in text.splitlines())
    columns = [
        Column(heading, is_number=dashes.endswith(":"), rank=int(heading.endswith(_SAY_LEAST)))
        for heading, dashes in zip(headings, rule, strict=True)
    ]
    return on_screen(Table(columns, [Line(cells) for cells in lines], DataFrame()), width)
