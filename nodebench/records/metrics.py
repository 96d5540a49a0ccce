"""metrics.jsonl: a record an epoch and one at the end, as training writes them and goes on from them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from nodebench.reading import read_json
from nodebench.records.columns import KIND
from nodebench.records.jsonl import to_json
from nodebench.records.storage import RunFolderError, append_durably, truncate

FILE = "metrics.jsonl"
PLACES = ("epoch", "step")  # where a record stands; of tasks without epochs, the number of the record
FINAL = "final"  # the kind of the record that only a finished run has


class Metrics:
    """The records of the run in `folder`, one JSON object a line; numbers that are not finite are null."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE

    @property
    def length(self) -> int:
        """In bytes, which a checkpoint stores."""
        return self.path.stat().st_size if self.path.exists() else 0

    def append(self, record: Mapping[str, Any]) -> None:
        """Append one line. Raises RunFolderError."""
        append_durably(self.path, f"{to_json(record)}\n".encode())

    def truncate(self, length: int) -> None:
        """Cut to what a checkpoint knows: records after it, whole or half, are written anew. Raises RunFolderError."""
        truncate(self.path, length)

    def read(self, length: int | None = None) -> list[dict[str, Any]]:
        """The records in the first `length` bytes, None: in all; none if there is no file yet.

        Raises RunFolderError if they are damaged.
        """
        if not self.path.exists():
            return []
        try:
            records = [read_json(line) for line in self.path.read_bytes()[:length].decode().splitlines()]
            if not all(isinstance(record, dict) for record in records):
                raise ValueError("a line is no record")
        except ValueError as error:
            raise RunFolderError(
                f"`{self.path}` is damaged ({error}); put it back as it was, or train anew with training.force=true"
            ) from error
        return records

    def has_final(self) -> bool:
        """Whether it has the record that only a finished run writes; damaged lines are passed over."""
        if not self.path.exists():
            return False
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError, AttributeError):
                if read_json(line).get(KIND) == FINAL:
                    return True
        return False
