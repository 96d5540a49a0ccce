"""measure.csv of a run, which grows row by row, and measure.json beside it, which says what it was made with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nodebench.commands.measure_origin import changes
from nodebench.config.errors import ConfigError
from nodebench.measurement import ReferenceErrors
from nodebench.records import measures
from nodebench.records.measures import DamagedTableError, Key, Row, key_of
from nodebench.records.storage import write_atomically
from nodebench.training.progress import say


class MeasureFiles:
    """The rows that a run folder has, and where further ones go.

    made_with: what all rows of a table must share: checkpoint, settings, machine. libraries: the versions of the other
    libraries that rows are added of, which all rows of that library must share. Opening cuts off a half line at the
    end, and takes damaged lines out, which are then measured again; the table as it was stays beside it. Raises
    ConfigError for a table that was made with something else, or whose columns are not known: nothing is mixed, and
    nothing is lost.
    """

    def __init__(
        self,
        folder: Path,
        made_with: dict[str, Any],
        git_commit: str | None,
        libraries: Mapping[str, str] | None = None,
    ) -> None:
        self.folder, self.table, self.notes = folder, folder / measures.FILE, folder / measures.NOTES_FILE
        self.rows: list[Row] = []
        self.errors: ReferenceErrors | None = None
        self._made_with = json.loads(json.dumps(made_with))
        self._libraries = dict(libraries or {})
        self._commits = [git_commit]
        self._has_begun = False
        if self.table.exists() and self.table.stat().st_size:
            self._take_over()

    @property
    def done(self) -> set[Key]:
        """What the rows are about."""
        return {key_of(row) for row in self.rows}

    def append(self, row: Row, errors: ReferenceErrors | None) -> None:
        """One more row. What rows are made with is noted before the first, the reference's errors once known."""
        if not self._has_begun or errors != self.errors:
            self.errors = errors
            self._write_notes()
            self._has_begun = True
        measures.append_row(self.folder, row)
        self.rows.append(row)

    def _take_over(self) -> None:
        try:
            text = self.table.read_text(encoding="utf-8", errors="replace")
            table = measures.read_table(text)
        except DamagedTableError as error:
            raise ConfigError(f"{self.table} is damaged: {error}; {self._again()}") from error
        self.rows = list(table.rows.values())
        if not table.text:  # killed within the first line
            write_atomically(self.table, b"")
            return
        if self.rows:  # a table without any is no measurement, and nothing is mixed with it
            self._compare()
        if table.problems:
            problems = "; ".join(f"line {number} {reason}" for number, reason in table.problems)
            as_it_was = self.table.with_name(f"{self.table.name}.damaged")
            write_atomically(as_it_was, self.table.read_bytes())
            say(
                f"{self.table} is damaged: {problems}. Such lines are measured again; the table as it was "
                f"is {as_it_was.name}"
            )
        if table.text != text:
            write_atomically(self.table, table.text.encode())

    def _compare(self) -> None:
        try:
            notes = measures.read_notes(self.folder)
            before, commits, errors = notes["made_with"], notes["git_commits"], notes["reference_errors"]
            self.errors = None if errors is None else ReferenceErrors(**errors)
            libraries = dict(notes.get("libraries", {}))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{self.notes} cannot be read, so what {self.table} was made with is not known; {self._again()}"
            ) from error
        changed = changes(before, self._made_with) + [
            f"{name} {libraries[name]} and not {found}"
            for name, found in self._libraries.items()
            if libraries.get(name, found) != found
        ]
        if changed:
            raise ConfigError(f"{self.table} was measured with {'; '.join(changed)}; {self._again()}")
        self._libraries = libraries | self._libraries
        self._commits = commits if commits[-1:] == self._commits else [*commits, *self._commits]

    def _write_notes(self) -> None:
        notes = {
            "made_with": self._made_with,
            "libraries": self._libraries,
            "git_commits": self._commits,  # that added rows, in order
            "reference_errors": None if self.errors is None else asdict(self.errors),
        }
        measures.write_notes(self.folder, notes)

    def _again(self) -> str:
        return f"move {self.table.name} and {self.notes.name} away to measure anew"
