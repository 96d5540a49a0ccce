"""per_image.csv, a line a tolerance and test image of a trained run, and per_image.json beside it.

It is what `nodebench measure --per-sample` finds: what each image needs where its steps are its own. per_image.json
says what all lines were made with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nodebench.records.jsonl import read_mapping, write_mapping
from nodebench.records.storage import append_durably

FILE = "per_image.csv"
NOTES_FILE = "per_image.json"
NUM_WITH_ERRORS = 10  # batches that have a reference, and with it errors: it takes most of the time


class ImageRow(NamedTuple):
    """What one test image needs at one tolerance; the fields are the columns, in their order.

    image: its number in the test set, from 0. is_right: whether it is classified as its label says, by its own steps.
    nfe, num_accepted, num_rejected: of the solve with a step size of its own. error: L2 distance of y(t1) from the
    float64 reference over the reference's L2 norm. nfe_shared, error_shared: the same where one step size serves the
    batch that the image is in. None is an empty cell: a solve that failed, or an error that was not measured.
    """

    tol: float
    image: int
    label: int
    is_right: bool | None = None
    nfe: int | None = None
    num_accepted: int | None = None
    num_rejected: int | None = None
    error: float | None = None
    nfe_shared: int | None = None
    error_shared: float | None = None


NAMES = ImageRow._fields
_WHOLE = {"image", "label", "is_right", "nfe", "num_accepted", "num_rejected", "nfe_shared"}
_ALWAYS = ("tol", "image", "label")


class DamagedImagesError(ValueError):
    """A line of a per_image.csv is not what is written there; the message names it."""


def append_rows(folder: Path, rows: Sequence[ImageRow]) -> None:
    """Append lines to the run's table, all or none; it begins with its first. Raises RunFolderError."""
    path = folder / FILE
    is_new = not path.exists() or not path.stat().st_size
    text = (f"{header()}\n" if is_new else "") + as_text(rows)
    append_durably(path, text.encode())


def header() -> str:
    """The first line."""
    return ",".join(NAMES)


def as_text(rows: Sequence[ImageRow]) -> str:
    """Rows as lines; errors have three digits."""
    return "".join(f"{','.join(map(_cell, NAMES, row))}\n" for row in rows)


def read_rows(folder: Path) -> list[ImageRow]:
    """The rows of a run's table, which has none where there is no file; half a line at its end is left out.

    Raises OSError if it cannot be read, DamagedImagesError for a line that is none, or comes twice.
    """
    path = folder / FILE
    if not path.exists():
        return []
    whole, _, _ = path.read_bytes().decode("utf-8", errors="replace").rpartition("\n")
    first, *lines = whole.split("\n")
    if whole and first != header():
        raise DamagedImagesError("line 1 does not name its columns")
    rows: dict[tuple[float, int], ImageRow] = {}
    for number, line in enumerate(lines, start=2):
        row = _row(line, number)
        if rows.setdefault((row.tol, row.image), row) is not row:
            raise DamagedImagesError(f"line {number} repeats image {row.image} at tolerance {row.tol:g}")
    return list(rows.values())


def read_notes(folder: Path) -> dict[str, Any]:
    """per_image.json. Raises OSError if it cannot be read, ValueError if it is no mapping."""
    return read_mapping(folder / NOTES_FILE)


def write_notes(folder: Path, notes: Mapping[str, Any]) -> None:
    """Write per_image.json. Raises RunFolderError."""
    write_mapping(folder / NOTES_FILE, notes)


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return ""
    if name in _WHOLE:
        return str(int(value))
    if name == "tol":  # rows are found by it
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return f"{value:.3g}"


def _row(line: str, number: int) -> ImageRow:
    texts = line.split(",")
    if len(texts) != len(NAMES):
        raise DamagedImagesError(f"line {number} has {len(texts)} entries in place of {len(NAMES)}")
    values: dict[str, Any] = {}
    for name, text in zip(NAMES, texts, strict=True):
        try:
            value = None if text == "" else int(text) if name in _WHOLE else float(text)
        except ValueError:
            raise DamagedImagesError(f"line {number} has {name}={text}, which is no number") from None
        if value is None and name in _ALWAYS:
            raise DamagedImagesError(f"line {number} does not say its {name}")
        if value is not None and not (0 <= value < math.inf and (value > 0 or name != "tol")):
            raise DamagedImagesError(f"line {number} has {name}={text}, which is none")
        values[name] = value
    if values["is_right"] is not None:
        values["is_right"] = bool(values["is_right"])
    return ImageRow(**values)
