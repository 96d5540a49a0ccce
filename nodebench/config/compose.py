"""A command line becomes one plain, resolved dictionary; what is misspelled is named with its nearest name.

Hydra composes the files. It would accept unknown keys under `+` and exit 1 on the others, so names are
checked here first. A group that neither the command line nor an experiment chooses is filled from the
`recommended:` of the task's file; the training preset may name its own optimizer, and limits for data that have them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from nodebench.config.errors import ConfigError, did_you_mean
from nodebench.config.files import (
    GROUPS,
    NODES,
    OPTIONAL,
    PRIMARY,
    config_folders,
    content_of,
    flatten,
    options,
)
from nodebench.config.keys import (
    Choices,
    check_files,
    check_key,
    file_of,
    for_users,
    keys_of_every_choice,
    source_of,
    valid_keys,
)
from nodebench.config.overrides import check_single, parse, text_of
from nodebench.config.start import settle_start
from nodebench.ode.methods.traits import needs_tolerance


@dataclass(frozen=True)
class Composed:
    """One run as asked for.

    `config` is plain and resolved, `overrides` make it again with every choice spelled out, and `notes` are a
    sentence each for what has no effect here. `sweep` is the experiment's own: lists of values by key, without
    the keys that the command line gave.
    """

    config: dict[str, Any]
    overrides: tuple[str, ...]
    notes: tuple[str, ...] = ()
    sweep: dict[str, list[Any]] = field(default_factory=dict)


def compose(overrides: Sequence[str] = (), config_dir: str | Path | None = None) -> Composed:
    """The config that `overrides` (`model=odenet`, `solver.tol=1e-2`) ask for.

    Raises ConfigError for a group, option or key that does not exist, for a value that cannot be read, and
    for a sweep (`seed=0,1`).
    """
    return Composer(config_dir).compose(overrides)


class Composer:
    """Composes one config after the other, as compose does; what those with the same choices share is composed once.

    Hydra takes a tenth of a second a config, and the members of a sweep mostly differ in values. The files are taken
    as they are when the first config that chooses them is composed.
    """

    def __init__(self, config_dir: str | Path | None = None) -> None:
        self._folders = config_folders(config_dir)
        self._known: dict[tuple[str, ...], _Chosen] = {}

    def compose(self, overrides: Sequence[str] = ()) -> Composed:
        """As the function of this name."""
        parsed = parse(overrides)
        for override in parsed:
            check_single(override)
        chosen, folders = self._chosen([o for o in parsed if o.key_or_group in GROUPS]), self._folders
        choices = dict(chosen.choices)
        for override in parsed:
            if override.key_or_group not in GROUPS:
                check_key(override, chosen.valid, choices, folders)

        spelled_out = (*chosen.filled, *(text_of(o) for o in parsed))
        config = _varied(chosen.config, [o for o in parsed if o.key_or_group not in GROUPS])
        if config is None:
            _, config = _compose(spelled_out, folders)
        check_files(config, chosen.valid, choices, folders)
        given = {o.key_or_group for o in parsed}
        plain = _resolve(config)
        sweep = plain.pop("sweep") or {}
        _check_sweep(sweep, choices, folders)
        left = {key: values for key, values in sweep.items() if key not in given}
        notes = (*finish(plain, choices, given), *settle_start(plain), *_tell_sweep(left))
        return Composed(plain, spelled_out, notes, left)

    def _chosen(self, overrides: Sequence[Override]) -> _Chosen:
        for override in overrides:
            _check_option(override, self._folders)
        texts = tuple(text_of(o) for o in overrides)
        if texts not in self._known:
            self._known[texts] = _Chosen(texts, self._folders)
        return self._known[texts]


class _Chosen:
    """What follows from a choice of files: that of every group, and the keys that there are.

    `filled` are the choices that nobody made, as overrides.
    """

    def __init__(self, texts: tuple[str, ...], folders: tuple[Path, ...]) -> None:
        self._texts, self._folders = texts, folders
        self.choices, _ = _compose(texts, folders)
        self.filled = _recommended_choices(self.choices, folders)
        self.choices |= dict(choice.split("=") for choice in self.filled)
        self.valid = valid_keys(self.choices, folders)

    @cached_property
    def config(self) -> dict[str, Any]:
        """What the files say, no value given; composed when it is asked for, so that misspelled keys go first."""
        return _compose((*self.filled, *self._texts), self._folders)[1]


def _varied(config: Mapping[str, Any], overrides: Iterable[Override]) -> dict[str, Any] | None:
    """A copy of what the files say with values in place of theirs; None where a mapping is given, or stood there.

    Hydra sets values when all files are merged: a value or a list takes the place of another, and mappings it merges.
    """
    varied = deepcopy(dict(config))
    for override in overrides:
        *parents, last = override.key_or_group.split(".")
        node = varied
        for parent in parents:
            node = node[parent]
        value = override.value()
        if isinstance(node[last], dict) or _holds_mapping(value):
            return None
        node[last] = value
    return varied


def _holds_mapping(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(map(_holds_mapping, value)))


def _check_option(override: Override, folders: tuple[Path, ...]) -> None:
    group, value, found = override.key_or_group, override.value(), options(override.key_or_group, folders)
    if override.type != OverrideType.CHANGE:
        raise ConfigError(f"`{text_of(override)}`: choose with {group}={value}, without `+`")
    if not isinstance(value, str | None) or (value is None and group not in OPTIONAL):
        raise ConfigError(f"`{text_of(override)}`: {group} takes one name.{did_you_mean(str(value), found)}")
    if group == "logger" and value is not None and not found:
        raise ConfigError(
            f"unknown logger `{value}`: none is shipped; write logger/{value}.yaml in a folder of your own, and name "
            "that with --config-dir"
        )
    if value is not None and value not in found:
        raise ConfigError(f"unknown {group} `{value}`.{did_you_mean(value, found)}")


def searchpath(folders: tuple[Path, ...]) -> str:
    """The override that lets Hydra look into the user's own folder after the shipped one."""
    quoted = ("'file://" + str(folder).replace("'", "\\'") + "'" for folder in folders[1:])
    return f"hydra.searchpath=[{','.join(quoted)}]"


