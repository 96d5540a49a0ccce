"""A density known by a user's own points, from a .npy or .csv file of N rows and D columns.

Nothing is standardised, so that likelihoods are those of the points as they are in the file. Which points are held
out follows one fixed permutation, whatever the run's seed.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nodebench.data.densities import DensityData, check_draw
from nodebench.data.errors import DataError

SPLIT_SEED = 0


def points(path: str, val_share: float = 0.1, test_share: float = 0.1, batch_size: int = 512) -> DensityData:
    """The points in the file at `path`, a share of them held out for validation and another for the test.

    "train" draws with replacement from the rest; "val" and "test" are the first n points of their part, all of
    them if there are fewer. Raises DataError, naming the file and, where there is one, the row and column.
    """
    values = read_points(path)
    parts = _split(values, val_share, test_share, str(path))

    def draw(split: str, n: int, generator: torch.Generator) -> Tensor:
        check_draw(split, n)
        if split == "train":
            return parts[split][torch.randint(len(parts[split]), (n,), generator=generator)]
        return parts[split][:n].clone()

    # Points that are all zero have no extent; any window shows them.
    window = 1.1 * float(values.abs().max()) or 1.0
    return DensityData("points", values.shape[1], batch_size, window, draw)


def read_points(path: str) -> Tensor:
    """The points of a .npy or .csv file, float32 (N, D), in its order. Raises DataError."""
    if not isinstance(path, str):
        raise DataError(f"`data.path` is {path!r}; allowed: the path of a .npy or .csv file")
    file = Path(path).expanduser()
    readers = {".npy": _read_npy, ".csv": _read_csv}
    if file.suffix.lower() not in readers:
        raise DataError(f"`data.path` is {path}; allowed: files that end in .npy or .csv")
    if not file.is_file():
        raise DataError(f"{path} is no file; give an existing one as `data.path`")
    array, rows = readers[file.suffix.lower()](file)
    if array.size == 0:
        raise DataError(f"{path} is empty; allowed: one point a row, one coordinate a column")
    with np.errstate(over="ignore"):
        values = array.astype(np.float32)
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, column = bad[0]
        raise _bad_cell(file, rows[row], column + 1, str(array[row, column]), "finite numbers below 3.4e38")
    return torch.from_numpy(values)


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
            f"{path} has {len(values)} points; {num_val} for validation and {num_test} for the test leave none "
            "to train on; give more points, or lower `data.val_share` or `data.test_share`"
        )
    order = torch.randperm(len(values), generator=torch.Generator().manual_seed(SPLIT_SEED))
    train, val, test = values[order].split([num_train, num_val, num_test])
    return {"train": train, "val": val, "test": test}


def _read_npy(file: Path) -> tuple[np.ndarray, Sequence[int]]:
    """The array, and the number of each of its rows, counting from 1."""
    try:
        with file.open("rb") as stream:
            array = np.load(stream, allow_pickle=False)
    except Exception as error:
        # numpy meets a damaged header with ValueError, SyntaxError, TokenError, BadZipFile and others.
        raise DataError(f"{file} cannot be read as an array of numbers: {error}") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu" or array.ndim != 2:
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "an archive of arrays"
        raise DataError(f"{file} holds {found}; allowed: floats or integers of shape (N, D), one point a row")
    return array, range(1, len(array) + 1)


def _read_csv(file: Path) -> tuple[np.ndarray, Sequence[int]]:
    """The numbers, float64 (N, D), and the line of the file that each row is on, counting from 1.

    A first line without a single number is a header; blank lines are left out.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream)
            lines = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} cannot be read as comma-separated text: {error}") from error
    width = len(lines[0][1]) if lines else 0
    if width == 1 and any(mark in lines[0][1][0] for mark in ";\t"):
        raise DataError(f"{file} is separated by semicolons or tabs; allowed: columns separated by commas")
    if lines and all(_number(cell) is None for cell in lines[0][1]):
        del lines[0]
    values = np.empty((len(lines), width))
    for index, (row, cells) in enumerate(lines):
        if len(cells) != width:
            raise DataError(
                f"{file}: row {row} (counting from 1) has {len(cells)} columns, but the first row has {width}; "
                "allowed: as many columns in every row, separated by commas"
            )
        for column, cell in enumerate(cells):
            number = _number(cell)
            if number is None:
                raise _bad_cell(file, row, column + 1, repr(cell), "numbers, separated by commas")
            values[index, column] = number
    return values, [row for row, _ in lines]


def _number(cell: str) -> float | None:
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def _bad_cell(file: Path, row: int, column: int, found: str, allowed: str) -> DataError:
    return DataError(f"{file}: row {row}, column {column} (counting from 1) is {found}; allowed: {allowed}")
