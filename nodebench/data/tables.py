"""Tables in a user's files: comma-separated text, and what is wrong in it by file, row and column."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from nodebench.counted import counted
from nodebench.data.errors import DataError

FINITE = "finite numbers below 3.4e38"


class Line(NamedTuple):
    """One row: the line of the file that it is on (or ends on), counting from 1, and its cells."""

    row: int
    cells: Sequence[str]


def file_at(path: str, *endings: str) -> Path:
    """The file that `data.path` names, its ending one of those. Raises DataError."""
    allowed = " or ".join(endings)
    if not isinstance(path, str):
        raise DataError(f"`data.path` is {path!r}; allowed: the path of a {allowed} file")
    file = Path(path).expanduser()
    if file.suffix.lower() not in endings:
        raise DataError(f"`data.path` is {path}; allowed: files that end in {allowed}")
    if not file.is_file():
        raise DataError(f"{path} is no file; give an existing one as `data.path`")
    return file


def read_csv(file: Path) -> list[Line]:
    """The rows of a file, the header among them, as many cells in each; blank lines are left out. Raises DataError."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream)
            lines = [Line(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} cannot be read as comma-separated text: {error}") from error
    width = len(lines[0].cells) if lines else 0
    if width == 1 and any(mark in lines[0].cells[0] for mark in ";\t"):
        raise DataError(f"{file} is separated by semicolons or tabs; allowed: columns separated by commas")
    for row, cells in lines:
        if len(cells) != width:
            raise DataError(
                f"{file}: row {row} (counting from 1) has {counted(len(cells), 'column')}, but the first row has "
                f"{width}; allowed: as many columns in every row, separated by commas"
            )
    return lines


def as_number(cell: str) -> float | None:
    """What a cell says as a number, NaN and infinities among them; None for text."""
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def bad_cell(file: Path, row: int, column: int, found: str, allowed: str) -> DataError:
    """The error that a cell is; row and column count from 1."""
    return DataError(f"{file}: row {row}, column {column} (counting from 1) is {found}; allowed: {allowed}")