def _compose(overrides: Sequence[str], folders: tuple[Path, ...]) -> tuple[Choices, dict[str, Any]]:
    """Which file Hydra chose for each group, and what it composed, without its own node and with nothing resolved."""
    try:
        with initialize_config_dir(str(folders[0]), job_name="nodebench", version_base="1.3"):
            config = hydra_compose(PRIMARY, [*overrides, searchpath(folders)], return_hydra_config=True)
        choices = {group: config.hydra.runtime.choices.get(group) for group in GROUPS}
        with open_dict(config):
            del config["hydra"]
        plain: Any = OmegaConf.to_container(config, resolve=False)
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        cause = error.__cause__ or error
        raise ConfigError(f"the config cannot be composed: {' '.join(str(cause).split())}") from error
    return choices, plain


def _recommended_choices(choices: Choices, folders: tuple[Path, ...]) -> list[str]:
    """`training=...` and `optimizer=...` where nobody chose them: the preset's own, else the task's."""
    recommended = file_of("task", choices, folders)["recommended"]
    training = {**choices, "training": choices["training"] or recommended["training"]}
    preset = file_of("training", training, folders).get("training") or {}
    optimizer = (preset.get("recommended") or {}).get("optimizer") or recommended["optimizer"]
    filled = {"training": training["training"], "optimizer": optimizer}
    return [f"{group}={name}" for group, name in filled.items() if choices[group] is None]


