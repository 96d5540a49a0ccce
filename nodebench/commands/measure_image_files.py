"""per_image.csv of a run, which grows batch by batch, and per_image.json beside it: what it was made with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nodebench.commands.measure_origin import changes
from nodebench.config.errors import ConfigError
from nodebench.measurement.cases import BATCH_SIZE
from nodebench.records import per_image
from nodebench.records.per_image import DamagedImagesError, ImageRow
from nodebench.records.storage import write_atomically


class ImageFiles:
    """The rows that a run folder has, and where further ones go, a whole batch at a time.

    made_with: what all rows of a table must share. Opening takes out a batch that is not whole, which is then measured
    again. Raises ConfigError for a table that was made with something else, or that is damaged: nothing is mixed.
    """

    def __init__(self, folder: Path, made_with: dict[str, Any], git_commit: str | None) -> None:
        self.folder, self.table = folder, folder / per_image.FILE
        self._made_with = json.loads(json.dumps(made_with))
        self._commits = [git_commit]
        self._is_noted = False
        try:
            rows = per_image.read_rows(folder)
        except DamagedImagesError as error:
            raise ConfigError(f"{self.table} is damaged: {error}; {self._again()}") from error
        if rows:
            self._compare()
        self._batches: dict[tuple[float, int], list[ImageRow]] = {}
        for row in rows:
            self._batches.setdefault((row.tol, row.image // BATCH_SIZE), []).append(row)
        self._keep_whole_batches()

    def done(self, tol: float) -> list[int]:
        """The batches that were measured at a tolerance."""
        return [batch for at, batch in self._batches if at == tol]

    def append(self, rows: Sequence[ImageRow]) -> None:
        """The rows of one more batch. What rows are made with is noted before the first."""
        if not self._is_noted:
            per_image.write_notes(self.folder, {"made_with": self._made_with, "git_commits": self._commits})
            self._is_noted = True
        per_image.append_rows(self.folder, rows)

    def _keep_whole_batches(self) -> None:
        """Without batches that lack an image, and without half a line at the end: what a kill leaves."""
        num_images = self._made_with["num_images"]
        self._batches = {
            (tol, batch): rows
            for (tol, batch), rows in self._batches.items()
            if len(rows) == min(BATCH_SIZE, num_images - batch * BATCH_SIZE)
        }
        if self.table.exists():
            kept = [row for rows in self._batches.values() for row in rows]
            text = f"{per_image.header()}\n{per_image.as_text(kept)}".encode() if kept else b""
            if text != self.table.read_bytes():
                write_atomically(self.table, text)

    def _compare(self) -> None:
        notes = self.folder / per_image.NOTES_FILE
        try:
            content = per_image.read_notes(self.folder)
            before, commits = dict(content["made_with"]), list(content["git_commits"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{notes} cannot be read, so what {self.table} was made with is not known; {self._again()}"
            ) from error
        if changed := changes(before, self._made_with):
            raise ConfigError(f"{self.table} was measured with {'; '.join(changed)}; {self._again()}")
        self._commits = commits if commits[-1:] == self._commits else [*commits, *self._commits]

    def _again(self) -> str:
        return f"move {per_image.FILE} and {per_image.NOTES_FILE} away to measure anew"
