"""A user's own events, from a .csv file with the columns id and time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from nodebench.data.checks import check_finite_or_null
from nodebench.data.errors import DataError
from nodebench.data.event_sequences import EventSequences, EventSet, padded
from nodebench.data.splits import split_by_shares
from nodebench.data.tables import as_number, bad_cell, file_at, read_csv


class _Event(NamedTuple):
    """A row of the file: the line that it is on, the sequence that it belongs to, and when it was."""

    row: int
    sequence: str
    time: float


def events(
    path: str,
    t_start: float | None = None,
    t_end: float | None = None,
    val_share: float = 0.1,
    test_share: float = 0.1,
    batch_size: int = 32,
) -> EventSequences:
    """The events in the file at `path`, one a row; the rows of one id are a sequence, in whatever order they stand.

    All sequences are watched from t_start to t_end, None for the first and the last event of the file. A share of the
    sequences is held out for validation and another for the test, by one fixed permutation, whatever the run's seed.
    Raises DataError, naming the file and, where there is one, the row and column.
    """
    file = file_at(path, ".csv")
    rows = list(_read(file))
    if not rows:
        raise DataError(f"{file} has no events; needed: the header id,time and one row for each event")
    begin = _window_end("t_start", t_start, min(event.time for event in rows))
    end = _window_end("t_end", t_end, max(event.time for event in rows))
    _check_window(file, rows, begin, end)
    sequences: dict[str, list[float]] = {}
    for event in rows:
        sequences.setdefault(event.sequence, []).append(event.time)
    times = [torch.tensor(sorted(sequence), dtype=torch.float64) for sequence in sequences.values()]
    parts = split_by_shares(len(times), "sequence", val_share, test_share, path)
    train, val, test = (_set_of([times[row] for row in part.tolist()]) for part in parts.values())
    guessed = [f"data.{key}" for key, given in (("t_start", t_start), ("t_end", t_end)) if given is None]
    note = (
        f"the sequences are taken to be watched from t={begin:g} to {end:g}, as far as the file's events reach; give "
        f"{' and '.join(guessed)} if they were watched longer"
    )
    return EventSequences(
        "events", train, val, test, begin, end, batch_size, notes=(note,) if guessed else ()
    )


def _read(file: Path) -> Iterator[_Event]:
    """The events in the order of the file. Raises DataError."""
    lines = read_csv(file)
    if not lines:
        return
    names = [name.strip().lower() for name in lines[0].cells]
    if names != ["id", "time"]:
        raise DataError(
            f"{file}: its first row is {','.join(names)[:80]}; needed: the header id,time (of pandas, write with "
            "index=False)"
        )
    for row, (sequence, time) in lines[1:]:
        if not sequence.strip():
            raise bad_cell(file, row, 1, "empty", "the id of a sequence in every row")
        number = as_number(time)
        if number is None or not math.isfinite(number):
            raise bad_cell(file, row, 2, repr(time), "times that are finite numbers")
        yield _Event(row, sequence.strip(), number)


def _window_end(key: str, given: float | None, otherwise: float) -> float:
    check_finite_or_null(key, given)
    return otherwise if given is None else float(given)


def _check_window(file: Path, rows: list[_Event], begin: float, end: float) -> None:
    """Raises DataError for a window without an extent, and for the first event outside of it."""
    if not begin < end:
        raise DataError(
            f"{file}: sequences would be watched from t={begin:g} to {end:g}; give data.t_start and, above it, "
            "data.t_end"
        )
    for event in rows:
        if not begin <= event.time <= end:
            raise bad_cell(
                file,
                event.row,
                2,
                f"{event.time:g}",
                f"times from data.t_start={begin:g} to data.t_end={end:g}",
            )


def _set_of(sequences: list[Tensor]) -> EventSet:
    return EventSet(*padded(sequences))