def _check_sweep(sweep: Any, choices: Choices, folders: tuple[Path, ...]) -> None:
    """An experiment's `sweep` maps keys, valid with some choice of files, to lists of plain values."""
    if not isinstance(sweep, dict):
        raise ConfigError(f"sweep={sweep} in {source_of(choices)}; it must be lists by key: {{seed: [0, 1]}}")
    if not sweep:
        return
    allowed = (for_users(keys_of_every_choice(folders)) | set(GROUPS)) - {"experiment"}
    for key, values in sweep.items():
        is_list = isinstance(values, list) and values != []
        if not is_list or any(isinstance(value, list | dict) for value in values):
            raise ConfigError(
                f"sweep: {{{key}: {values}}} in {source_of(choices)} is no list of values; "
                "write one list a key, with dots: {model.width: [2, 4]}"
            )
        if key not in allowed:
            raise ConfigError(
                f"unknown key `{key}` in the sweep of {source_of(choices)}.{did_you_mean(str(key), allowed)}"
            )


def _tell_sweep(sweep: dict[str, list[Any]]) -> tuple[str, ...]:
    if not sweep:
        return ()
    num_runs = math.prod(len(values) for values in sweep.values())
    return (f"this experiment sweeps over {', '.join(sweep)}: add -m to run all {num_runs}",)


def _resolve(config: dict[str, Any]) -> dict[str, Any]:
    """The plain dictionary, every reference replaced by what it refers to."""
    if not any(_refers(value) for _, value in flatten(config)):
        return config
    try:
        resolved = OmegaConf.create(config)
        missing = OmegaConf.missing_keys(resolved)
        plain: Any = OmegaConf.to_container(resolved, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"the config cannot be resolved: {str(error).splitlines()[0]}") from error
    if missing:
        raise ConfigError(f"{min(missing)} has no value in the chosen files; give it one")
    return dict(plain)


def _refers(value: Any) -> bool:
    """Whether a value is, or holds, what OmegaConf reads as a reference, or as missing."""
    if isinstance(value, list):
        return any(map(_refers, value))
    if isinstance(value, dict):  # an empty one, or one in a list
        return any(map(_refers, value.values()))
    return isinstance(value, str) and ("${" in value or value == "???")


def finish(plain: dict[str, Any], choices: Choices, given: set[str]) -> tuple[str, ...]:
    """Name every node after its file; settle limits, length, tolerance and, without an ODE, the solver; hash a file.

    Returns notes.
    """
    for group in (*NODES, *(["logger"] if choices["logger"] else [])):
        plain[group] = {"name": choices[group], **plain[group]}
    recommended = plain["task"].pop("recommended")
    for key, value in plain["training"].pop("recommended")["data"].items():
        if f"data.{key}" not in given and key in plain["data"] and plain["data"][key] is None:
            plain["data"][key] = value
    _settle_length(plain["training"], given)
    if "content" in plain["data"]:
        plain["data"]["content"] = content_of(plain["data"]["path"])
    if "gradient" in plain["model"]:
        _settle_tolerance(plain["solver"], recommended["solver"]["tol"])
        return ()
    del plain["solver"]
    if any(key.split(".")[0] == "solver" for key in given):
        return (f"{choices['model']} has no ODE, so what was said about the solver is dropped",)
    return ()


def _settle_tolerance(solver: dict[str, Any], recommended: float) -> None:
    """Fill `tol` where one is needed and nobody gave one, or gave rtol or atol alone."""
    needed = needs_tolerance(solver["method"], solver["dt"])
    if needed and solver["tol"] is None and None in (solver["rtol"], solver["atol"]):
        solver["tol"] = recommended


def _settle_length(training: dict[str, Any], given: set[str]) -> None:
    """Epochs or steps: the command line's; where both come from files the steps, so that smoke is short."""
    if training["epochs"] is None or training["num_steps"] is None:
        return
    if {"training.epochs", "training.num_steps"} <= given:
        raise ConfigError("training.epochs and training.num_steps are both given; give one of them")
    training["num_steps" if "training.epochs" in given else "epochs"] = None
