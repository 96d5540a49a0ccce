"""A command line becomes one plain, resolved dictionary; what is misspelled is named with its nearest name.

Hydra composes the files. It would accept unknown keys under `+` and exit 1 on the others, so names are
checked here first. A group that neither the command line nor an experiment chooses is filled from the
`recommended:` of the task's file; the training preset may name its own optimizer, and limits for data that have them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
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
    load,
    options,
)
from nodebench.config.overrides import check_single, parse, text_of
from nodebench.config.start import settle_start
from nodebench.ode.methods.traits import needs_tolerance

_NOT_FOR_USERS = ("_target_", "recommended", "name", "content", "from_weights")
_WITH_OWN_KEYS = (
    "task",
    "data",
    "model",
    "optimizer",
    "logger",
)  # groups whose files bring keys of their own
_NEEDED = {  # by everything that builds what these files name
    "task": ("_target_", "recommended.training", "recommended.optimizer", "recommended.solver.tol"),
    "data": ("_target_",),
    "model": ("_target_",),
    "optimizer": ("_target_", "lr"),
    "logger": ("_target_",),
}
Choices = dict[str, str | None]  # the file chosen for each group


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
    folders = config_folders(config_dir)
    parsed = parse(overrides)
    for override in parsed:
        check_single(override)
    chosen = [o for o in parsed if o.key_or_group in GROUPS]
    for override in chosen:
        _check_option(override, folders)

    choices, _ = _compose([text_of(o) for o in chosen], folders)
    filled = _recommended_choices(choices, folders)
    choices |= dict(choice.split("=") for choice in filled)
    valid = _valid_keys(choices, folders)
    for override in parsed:
        if override not in chosen:
            _check_key(override, valid, choices, folders)

    spelled_out = (*filled, *(text_of(o) for o in parsed))
    _, config = _compose(spelled_out, folders)
    _check_files(config, valid, choices, folders)
    given = {o.key_or_group for o in parsed}
    plain = _resolve(config)
    sweep = plain.pop("sweep") or {}
    _check_sweep(sweep, choices, folders)
    left = {key: values for key, values in sweep.items() if key not in given}
    notes = (*finish(plain, choices, given), *settle_start(plain), *_tell_sweep(left))
    return Composed(plain, spelled_out, notes, left)


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


def _compose(overrides: Sequence[str], folders: tuple[Path, ...]) -> tuple[Choices, DictConfig]:
    """Which file Hydra chose for each group, and the composed config without Hydra's own node."""
    try:
        with initialize_config_dir(str(folders[0]), job_name="nodebench", version_base="1.3"):
            config = hydra_compose(PRIMARY, [*overrides, searchpath(folders)], return_hydra_config=True)
        choices = {group: config.hydra.runtime.choices.get(group) for group in GROUPS}
        with open_dict(config):
            del config["hydra"]
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        cause = error.__cause__ or error
        raise ConfigError(f"the config cannot be composed: {' '.join(str(cause).split())}") from error
    return choices, config


def _recommended_choices(choices: Choices, folders: tuple[Path, ...]) -> list[str]:
    """`training=...` and `optimizer=...` where nobody chose them: the preset's own, else the task's."""
    recommended = _file("task", choices, folders)["recommended"]
    training = {**choices, "training": choices["training"] or recommended["training"]}
    preset = _file("training", training, folders).get("training") or {}
    optimizer = (preset.get("recommended") or {}).get("optimizer") or recommended["optimizer"]
    filled = {"training": training["training"], "optimizer": optimizer}
    return [f"{group}={name}" for group, name in filled.items() if choices[group] is None]


def _file(group: str, choices: Choices, folders: tuple[Path, ...]) -> dict[str, Any]:
    """What the file chosen for a group says, nothing composed. Raises ConfigError if it lacks what every one needs."""
    choice = choices[group]
    assert choice is not None  # it was made, or is made here
    path = options(group, folders)[choice]
    content = load(path)
    values = dict(flatten(content))
    missing = [key for key in _NEEDED.get(group, ()) if key not in values]
    if missing:
        raise ConfigError(f"{path} has no `{missing[0]}`, which every {group} needs; see the shipped ones")
    target = values.get("_target_", "")
    if not isinstance(target, str):
        raise ConfigError(
            f"_target_ in {path} is {target}; it must be one name, such as package.module.Class"
        )
    return content


def _valid_keys(choices: Choices, folders: tuple[Path, ...]) -> set[str]:
    """Every dotted key of the primary file and of the chosen files that bring keys of their own."""
    chosen = ((group, _file(group, choices, folders)) for group in _WITH_OWN_KEYS if choices[group])
    return _primary_keys(folders) | _keys_below(chosen)


def _keys_of_every_choice(folders: tuple[Path, ...]) -> set[str]:
    """The dotted keys that are valid with one choice or another."""
    files = ((group, load(path)) for group in _WITH_OWN_KEYS for path in options(group, folders).values())
    return _primary_keys(folders) | _keys_below(files)


def _primary_keys(folders: tuple[Path, ...]) -> set[str]:
    keys = {key for key, _ in flatten(load(folders[0] / f"{PRIMARY}.yaml"))}
    return {key for key in keys if key.split(".")[0] not in ("hydra", "defaults", "sweep")}


def _keys_below(files: Iterable[tuple[str, dict[str, Any]]]) -> set[str]:
    return {key for group, content in files for key, _ in flatten(content, f"{group}.")}


