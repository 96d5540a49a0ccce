"""The command line that makes a run again, found from the config that the run kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nodebench.config.errors import ConfigError
from nodebench.config.files import NODES, config_folders, flatten, load_once, options
from nodebench.config.identity import BUDGET_KEYS, hash8, what_makes_the_numbers
from nodebench.config.launch import override_text
from nodebench.config.merged import merge

_FREE = ("task", "data", "model", "solver")  # which recommend training presets, and these optimizers
_FROM_THE_FILE = "data.content"  # of data.path, of which a run keeps the name alone
_HOW = ("device", "num_threads", *BUDGET_KEYS)  # told although the numbers are said not to hang on them


@dataclass(frozen=True)
class Again:
    """`overrides` ask for the run's config, its seed too; `differences` are the keys that they leave different."""

    overrides: tuple[str, ...]
    differences: tuple[str, ...] = ()


def overrides_of(config: Mapping[str, Any], config_dir: str | Path | None = None) -> Again:
    """Overrides that make the numbers of a run's `config`: choices, then the keys that these leave different.

    They begin with an experiment where one says of itself that it reproduces what the run says. `differences` is empty
    if what they compose to has the run's hash; this version of nodebench may know other keys than the one that trained
    it. Raises ConfigError for a choice that is not there.
    """
    folders = config_folders(config_dir)
    for group in NODES:
        name = (config.get(group) or {}).get("name")
        if group in config and name not in options(group, folders):
            raise ConfigError(
                f"{group}={name} is not among the configs here; name the folder of your own with --config-dir"
            )
    tried: list[Again] = []
    for start in _starts(config, folders):
        if start or all(again.differences for again in tried):
            tried.append(_again(config, start, folders))
        if len(tried[-1].overrides) == len(start) + 1 and not tried[-1].differences:  # it cannot be shorter
            return tried[-1]
    return min(tried, key=lambda again: (len(again.differences), len(again.overrides)))


def _starts(config: Mapping[str, Any], folders: tuple[Path, ...]) -> Iterator[dict[str, str]]:
    """Each experiment that says that it reproduces what the run's does, and none."""
    about = config.get("about") or {}
    for name, path in options("experiment", folders).items():
        theirs = load_once(path).get("about") or {}
        if about and all(theirs.get(key) == about.get(key) for key in ("reproduces", "source")):
            yield {"experiment": name}
    yield {}


def _again(config: Mapping[str, Any], start: Mapping[str, str], folders: tuple[Path, ...]) -> Again:
    def merged() -> dict[str, Any]:
        made = merge(given, folders)
        if "content" in made["data"]:
            made["data"]["content"] = config["data"].get("content")
        made["training"]["from_weights"] = config["training"].get("from_weights")
        return made

    given: dict[str, Any] = dict(start)
    made = merged()
    for add in (*map(_choosing, (_FREE, ("training",), ("optimizer",))), _values, _nulls):
        if more := add(config, made):
            given |= more
            made = merged()
    is_same = hash8(made) == hash8(config)
    left = [] if is_same else [key for key, _ in _different(config, made)] or ["another key"]
    return Again((*map(override_text, given, given.values()), _seed(config)), tuple(left))


def _seed(config: Mapping[str, Any]) -> str:
    return override_text("seed", config["seed"])


def _choosing(groups: Sequence[str]) -> Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]]:
    def choose(config: Mapping[str, Any], made: Mapping[str, Any]) -> dict[str, Any]:
        chosen = {
            group: config[group]["name"]
            for group in groups
            if group in config and config[group]["name"] != made.get(group, {}).get("name")
        }
        has_file = "data" in groups and "path" in config["data"]
        return chosen | ({"data.path": config["data"]["path"]} if has_file else {})

    return choose


def _values(config: Mapping[str, Any], made: Mapping[str, Any]) -> dict[str, Any]:
    """Keys with a value, before those with null: of epochs and num_steps, or tol and dt, one suffices."""
    return {key: value for key, value in _different(config, made) if value is not None}


def _nulls(config: Mapping[str, Any], made: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in _different(config, made) if value is None}


def _different(config: Mapping[str, Any], made: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The keys that make the numbers whose value in `config` is another than in `made`, with that value."""
    known, kept = (
        what_makes_the_numbers(each) | {key: value for key, value in flatten(dict(each)) if key in _HOW}
        for each in (made, config)
    )
    for key, value in kept.items():
        is_name = key.endswith(".name") and key.count(".") == 1
        if not is_name and key != _FROM_THE_FILE and key in known and known[key] != value:
            yield key, value
