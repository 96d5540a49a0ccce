"""measure.csv, a line a (library, solver, tol, gradient, batch) of a trained run, and measure.json beside it.

measure.json says what all lines were made with, and how exact the reference is that they are measured against.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nodebench.records.jsonl import read_mapping
from nodebench.records.storage import append_durably, write_atomically

FILE = "measure.csv"
NOTES_FILE = "measure.json"
OWN = "nodebench"
TOLERANCES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
NUM_TIMED = 5  # batches whose times and gradients are measured

Row = Mapping[str, str | float | None]


class Key(NamedTuple):
    """What a line is about."""

    library: str
    solver: str
    tol: float
    gradient: str
    batch: int


class Measured(NamedTuple):
    """A column of measure.csv: its heading and format in the medians that `nodebench measure` ends with, if any."""

    name: str
    heading: str = ""
    format: str = ""
    is_word: bool = False


COLUMNS = (
    *(Measured(name, is_word=name in ("library", "solver", "gradient")) for name in Key._fields),
    Measured("nfe_forward", "NFE f", "g"),
    Measured("nfe_backward", "NFE b", "g"),
    Measured("num_accepted_forward"),
    Measured("num_rejected_forward"),
    Measured("num_accepted_backward"),
    Measured("num_rejected_backward"),
    Measured("error_endpoint", "endpoint error", ".1e"),
    Measured("error_reference"),
    Measured("recon_error", "recon error", ".1e"),
    Measured("time_forward_ms", "forward ms", ".0f"),
    Measured("time_backward_ms", "backward ms", ".0f"),
    Measured("error_gradient", "gradient error", ".1e"),
    Measured("memory_saved_mib", "saved MiB", ".1f"),
    Measured("tol_adjoint"),
    Measured("norm_adjoint", is_word=True),
)
"""In the order of a line; one that is not known is empty, and so are all but the first five of a solve that failed.

library: nodebench, or the one whose solver it is. gradient: direct, checkpointed or adjoint. nfe_backward: of the
backward pass alone; empty where none was taken.
error_endpoint: the largest sample's L2 distance of y(t1) from the float64 reference, over the largest L2 norm of a
reference sample. error_reference: the same between the reference and one a decade tighter, batch 0 alone.
recon_error: ||z - y0|| / ||y0|| after forward and back. error_gradient: relative L2 error of dL/d(y0, theta), theta of
the ODE block, against the float64 reference's. memory_saved_mib: what the ODE block's forward pass keeps for backward.
tol_adjoint, norm_adjoint: of the backward solve (its rtol); empty where there is none.
"""
NAMES = tuple(column.name for column in COLUMNS)
NUMBERS = tuple(column.name for column in COLUMNS if not column.is_word and column.name not in Key._fields)
_WORDS = {column.name for column in COLUMNS if column.is_word}


class DamagedTableError(ValueError):
    """A measure.csv whose lines cannot be told apart into columns; `missing` is one that it does not have, if any."""

    def __init__(self, found: Sequence[str]) -> None:
        super().__init__("its first line does not name the columns of a measurement")
        self.missing = next((name for name in NAMES if name not in (*found, "library")), None)


class Problem(NamedTuple):
    """A line, counted from 1, that is not what `write_row` writes, and why."""

    line: int
    reason: str


class Table(NamedTuple):
    """What a measure.csv holds: `rows` with the numbers of their lines, and what is wrong with other lines.

    `text` is the table with whole lines and today's columns alone. `is_cut_off`: a kill left half a line at its end.
    """

    rows: dict[int, Row]
    problems: list[Problem]
    text: str
    is_cut_off: bool


def header() -> str:
    """The first line."""
    return f"{','.join(NAMES)}\n"


def write_row(row: Row) -> str:
    """A row as a line, numbers to six digits and tol, which rows are found by, to all that it has."""
    return f"{','.join(_text(row.get(name), name == 'tol') for name in NAMES)}\n"


def append_row(folder: Path, row: Row) -> None:
    """Append a line to the run's table, which begins with its first. Raises RunFolderError."""
    path = folder / FILE
    if not path.exists() or not path.stat().st_size:
        append_durably(path, header().encode())
    append_durably(path, write_row(row).encode())


def read_table(text: str) -> Table:
    """The rows of a table. One without the column `library` is nodebench's own.

    Raises DamagedTableError if the first line is not that of a table.
    """
    whole, end, rest = text.rpartition("\n")
    first, *lines = _with_library([line.rstrip("\r") for line in whole.split("\n")])
    if end and first != header().rstrip():
        raise DamagedTableError(first.split(","))
    rows: dict[int, Row] = {}
    problems = []
    for number, line in enumerate(lines, start=2):
        row = _row(line, number) if line else None
        if isinstance(row, Problem):
            problems.append(row)
        elif row is not None:
            rows[number] = row
    kept = [first, *(lines[number - 2] for number in rows)] if end else []
    return Table(rows, problems, "".join(f"{line}\n" for line in kept), bool(rest.strip()))


def key_of(row: Row) -> Key:
    """What a row is about."""
    return Key(
        *(str(row["library"]), str(row["solver"]), float(row["tol"] or 0)),
        *(str(row["gradient"]), int(row["batch"] or 0)),
    )


def read_notes(folder: Path) -> dict[str, Any]:
    """measure.json. Raises OSError if it cannot be read, ValueError if it is no mapping."""
    return read_mapping(folder / NOTES_FILE)


def write_notes(folder: Path, notes: Mapping[str, Any]) -> None:
    """Write measure.json. Raises RunFolderError."""
    write_atomically(folder / NOTES_FILE, f"{json.dumps(notes, indent=2)}\n".encode())


def _with_library(lines: list[str]) -> list[str]:
    """The lines of a table from before other libraries were measured, with the column that says so."""
    if f"library,{lines[0]}\n" != header():
        return lines
    return [f"library,{lines[0]}", *(f"{OWN},{line}" if line else "" for line in lines[1:])]


def _row(line: str, number: int) -> Row | Problem:
    texts = line.split(",")
    if "\ufffd" in line:
        return Problem(number, "is not UTF-8")
    if len(texts) != len(NAMES):
        return Problem(number, f"has {len(texts)} entries in place of {len(NAMES)}")
    row: dict[str, str | float | None] = {}
    for name, text in zip(NAMES, texts, strict=True):
        try:
            row[name] = text if name in _WORDS else float(text) if text else None
        except ValueError:
            return Problem(number, f"has {name}={text}, which is no number")
    missing = [name for name in Key._fields if row[name] in (None, "")]
    if missing:
        return Problem(number, f"does not say which {missing[0]} it is about")
    tol, batch = (float(row[name] or 0) for name in ("tol", "batch"))
    if not 0 < tol < math.inf:
        return Problem(number, f"has tol={tol:g}, which is no tolerance")
    if not (0 <= batch < math.inf and batch.is_integer()):
        return Problem(number, f"has batch={batch:g}, which is no batch")
    return row


def _text(value: str | float | None, is_exact: bool) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    text = f"{value:.6g}"
    return repr(value) if is_exact and float(text) != value else text
