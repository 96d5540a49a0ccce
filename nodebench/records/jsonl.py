"""JSON as a run writes it: mappings, and files that grow by a record a line."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

from nodebench.reading import read_json
from nodebench.records.storage import write_atomically

LARGEST = 1e100  # of what a run may have measured; its square is still a float, and axes reach that far


def to_json(content: Mapping[str, Any], indent: int | None = None) -> str:
    """Strict JSON: NaN and infinities, which JSON does not know, become null."""
    finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in content.items()}
    return json.dumps(finite, indent=indent, allow_nan=False)


def write_mapping(path: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping as JSON under its final name at once. Raises RunFolderError."""
    write_atomically(path, f"{to_json(content, indent=2)}\n".encode())


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file. Raises OSError if it cannot be read, ValueError if it is no mapping."""
    content = read_json(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"a {type(content).__name__}, not a mapping")
    return content


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
