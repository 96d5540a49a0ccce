"""What the files of configs say together, merged without Hydra: for those who ask it of a hundred runs.

Hydra takes a tenth of a second a config, most of it for settings of its own, and a figure or a report of a folder asks
for as many configs as there are experiments in it. Here stands what our files use of Hydra: one file a group, below
the group's name or, by its first line, at the top; an experiment's choices; later files over earlier ones. Nothing is
checked and no reference is resolved. A config that is trained comes from compose.py, which this module agrees with.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from nodebench.config.compose import finish
from nodebench.config.files import GROUPS, PRIMARY, config_folders, flatten, load_once, options
from nodebench.config.keys import Choices

_NO_KEYS = ("defaults", "hydra", "sweep")
_FLOAT = re.compile(
    r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+"
)  # 1e-3 is a number to Hydra, and a text in YAML 1.1
Folders = tuple[Path, ...]


def merge(given: Mapping[str, Any], folders: Folders | None = None) -> dict[str, Any]:
    """The config of choices by group and values by dotted key, as compose gives it.

    `folders` are those of config_folders(), None: the shipped one. Raises KeyError for a choice that is not there.
    """
    folders = folders or config_folders()
    choices = _choices(given, folders)
    values = dict(_below("", folders[0] / f"{PRIMARY}.yaml"))
    for group in GROUPS:
        if (choice := choices[group]) is not None:
            values |= _below(group, _paths(group, folders)[choice])
    values |= {key: value for key, value in given.items() if key not in GROUPS}
    config = _nest({key: value for key, value in values.items() if key.split(".")[0] not in _NO_KEYS})
    finish(config, choices, set(given))
    return config


def sweep_of(experiment: str) -> dict[str, list[Any]]:
    """A shipped experiment's own sweep: lists of values by key."""
    sweep = _content("experiment", experiment, config_folders()).get("sweep") or {}
    return {key: _number(values) for key, values in sweep.items()}


def _choices(given: Mapping[str, Any], folders: Folders) -> Choices:
    """The file of each group: as given, by the experiment, by default, or as task and training preset recommend."""
    choices: Choices = dict.fromkeys(GROUPS)
    for entry in load_once(folders[0] / f"{PRIMARY}.yaml")["defaults"]:
        choices |= {group: entry[group] for group in GROUPS if isinstance(entry, dict) and group in entry}
    experiment = given.get("experiment")
    if experiment is not None:
        for entry in _content("experiment", experiment, folders).get("defaults", ()):
            choices |= {group.removeprefix("override /"): choice for group, choice in entry.items()}
    choices |= {group: given[group] for group in GROUPS if group in given}
    recommended = _content("task", choices["task"], folders)["recommended"]
    choices["training"] = choices["training"] or recommended["training"]
    preset = _content("training", choices["training"], folders).get("training") or {}
    own = (preset.get("recommended") or {}).get("optimizer")
    choices["optimizer"] = choices["optimizer"] or own or recommended["optimizer"]
    return choices


def _content(group: str, choice: str | None, folders: Folders) -> dict[str, Any]:
    return load_once(_paths(group, folders)[str(choice)])


@cache
def _paths(group: str, folders: Folders) -> Mapping[str, Path]:
    return options(group, folders)


def _below(group: str, path: Path) -> Iterator[tuple[str, Any]]:
    """The values of a file with their dotted keys, below the group's name unless they stand at the top."""
    is_global, values = _values(path)
    for key, value in values:
        yield key if is_global else f"{group}.{key}", value


@cache
def _values(path: Path) -> tuple[bool, tuple[tuple[str, Any], ...]]:
    is_global = path.stem == PRIMARY or path.read_text(encoding="utf-8").startswith("# @package _global_")
    return is_global, tuple((key, _number(value)) for key, value in flatten(load_once(path)))


def _number(value: Any) -> Any:
    if isinstance(value, list):
        return [_number(item) for item in value]
    return float(value) if isinstance(value, str) and _FLOAT.fullmatch(value) else value


def _nest(values: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in values.items():
        *parents, last = key.split(".")
        node = nested
        for parent in parents:
            inner = node.get(parent)
            node[parent] = node = inner if isinstance(inner, dict) else {}
        node[last] = value
    return nested
