"""A table on a terminal: whole where it fits, else narrower, and what is left out is said below it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tabulate import tabulate

from nodebench.quoting import plain
from nodebench.reporting.layout import Table
from nodebench.terminal import wrapped

MAX_CELL = 40  # characters, where the table has to fit


def on_screen(table: Table, width: int | None = None) -> str:
    """The table as terminal text, its legend and notes below; with a `width` in characters, within that.

    Where it is too wide, headings break behind underscores; then columns that say the same in every row, or nothing,
    become a sentence; then those that say least go, and a sentence names them. A single row is written downwards.
    """
    table = _plain(table)
    if width is None or _width(table) <= width:
        return _page(_grid(table), table.note_lines, width)
    if len(table.lines) == 1:
        return upright(table, width)
    table = _broken(table)
    left_out: list[str] = []
    for narrower in (_without_shared, _without_least):
        if _width(table) > width:
            table, sentences = narrower(table, width)
            left_out += sentences
    return _page(_grid(table), [*left_out, *table.note_lines], width)


def upright(table: Table, width: int | None = None) -> str:
    """The first line of the table written downwards, a cell beside its heading, without empty ones; notes below."""
    table = table.with_words(plain)
    cells = table.lines[0].cells
    told = [(column.heading, cell) for column, cell in zip(table.columns, cells, strict=True) if cell]
    return _page(tabulate(told, tablefmt="plain", disable_numparse=True), table.note_lines, width)


def _plain(table: Table) -> Table:
    """Plain words, but for the line breaks of headings."""
    headings = ("\n".join(map(plain, column.heading.split("\n"))) for column in table.columns)
    columns = [replace(column, heading=words) for column, words in zip(table.columns, headings, strict=True)]
    return replace(table.with_words(plain), columns=columns)


def _broken(table: Table) -> Table:
    """Headings break behind underscores, and no cell is longer than MAX_CELL."""
    columns = [replace(column, heading=column.heading.replace("_", "_\n")) for column in table.columns]
    lines = [
        replace(
            line, cells=[cell if len(cell) <= MAX_CELL else f"{cell[: MAX_CELL - 1]}…" for cell in line.cells]
        )
        for line in table.lines
    ]
    return replace(table, columns=columns, lines=lines)


def _without_shared(table: Table, width: int) -> tuple[Table, list[str]]:
    """Without the columns whose cells are all alike, and sentences that say what they say."""
    values = [{line.cells[number] for line in table.lines} for number in range(len(table.columns))]
    kept = [number for number, each in enumerate(values) if len(each) > 1] or [0]
    dropped = [number for number in range(len(values)) if number not in kept]
    empty = [_name(table, number) for number in dropped if values[number] == {""}]
    shared = [f"{_name(table, number)} {min(values[number])}" for number in dropped if values[number] != {""}]
    sentences = [f"The same in every row: {', '.join(shared)}."] if shared else []
    sentences += [f"Empty in every row: {', '.join(empty)}."] if empty else []
    return table.select(kept), sentences


def _without_least(table: Table, width: int) -> tuple[Table, list[str]]:
    """Without as many columns as it takes, those that say least first, and a sentence that names them."""
    by_rank = sorted(range(1, len(table.columns)), key=lambda number: (table.columns[number].rank, number))
    kept = [0, *by_rank]
    while len(kept) > 1 and _width(table.select(sorted(kept))) > width:
        kept.pop()
    dropped = [_name(table, number) for number in range(len(table.columns)) if number not in kept]
    return table.select(sorted(kept)), [
        f"Left out, for want of room: {', '.join(dropped)} (a wider terminal shows all, and so does a pipe)."
    ]


def _name(table: Table, number: int) -> str:
    """The column's heading as one word or words: breaks behind underscores are ours."""
    return table.columns[number].heading.replace("_\n", "_").replace("\n", " ")


def _grid(table: Table) -> str:
    """Columns two spaces apart; headings of several lines stand on the line below them."""
    headings = [column.heading.split("\n") for column in table.columns]
    height = max(map(len, headings))
    cells = table.marked_cells
    columns = [
        [*[""] * (height - len(heading)), *heading, "-" * max(map(len, [*heading, *below])), *below]
        for heading, below in zip(headings, zip(*cells, strict=True), strict=True)
    ]
    return tabulate(
        list(zip(*columns, strict=True)),
        tablefmt="plain",
        disable_numparse=True,
        colalign=["right" if column.is_number else "left" for column in table.columns],
    )


def _width(table: Table) -> int:
    return max(map(len, _grid(table).splitlines()))


def _page(grid: str, notes: Sequence[str], width: int | None) -> str:
    notes = [wrapped(note, width) for note in notes]
    return "\n".join([grid, *([""] if notes else []), *notes])
