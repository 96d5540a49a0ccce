"""A density known by a user's own points, from a .npy or .csv file of N rows and D columns.

Nothing is standardised, so that likelihoods are those of the points as they are in the file; what looks odd about them
is said (`oddities`). Which points are held out follows one fixed permutation, whatever the run's seed.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nodebench.counted import counted
from nodebench.data.densities import DensityData, check_draw
from nodebench.data.errors import DataError
from nodebench.data.oddities import oddities

SPLIT_SEED = 0


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
    parts = _split(values, val_share, test_share, str(path))

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
    if not isinstance(path, str):
        raise DataError(f"`data.path` is {path!r}; allowed: the path of a .npy or .csv file")
    file = Path(path).expanduser()
    readers = {".npy": _read_npy, ".csv": _read_csv}
    if file.suffix.lower() not in readers:
        raise DataError(f"`data.path` is {path}; allowed: files that end in .npy or .csv")
    if not file.is_file():
        raise DataError(f"{path} is no file; give an existing one as `data.path`")
    table = readers[file.suffix.lower()](file)
    if table.values.size == 0:
        raise DataError(f"{path} is empty; allowed: one point a row, one coordinate a column")
    with np.errstate(over="ignore"):
        bad = np.argwhere(~np.isfinite(table.values.astype(np.float32)))
    if len(bad):
        row, column = bad[0]
        found = str(table.values[row, column])
        raise _bad_cell(file, table.rows[row], column + 1, found, "finite numbers below 3.4e38")
    return table


def _split(values: Tensor, val_share: float, test_share: float, path: str) -> dict[str, Tensor]:
    """Disjoint parts of the rows, at least one row each."""
    shares = {"val": val_share, "test": test_share}
    for key, share in shares.items():
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
            raise DataError(f"`data.{key}_share` is {share!r}; allowed: numbers above 0 and below 1")
    num_val, num_test = (max(1, round(share * len(values))) for share in shares.values())
    num_train = len(values) - num_val - num_test
    if num_train < 1:
        raise DataError(
            f"{path} has {counted(len(values), 'point')}; {num_val} for validation and {num_test} for the test leave "
            "none to train on; give more points, or lower `data.val_share` or `data.test_share`"
        )
    order = torch.randperm(len(values), generator=torch.Generator().manual_seed(SPLIT_SEED))
    train, val, test = values[order].split([num_train, num_val, num_test])
    return {"train": train, "val": val, "test": test}


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
    """Blank lines are left out; a header names the columns."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream)
            lines = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} cannot be read as comma-separated text: {error}") from error
    width = len(lines[0][1]) if lines else 0
    if width == 1 and any(mark in lines[0][1][0] for mark in ";\t"):
        raise DataError(f"{file} is separated by semicolons or tabs; allowed: columns separated by commas")
    header = lines.pop(0)[1] if lines and _is_header(lines[0][1]) else ()
    values = np.empty((len(lines), width))
    for index, (row, cells) in enumerate(lines):
        if len(cells) != width:
            raise DataError(
                f"{file}: row {row} (counting from 1) has {counted(len(cells), 'column')}, but the first row has "
                f"{width}; allowed: as many columns in every row, separated by commas"
            )
        for column, cell in enumerate(cells):
            number = _number(cell)
            if number is None:
                raise _bad_cell(file, row, column + 1, repr(cell), "numbers, separated by commas")
            values[index, column] = number
    return _Table(values, [row for row, _ in lines], header)


def _is_header(cells: Sequence[str]) -> bool:
    """Whether a first line names the columns: not one number, beside pandas's own names 0, 1, 2 after its index's."""
    is_named = [_number(cell) is None for cell in cells]
    if cells[0].strip() == "":
        is_named[1:] = [
            named or cell.strip() == str(number)
            for number, (named, cell) in enumerate(zip(is_named[1:], cells[1:], strict=True))
        ]
    return all(is_named)


def _number(cell: str) -> float | None:
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def _bad_cell(file: Path, row: int, column: int, found: str, allowed: str) -> DataError:
    return DataError(f"{file}: row {row}, column {column} (counting from 1) is {found}; allowed: {allowed}")
