"""The three files by which a run is known, read as they stand."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nodebench.reading import read_yaml
from nodebench.records.jsonl import read_mapping
from nodebench.records.summary import FILE as SUMMARY

FILES = ("config.yaml", SUMMARY, "environment.json")
Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class Contents:
    """What is in config.yaml, summary.json and environment.json; None where there is no such file, or it is damaged.

    `problems` has a few words for each that cannot be read, and for a config that is missing.
    """

    config: dict[str, Any] | None = None
    summary: dict[str, Any] | None = None
    environment: dict[str, Any] | None = None
    problems: tuple[str, ...] = ()


def read_files(folder: Path) -> Contents:
    """What the three files of a run folder say."""
    found: list[dict[str, Any] | None] = []
    problems = []
    for name in FILES:
        content, problem = read_file(folder / name)
        if content is None and not problem and name == FILES[0]:
            problem = f"{name} is missing"
        problems += [problem] if problem else []
        found.append(content)
    config, summary, environment = found
    return Contents(config, summary, environment, tuple(problems))


def read_file(path: Path) -> tuple[dict[str, Any] | None, str]:
    """What a file says, None where it is not there or damaged; and in a few words why it cannot be read."""
    try:
        return _read_mapping(path), ""
    except FileNotFoundError:
        return None, ""
    except (OSError, ValueError) as error:
        return None, f"{path.name} cannot be read ({str(error).splitlines()[0]})"


def stamps(folder: Path) -> list[Stamp | None]:
    """Size and times of writing of each of the three files, by which a change is known; None for one not there.

    Of the two times, in nanoseconds, the second is the file system's own and cannot be set, as `cp -p` sets the first.
    """
    found: list[Stamp | None] = []
    for name in FILES:
        try:
            status = os.stat(folder / name)
        except OSError:
            found.append(None)
        else:
            found.append((status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    return found


def _read_mapping(path: Path) -> dict[str, Any]:
    if path.suffix == ".json":
        return read_mapping(path)
    content = read_yaml(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"a {type(content).__name__}, not a mapping")
    return content
