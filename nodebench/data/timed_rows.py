"""Tables of rows that belong to an id and a time: `id,time` for events, `id,time,x1,x2` for series."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nodebench.data.errors import DataError
from nodebench.data.tables import FINITE, Line, as_number, bad_cell, read_csv

_END = 3.4e38  # of what FINITE says


class TimedRows(NamedTuple):
    """The rows of one id in the order of time: times (n,), increasing in float32 too; values (n, dim).

    values is NaN where a cell is empty; both are float32. name says in messages which id it is.
    """

    name: str
    times: np.ndarray
    values: np.ndarray


def read_timed_rows(file: Path, time_scale: float = 1.0) -> tuple[list[str], list[TimedRows]]:
    """The names of a .csv file's columns after id and time, and its rows by id, their times divided by time_scale.

    Raises DataError, with row and column, for a header that does not begin with id and time, cells that are no finite
    numbers, ids whose rows are apart and times that do not increase within an id.
    """
    lines = read_csv(file)
    if not lines:
        raise DataError(f"{file} is empty; needed: the header id,time,... and one row for each id and time")
    names = _names(file, lines[0].cells)
    rows_of = [_of_one_id(file, list(lines), time_scale) for lines in _by_id(file, lines[1:])]
    if not rows_of:
        raise DataError(f"{file} has a header and no rows; needed: one row for each id and time")
    return names, rows_of


def scaled_times(file: Path, times: np.ndarray, where: Sequence[str], time_scale: float) -> np.ndarray:
    """times (n,) over time_scale, in float32. Raises DataError unless they increase, rounded too.

    where: the words for the place of each of them in the file.
    """
    late = np.flatnonzero(np.diff(times) <= 0)
    if len(late):
        before, after = times[late[0]], times[late[0] + 1]
        raise DataError(
            f"{file}: {where[late[0] + 1]} is {after:.10g}, which is not after {before:.10g}, the time before it; "
            "allowed: times that increase within a series"
        )
    with np.errstate(over="ignore"):
        scaled = (times / time_scale).astype(np.float32)
    if not np.isfinite(scaled).all():
        raise DataError(
            f"{file} has times over 3.4e38 when divided by data.time_scale={time_scale:g}; raise it"
        )
    alike = np.flatnonzero(np.diff(scaled) == 0)
    if len(alike):
        before, after = times[alike[0]], times[alike[0] + 1]
        raise DataError(
            f"{file}: {where[alike[0] + 1]} is {after:.16g} after {before:.16g}, and they are one number in float32, "
            "in which nets compute; count times from the first one of the file"
        )
    return scaled


def _names(file: Path, header: Sequence[str]) -> list[str]:
    names = [name.strip() for name in header]
    if [name.lower() for name in names[:2]] != ["id", "time"]:
        raise DataError(
            f"{file}: its first row is {','.join(names)[:80]}; needed: a header whose first two columns are id and "
            "time, such as id,time,x1,x2 (of pandas, write with index=False)"
        )
    for column, name in enumerate(names):
        if not name or name in names[:column]:
            raise bad_cell(file, 1, column + 1, repr(name), "a name for each column, and each name once")
    return names[2:]


def _by_id(file: Path, lines: Sequence[Line]) -> Iterator[list[Line]]:
    ended: dict[str, int] = {}
    for name, group in groupby(lines, key=lambda line: line.cells[0].strip()):
        rows = list(group)
        if not name:
            raise bad_cell(file, rows[0].row, 1, "empty", "an id in every row")
        if name in ended:
            raise bad_cell(
                file,
                rows[0].row,
                1,
                f"{name!r} again, whose rows ended with row {ended[name]}",
                "the rows of an id together; sort the file by id and time",
            )
        ended[name] = rows[-1].row
        yield rows


def _of_one_id(file: Path, lines: Sequence[Line], time_scale: float) -> TimedRows:
    times = np.array([_time(file, line) for line in lines])
    where = [f"row {line.row}, column 2 (counting from 1)" for line in lines]
    values = [[_value(file, line, column) for column in range(2, len(line.cells))] for line in lines]
    return TimedRows(
        f"id {lines[0].cells[0].strip()!r}",
        scaled_times(file, times, where, time_scale),
        np.array(values, dtype=np.float32),
    )


def _time(file: Path, line: Line) -> float:
    number = as_number(line.cells[1])
    if number is None or not abs(number) < _END:
        raise bad_cell(file, line.row, 2, repr(line.cells[1]), f"times that are {FINITE}")
    return number


def _value(file: Path, line: Line, column: int) -> float:
    cell = line.cells[column]
    if not cell.strip():
        return np.nan
    number = as_number(cell)
    if number is None or not abs(number) < _END:
        raise bad_cell(
            file, line.row, column + 1, repr(cell), f"{FINITE}, or an empty cell where nothing was observed"
        )
    return number
