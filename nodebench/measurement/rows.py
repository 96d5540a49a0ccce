"""The columns of measure.csv and its lines, one a (library, solver, tol, gradient, batch)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

OWN = "nodebench"
COLUMNS = (
    *("library", "solver", "tol", "gradient", "batch", "nfe_forward", "nfe_backward"),
    *("num_accepted_forward", "num_rejected_forward", "num_accepted_backward", "num_rejected_backward"),
    *("error_endpoint", "error_reference", "recon_error", "time_forward_ms", "time_backward_ms"),
    *("error_gradient", "memory_saved_mib", "tol_adjoint", "norm_adjoint"),
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

_TEXTS = ("library", "solver", "gradient", "norm_adjoint")
Row = Mapping[str, str | float | None]


class Key(NamedTuple):
    """What a line is about."""

    library: str
    solver: str
    tol: float
    gradient: str
    batch: int


class DamagedTableError(ValueError):
    """A measure.csv whose lines cannot be told apart into columns."""


class _DamagedLineError(ValueError):
    """A line that is not what `write_row` writes; the message names it."""


def header() -> str:
    """The first line."""
    return f"{','.join(COLUMNS)}\n"


def write_row(row: Row) -> str:
    """A row as a line, numbers to six digits and tol, which rows are found by, to all that it has."""
    return f"{','.join(_text(row.get(name), name == 'tol') for name in COLUMNS)}\n"


def read_rows(text: str) -> tuple[list[Row], str, list[str]]:
    """The rows of a table, its text with whole lines and today's columns alone, and what is wrong with other lines.

    A line at the end that was cut off by a kill is left out without a word; a table without the column `library` is
    nodebench's own. Raises DamagedTableError if the first line is not that of a table.
    """
    whole = _with_library(text[: text.rfind("\n") + 1])
    if whole and not whole.startswith(header()):
        raise DamagedTableError("its first line does not name the columns of a measurement")
    first, *lines = whole.splitlines(keepends=True) or [""]
    rows, kept, problems = [], [first], []
    for number, line in enumerate(lines, start=2):
        try:
            rows.append(_row(line.rstrip("\n"), number))
            kept.append(line)
        except _DamagedLineError as error:
            problems.append(str(error))
    return rows, "".join(kept), problems


def key_of(row: Row) -> Key:
    """What a row is about."""
    return Key(
        *(str(row["library"]), str(row["solver"]), float(row["tol"] or 0)),
        *(str(row["gradient"]), int(row["batch"] or 0)),
    )


def _with_library(whole: str) -> str:
    """A table from before other libraries were measured, with the column that says so."""
    first, *lines = whole.splitlines(keepends=True) or [""]
    if f"library,{first}" != header():
        return whole
    return header() + "".join(f"{OWN},{line}" for line in lines)


def _row(line: str, number: int) -> Row:
    texts = line.split(",")
    if "\ufffd" in line:
        raise _DamagedLineError(f"line {number} is not UTF-8")
    if len(texts) != len(COLUMNS):
        raise _DamagedLineError(f"line {number} has {len(texts)} entries in place of {len(COLUMNS)}")
    row: dict[str, str | float | None] = {}
    for name, text in zip(COLUMNS, texts, strict=True):
        try:
            row[name] = text if name in _TEXTS else float(text) if text else None
        except ValueError as error:
            raise _DamagedLineError(f"line {number} has {name}={text}, which is no number") from error
    missing = [name for name in Key._fields if row[name] in (None, "")]
    if missing:
        raise _DamagedLineError(f"line {number} does not say which {missing[0]} it is about")
    return row


def _text(value: str | float | None, is_exact: bool) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    text = f"{value:.6g}"
    return repr(value) if is_exact and float(text) != value else text