def _for_users(valid: set[str]) -> set[str]:
    return {key for key in valid if not set(key.split(".")) & set(_NOT_FOR_USERS)}


def _check_key(override: Override, valid: set[str], choices: Choices, folders: tuple[Path, ...]) -> None:
    key, settable = override.key_or_group, _for_users(valid)
    if key.split(".")[0] == "sweep":
        raise ConfigError(f"unknown key `{key}`; to sweep, give several values, key=a,b, and -m")
    below = sorted(k for k in settable if k.startswith(f"{key}."))
    if below:
        raise ConfigError(f"`{text_of(override)}`: {key} holds several keys; set one of: {', '.join(below)}")
    if key == "model.gradient" and key not in settable:
        raise ConfigError(
            f"`{text_of(override)}`: {choices['model']} has no ODE to take a gradient of; drop it"
        )
    if key not in settable:
        similar = settable if "." in key else settable | set(GROUPS)
        hint = (
            _whose(key, choices, folders)
            or did_you_mean(key, similar)
            or " The keys are in configs/train.yaml and in the files that were chosen."
        )
        raise ConfigError(f"unknown key `{key}`.{hint}")
    if override.type != OverrideType.CHANGE:
        raise ConfigError(f"`{text_of(override)}`: {key} exists; set it without `+`")


def _check_files(config: DictConfig, valid: set[str], choices: Choices, folders: tuple[Path, ...]) -> None:
    """Keys that an experiment or a user's own file brings and that nothing reads."""
    container = OmegaConf.to_container(config, resolve=False)
    assert isinstance(container, dict)
    for key, _ in flatten({str(k): v for k, v in container.items() if k not in ("about", "sweep")}):
        if key in valid:
            continue
        _check_package(key, choices, folders)
        if key.startswith("data.") and choices["experiment"] is None:
            raise ConfigError(
                f"training={choices['training']} sets {key}, which data={choices['data']} does not have; "
                f"{_cure(choices, folders)}"
            )
        hint = _whose(key, choices, folders) or did_you_mean(key, _for_users(valid))
        raise ConfigError(f"unknown key `{key}` in {_source(choices)}.{hint}")


def _check_package(key: str, choices: Choices, folders: tuple[Path, ...]) -> None:
    """Of files that set keys of any group, one without its first line would set them below its own group's name."""
    group = key.split(".")[0]
    if group == "experiment" or key.startswith("training.training."):
        name = choices[group]
        assert name is not None
        raise ConfigError(
            f"{options(group, folders)[name]} needs the line `# @package _global_` at its top, without which its keys "
            f"stand below `{group}`"
        )


def _whose(key: str, choices: Choices, folders: tuple[Path, ...]) -> str:
    """` data=two_moons does not have it; ...` with those that do; empty for a key that no choice of its group has."""
    group = key.split(".")[0]
    if group not in _WITH_OWN_KEYS:
        return ""
    keys = {name: _keys_below([(group, load(path))]) for name, path in options(group, folders).items()}
    owners = [name for name in keys if key in _for_users(keys[name])]
    if not owners:
        return ""
    return f" {group}={choices[group]} does not have it; {group}={', '.join(owners)} {'do' if owners[1:] else 'does'}."


def _cure(choices: Choices, folders: tuple[Path, ...]) -> str:
    """What to choose where a preset is not for the data: the task's own preset, or another task."""
    preset = _file("task", choices, folders)["recommended"]["training"]
    if preset != choices["training"]:
        return f"choose training={preset}, which is for task={choices['task']}"
    others = sorted(options("task", folders).keys() - {choices["task"]})
    return (
        f"choose a task for it: task={', '.join(others)}; `nodebench list tasks` says what each learns from"
    )


def _source(choices: Choices) -> str:
    return f"experiment `{choices['experiment']}`" if choices["experiment"] else "the chosen files"


def _check_sweep(sweep: Any, choices: Choices, folders: tuple[Path, ...]) -> None:
    """An experiment's `sweep` maps keys, valid with some choice of files, to lists of plain values."""
    if not isinstance(sweep, dict):
        raise ConfigError(f"sweep={sweep} in {_source(choices)}; it must be lists by key: {{seed: [0, 1]}}")
    if not sweep:
        return
    allowed = (_for_users(_keys_of_every_choice(folders)) | set(GROUPS)) - {"experiment"}
    for key, values in sweep.items():
        is_list = isinstance(values, list) and values != []
        if not is_list or any(isinstance(value, list | dict) for value in values):
            raise ConfigError(
                f"sweep: {{{key}: {values}}} in {_source(choices)} is no list of values; "
                "write one list a key, with dots: {model.width: [2, 4]}"
            )
        if key not in allowed:
            raise ConfigError(
                f"unknown key `{key}` in the sweep of {_source(choices)}.{did_you_mean(str(key), allowed)}"
            )


def _tell_sweep(sweep: dict[str, list[Any]]) -> tuple[str, ...]:
    if not sweep:
        return ()
    num_runs = math.prod(len(values) for values in sweep.values())
    return (f"this experiment sweeps over {', '.join(sweep)}: add -m to run all {num_runs}",)


def _resolve(config: DictConfig) -> dict[str, Any]:
    """The plain dictionary, every reference replaced by what it refers to."""
    try:
        missing = OmegaConf.missing_keys(config)
        plain: Any = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"the config cannot be resolved: {str(error).splitlines()[0]}") from error
    if missing:
        raise ConfigError(f"{min(missing)} has no value in the chosen files; give it one")
    return dict(plain)


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
