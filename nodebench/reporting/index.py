"""An index of many runs: what their files say, in one file beside them, so that a table need not read each again.

It is made from the runs and never the truth. A run whose files are not those that the index knows, by size and times,
is read anew; an index that is damaged, of another version or not to be written is as good as none.
docs/decisions/0024 says why it is written where it is, and when.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from nodebench import __version__
from nodebench.reading import read_json
from nodebench.records.storage import RunFolderError, write_atomically
from nodebench.reporting.run_files import Contents, Stamp, read_files, stamps

FOLDER = ".nodebench"
FILE = "index.json"
MANY = 250
"""Runs whose files are read in half a second or so: for fewer the index is neither asked nor written."""
SETTLED_S = 2.0
"""What changed less than so many seconds ago may change again within a tick of the file system's clock."""

_MADE_BY = [__version__, 1]  # the number grows with what is kept, or how it is read


class _Entry(NamedTuple):
    """What is known of one run: the stamps of its files before they were read, and what they said."""

    stamps: list[Stamp | None]
    contents: Contents


def read_runs(root: Path, runs: Sequence[Path]) -> list[Contents]:
    """What the files of each of `runs` say; they lie at or below `root`. The index there is brought up to date.

    It is written where MANY runs had to be read, or are gone: after less it costs more than it saves.
    """
    if len(runs) < MANY:
        return [read_files(run) for run in runs]
    known, num_read = _load(root), 0
    current: dict[str, _Entry] = {}
    for run in runs:
        name, now = run.relative_to(root).as_posix(), stamps(run)
        entry = known.get(name)
        if entry is None or entry.stamps != now:
            entry = _Entry(now, read_files(run))
            num_read += 1
        current[name] = entry
    num_gone = len(known.keys() - current.keys())
    if max(num_read, num_gone) >= MANY:
        _save(root, {name: entry for name, entry in current.items() if _can_be_kept(entry)})
    return [entry.contents for entry in current.values()]


def _can_be_kept(entry: _Entry) -> bool:
    """Whether the files can be read, have rested for a while, and hold nothing that JSON would change."""
    newest = max(time_ns for stamp in entry.stamps if stamp is not None for time_ns in stamp[1:])
    contents = entry.contents
    return (
        not contents.problems
        and newest < time.time_ns() - SETTLED_S * 1e9
        and all(map(_is_plain, (contents.config, contents.summary, contents.environment)))
    )


def _is_plain(value: Any) -> bool:
    """Whether JSON gives the value back as it is; YAML also knows dates, and keys that are no texts."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float)


def _load(root: Path) -> dict[str, _Entry]:
    """What the index in `root` knows, by the run's path below it; nothing where there is none that can be used."""
    try:
        if _is_elsewhere(root):
            return {}
        content = read_json((root / FOLDER / FILE).read_text(encoding="utf-8"))
        if content["made_by"] != _MADE_BY:
            return {}
        environments = [_mapping(environment) for environment in content["environments"]]
        return {
            name: _Entry(
                [None if stamp is None else tuple(stamp) for stamp in kept],
                Contents(_mapping(config), _mapping(summary), environments[number]),
            )
            for name, (kept, config, summary, number) in content["runs"].items()
        }
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return {}


def _mapping(value: Any) -> dict[str, Any] | None:
    if value is not None and not isinstance(value, dict):
        raise TypeError(f"a {type(value).__name__}, not a mapping")
    return value


def _save(root: Path, entries: dict[str, _Entry]) -> None:
    """Write the index; nothing where the folder cannot be written. Equal environments stand in it once."""
    numbers: dict[str, int] = {}
    environments: list[dict[str, Any] | None] = []
    runs = {}
    for name, (kept, contents) in entries.items():
        number = numbers.setdefault(json.dumps(contents.environment), len(numbers))
        if number == len(environments):
            environments.append(contents.environment)
        runs[name] = [kept, contents.config, contents.summary, number]
    text = json.dumps({"made_by": _MADE_BY, "environments": environments, "runs": runs})
    with suppress(OSError, RunFolderError):
        if _is_elsewhere(root):
            return
        folder = root / FOLDER
        folder.mkdir(exist_ok=True)
        write_atomically(folder / ".gitignore", b"*\n")
        write_atomically(folder / FILE, text.encode())


def _is_elsewhere(root: Path) -> bool:
    """Whether somebody made a link of the folder or the file: nothing outside a folder of runs is read or written."""
    return (root / FOLDER).is_symlink() or (root / FOLDER / FILE).is_symlink()
