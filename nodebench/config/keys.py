"""Which keys a config may have: those of the primary file, and those that the chosen files bring; others are named."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override, OverrideType

from nodebench.config.errors import ConfigError, did_you_mean
from nodebench.config.files import GROUPS, PRIMARY, flatten, load, options
from nodebench.config.overrides import text_of

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


def file_of(group: str, choices: Choices, folders: tuple[Path, ...]) -> dict[str, Any]:
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


def valid_keys(choices: Choices, folders: tuple[Path, ...]) -> set[str]:
    """Every dotted key of the primary file and of the chosen files that bring keys of their own."""
    chosen = ((group, file_of(group, choices, folders)) for group in _WITH_OWN_KEYS if choices[group])
    return _primary_keys(folders) | _keys_below(chosen)


def keys_of_every_choice(folders: tuple[Path, ...]) -> set[str]:
    """The dotted keys that are valid with one choice or another."""
    files = ((group, load(path)) for group in _WITH_OWN_KEYS for path in options(group, folders).values())
    return _primary_keys(folders) | _keys_below(files)


def _primary_keys(folders: tuple[Path, ...]) -> set[str]:
    keys = {key for key, _ in flatten(load(folders[0] / f"{PRIMARY}.yaml"))}
    return {key for key in keys if key.split(".")[0] not in ("hydra", "defaults", "sweep")}


def _keys_below(files: Iterable[tuple[str, dict[str, Any]]]) -> set[str]:
    return {key for group, content in files for key, _ in flatten(content, f"{group}.")}


def for_users(valid: set[str]) -> set[str]:
    return {key for key in valid if not set(key.split(".")) & set(_NOT_FOR_USERS)}


def check_key(override: Override, valid: set[str], choices: Choices, folders: tuple[Path, ...]) -> None:
    key, settable = override.key_or_group, for_users(valid)
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


def check_files(config: dict[str, Any], valid: set[str], choices: Choices, folders: tuple[Path, ...]) -> None:
    """Keys that an experiment or a user's own file brings and that nothing reads."""
    for key, _ in flatten({str(k): v for k, v in config.items() if k not in ("about", "sweep")}):
        if key in valid:
            continue
        _check_package(key, choices, folders)
        if key.startswith("data.") and choices["experiment"] is None:
            raise ConfigError(
                f"training={choices['training']} sets {key}, which data={choices['data']} does not have; "
                f"{_cure(choices, folders)}"
            )
        hint = _whose(key, choices, folders) or did_you_mean(key, for_users(valid))
        raise ConfigError(f"unknown key `{key}` in {source_of(choices)}.{hint}")


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
    owners = [name for name in keys if key in for_users(keys[name])]
    if not owners:
        return ""
    return f" {group}={choices[group]} does not have it; {group}={', '.join(owners)} {'do' if owners[1:] else 'does'}."


def _cure(choices: Choices, folders: tuple[Path, ...]) -> str:
    """What to choose where a preset is not for the data: the task's own preset, or another task."""
    preset = file_of("task", choices, folders)["recommended"]["training"]
    if preset != choices["training"]:
        return f"choose training={preset}, which is for task={choices['task']}"
    others = sorted(options("task", folders).keys() - {choices["task"]})
    return (
        f"choose a task for it: task={', '.join(others)}; `nodebench list tasks` says what each learns from"
    )


def source_of(choices: Choices) -> str:
    return f"experiment `{choices['experiment']}`" if choices["experiment"] else "the chosen files"
