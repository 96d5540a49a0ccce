"""evaluations.jsonl: a trained net on the test set again, with its own solver or others, one record an evaluation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nodebench.records.jsonl import read_records
from nodebench.records.storage import append_durably

FILE = "evaluations.jsonl"


def append(folder: Path, record: Mapping[str, Any]) -> None:
    """Append one line; a last line that was cut off stays, as a line of its own. Raises RunFolderError."""
    path = folder / FILE
    append_durably(path, f"{_end_of_line(path)}{json.dumps(record, allow_nan=False)}\n".encode())


def read(folder: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """See jsonl.read_records."""
    return read_records(folder / FILE)


def _end_of_line(path: Path) -> str:
    """What ends a last line that a kill has cut off, so that the next record is not lost with it."""
    try:
        content = path.read_bytes()
    except OSError:
        return ""  # not there; if it cannot be read, appending says so
    return "\n" if content and not content.endswith(b"\n") else ""
