"""Time series in a user's file: a .csv of rows id,time,x1,x2 or an .npz of the arrays values and times."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nodebench.data.errors import DataError
from nodebench.data.tables import FINITE, Line, as_number, bad_cell, read_csv

_END = 3.4e38  # of what FINITE says
_ARRAYS = {
    "values": ("fiu", "numbers of shape (N, T, D), NaN where nothing was observed"),
    "times": ("fiu", "numbers of shape (T,) or (N, T)"),
    "lengths": ("iu", "whole numbers of shape (N,)"),
}


class OneSeries(NamedTuple):
    """A series in the order of time: times (n,), increasing; values (n, dim), NaN where one is missing; both float32.

    name: which of the file's series it is, for messages.
    """

    name: str
    times: np.ndarray
    values: np.ndarray


class SeriesFile(NamedTuple):
    """The series of a file, and a word for each coordinate, for messages."""

    coordinates: Sequence[str]
    series: Sequence[OneSeries]


def read_series(file: Path, time_scale: float) -> SeriesFile:
    """The series of a .csv or .npz file, their times divided by time_scale.

    Raises DataError with row and column, or array and index, for text and numbers that are not finite, times that do
    not increase within a series, and a coordinate that is missing throughout.
    """
    found = (_read_csv if file.suffix.lower() == ".csv" else _read_npz)(file, time_scale)
    for column, words in enumerate(found.coordinates):
        if all(np.isnan(series.values[:, column]).all() for series in found.series):
            raise DataError(f"{file}: {words} has no value in any series; drop it")
    return found


def _read_csv(file: Path, time_scale: float) -> SeriesFile:
    lines = read_csv(file)
    names = [name.strip() for name in lines[0].cells] if lines else []
    if [name.lower() for name in names[:2]] != ["id", "time"] or len(names) < 3:
        found = f"its first row is {','.join(names)[:80]}" if names else "it is empty"
        raise DataError(
            f"{file}: {found}; needed: a header of id, time and a name for each coordinate, such as id,time,x1,x2 (of "
            "pandas, write with index=False)"
        )
    for column, name in enumerate(names):
        if not name or name in names[:column]:
            raise bad_cell(
                file, lines[0].row, column + 1, repr(name), "a name for each column, and each once"
            )
    if not lines[1:]:
        raise DataError(f"{file} has a header and no rows; needed: one row for each id and time")
    coordinates = [f"column {column + 3} (`{name}`)" for column, name in enumerate(names[2:])]
    return SeriesFile(coordinates, [_of_rows(file, rows, time_scale) for rows in _by_id(file, lines[1:])])


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


def _of_rows(file: Path, rows: Sequence[Line], time_scale: float) -> OneSeries:
    times = np.array([_cell(file, row, 1, "times that are") for row in rows])
    values = [
        [
            _cell(file, row, column, "an empty cell where nothing was observed, and")
            for column in range(2, len(row.cells))
        ]
        for row in rows
    ]
    return OneSeries(
        f"id {rows[0].cells[0].strip()!r} (from row {rows[0].row})",
        _scaled(file, times, lambda place: f"row {rows[place].row}, column 2 (counting from 1)", time_scale),
        np.array(values, dtype=np.float32),
    )


def _cell(file: Path, row: Line, column: int, allowed: str) -> float:
    """A number; NaN for an empty cell that holds no time."""
    cell = row.cells[column].strip()
    if not cell and column > 1:
        return np.nan
    number = as_number(cell)
    if number is None or not abs(number) < _END:
        raise bad_cell(file, row.row, column + 1, repr(cell), f"{allowed} {FINITE}")
    return number


def _read_npz(file: Path, time_scale: float) -> SeriesFile:
    arrays = _arrays(file)
    values, times = arrays["values"], arrays["times"]
    num_series, num_times, dim = values.shape
    lengths = arrays.get("lengths", np.full(num_series, num_times))
    is_shared = times.ndim == 1
    found = []
    for index, length in enumerate(lengths.tolist()):
        place = "times[{}]" if is_shared else f"times[{index}, {{}}]"
        own_times = (times if is_shared else times[index])[:length].astype(np.float64)
        if len(bad := np.flatnonzero(~(abs(own_times) < _END))):
            raise DataError(f"{file}: {place.format(bad[0])} is {own_times[bad[0]]}; allowed: {FINITE}")
        own_values = values[index, :length].astype(np.float64)
        if len(cells := np.argwhere(~(abs(own_values) < _END) & ~np.isnan(own_values))):
            row, column = cells[0]
            raise DataError(
                f"{file}: values[{index}, {row}, {column}] is {own_values[row, column]}; allowed: NaN where nothing "
                f"was observed, and {FINITE}"
            )
        scaled = _scaled(file, own_times, place.format, time_scale)
        found.append(OneSeries(f"series {index} (counting from 0)", scaled, own_values.astype(np.float32)))
    return SeriesFile([f"coordinate {column} (counting from 0)" for column in range(dim)], found)


def _arrays(file: Path) -> dict[str, np.ndarray]:
    """values, times and, where it is there, lengths, of shapes that fit. Raises DataError; nothing is unpickled."""
    needed = "an archive with values (N, T, D), times (T,) or (N, T) and, if they differ, lengths (N,)"
    with file.open("rb") as stream:
        try:
            archive = np.load(stream, allow_pickle=False)
        except Exception as error:
            # numpy meets a damaged file with ValueError, BadZipFile, EOFError and others.
            raise DataError(f"{file} cannot be read as {needed}: {error}") from error
        if isinstance(archive, np.ndarray):
            raise DataError(f"{file} holds one array; needed: {needed}")
        unknown = sorted(set(archive.files) - set(_ARRAYS))
        missing = sorted({"values", "times"} - set(archive.files))
        if unknown or missing:
            what = f"array `{unknown[0]}`, which is not known" if unknown else f"no array `{missing[0]}`"
            raise DataError(f"{file} has {what}; needed: {needed}")
        arrays = {name: _array(file, archive, name) for name in archive.files}
    _check_shapes(file, arrays)
    return arrays


def _check_shapes(file: Path, arrays: dict[str, np.ndarray]) -> None:
    shape = arrays["values"].shape
    fitting = {"times": (shape[1:2], shape[:2]), "lengths": (shape[:1],)}
    for name, allowed in fitting.items():
        if name in arrays and arrays[name].shape not in allowed:
            words = " or ".join(map(str, allowed))
            raise DataError(
                f"{file}: `{name}` has shape {arrays[name].shape}; with values of {shape}: {words}"
            )
    lengths = arrays.get("lengths", np.array([], dtype=int))
    if len(bad := np.flatnonzero((lengths < 1) | (lengths > shape[1]))):
        raise DataError(
            f"{file}: lengths[{bad[0]}] is {lengths[bad[0]]}; allowed: from 1 to {shape[1]}, the times that values has"
        )


def _array(file: Path, archive: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    kinds, allowed = _ARRAYS[name]
    try:
        array: np.ndarray = archive[name]
    except Exception as error:
        raise DataError(f"{file}: its array `{name}` cannot be read as {allowed}: {error}") from error
    is_shaped = array.ndim == 3 and array.size > 0 if name == "values" else array.ndim in (1, 2)
    if array.dtype.kind not in kinds or not is_shaped:
        raise DataError(
            f"{file}: its array `{name}` is {array.dtype} of shape {array.shape}; allowed: {allowed}"
        )
    return array


def _scaled(file: Path, times: np.ndarray, place: Callable[[int], str], time_scale: float) -> np.ndarray:
    """times (n,) over time_scale, in float32. Raises DataError unless they increase, rounded too."""
    late = np.flatnonzero(np.diff(times) <= 0)
    if len(late):
        before, after = times[late[0]], times[late[0] + 1]
        raise DataError(
            f"{file}: {place(int(late[0]) + 1)} is {after:.10g}, which is not after {before:.10g}, the time before it; "
            "allowed: times that increase within a series"
        )
    with np.errstate(over="ignore"):
        scaled: np.ndarray = (times / time_scale).astype(np.float32)
    if not np.isfinite(scaled).all():
        raise DataError(
            f"{file} has times over 3.4e38 when divided by data.time_scale={time_scale:g}; raise it"
        )
    alike = np.flatnonzero(np.diff(scaled) == 0)
    if len(alike):
        before, after = times[alike[0]], times[alike[0] + 1]
        raise DataError(
            f"{file}: {place(int(alike[0]) + 1)} is {after:.16g} after {before:.16g}, and float32, in which nets "
            "compute, cannot tell them apart; count times from the first one of the file"
        )
    return scaled
