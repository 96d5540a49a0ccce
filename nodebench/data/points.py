"""A density known by a user's own points, from a .npy or .csv file of N rows and D columns.

Nothing is standardised, so that likelihoods are those of the points as they are in the file; what looks odd about them
is said (`oddities`). Which points are held out follows one fixed permutation, whatever the run's seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nodebench.data.densities import DensityData, check_draw
from nodebench.data.errors import DataError
from nodebench.data.oddities import oddities
from nodebench.data.splits import split_by_shares
from nodebench.data.tables import FINITE, as_number, bad_cell, file_at, read_csv


class _Table(NamedTuple):
    """What a file holds: numbers (N, D), the line that each row is on, counting from 1, and the columns' names."""

    values: np.ndarray
    rows: Sequence[int]
    header: Sequence[str] = ()


def points(path: str, val_share: float = 0.1, test_share: float = 0.1, batch_size: int = 512) -> DensityData:
    """The points in the file at `path`, a share of them held out for validation and another for the test.

    "train" draws with replacement from the rest; "val" and "test" are the first n points of their part, all of
    them if there are fewer. Raises DataError, naming the file and, where there is one, the row and column.
    """
    table = _read(path)
    values = torch.from_numpy(table.values.astype(np.float32))
    split_rows = split_by_shares(len(values), "point", val_share, test_share, path)
    parts = {split: values[rows] for split, rows in split_rows.items()}

    def draw(split: str, n: int, generator: torch.Generator) -> Tensor:
        check_draw(split, n)
        if split == "train":
            return parts[split][torch.randint(len(parts[split]), (n,), generator=generator)]
        return parts[split][:n].clone()

    # Points that are all zero have no extent; any window shows them.
    window = 1.1 * float(values.abs().max()) or 1.0
    notes = oddities(table.values, table.header)
    return DensityData("points", values.shape[1], batch_size, window, draw, notes)


def read_points(path: str) -> Tensor:
    """The points of a .npy or .csv file, float32 (N, D), in its order. Raises DataError."""
    return torch.from_numpy(_read(path).values.astype(np.float32))


def _read(path: str) -> _Table:
    """The content of a .npy or .csv file, every number finite in float32. Raises DataError."""
    file = file_at(path, ".npy", ".csv")
    table = (_read_npy if file.suffix.lower() == ".npy" else _read_csv)(file)
    if table.values.size == 0:
        raise DataError(f"{path} is empty; allowed: one point a row, one coordinate a column")
    with np.errstate(over="ignore"):
        bad = np.argwhere(~np.isfinite(table.values.astype(np.float32)))
    if len(bad):
        row, column = bad[0]
        found = str(table.values[row, column])
        raise bad_cell(file, table.rows[row], column + 1, found, FINITE)
    return table


def _read_npy(file: Path) -> _Table:
    try:
        with file.open("rb") as stream:
            array = np.load(stream, allow_pickle=False)
    except Exception as error:
        # numpy meets a damaged header with ValueError, SyntaxError, TokenError, BadZipFile and others.
        raise DataError(f"{file} cannot be read as an array of numbers: {error}") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu" or array.ndim != 2:
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "an archive of arrays"
        raise DataError(f"{file} holds {found}; allowed: floats or integers of shape (N, D), one point a row")
    return _Table(array, range(1, len(array) + 1))


def _read_csv(file: Path) -> _Table:
    """A header names the columns; it may be left out."""
    lines = read_csv(file)
    header = lines.pop(0).cells if lines and _is_header(lines[0].cells) else ()
    values = np.empty((len(lines), len(lines[0].cells) if lines else 0))
    for index, (row, cells) in enumerate(lines):
        for column, cell in enumerate(cells):
            number = as_number(cell)
            if number is None:
                raise bad_cell(file, row, column + 1, repr(cell), "numbers, separated by commas")
            values[index, column] = number
    return _Table(values, [line.row for line in lines], header)


def _is_header(cells: Sequence[str]) -> bool:
    """Whether a first line names the columns: not one number, beside pandas's own names 0, 1, 2 after its index's."""
    is_named = [as_number(cell) is None for cell in cells]
    if cells[0].strip() == "":
        is_named[1:] = [
            named or cell.strip() == str(number)
            for number, (named, cell) in enumerate(zip(is_named[1:], cells[1:], strict=True))
        ]
    return all(is_named)
