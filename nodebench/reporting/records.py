"""Reads the records that a run appends line by line: metrics.jsonl and evaluations.jsonl."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeGuard

from nodebench.reading import read_json

LARGEST = 1e100  # of what a run may have measured; its square is still a float, and axes reach that far


def read_records(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The readable records of a .jsonl file, and a sentence for every line that is none.

    A last line without its end was cut off while it was written. A file that is not there has no records.
    """
    try:
        text = path.read_bytes().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return [], []
    except OSError as error:
        return [], [f"{path} cannot be read: {error.strerror}"]
    records, problems = [], []
    *lines, rest = text.split("\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = read_json(line)
        except ValueError:
            record = None
        if isinstance(record, dict):
            records.append(record)
        else:
            problems.append(f"{path}: line {number} is not a record and is left out")
    if rest.strip():
        problems.append(f"{path}: the last line is cut off and is left out")
    return records, problems


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether a record's value is a number, finite and at most LARGEST in size."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST
