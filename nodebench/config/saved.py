"""config.yaml of a run folder: written so that it can be published, and read back as a composed config."""

from __future__ import annotations

import os
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from nodebench.config.errors import ConfigError
from nodebench.config.files import GROUPS, PRIMARY, flatten, load, options, shipped_folder
from nodebench.ode.settings import of_later
from nodebench.records.precision import FLOAT32
from nodebench.records.precision import KEY as PRECISION

_NODES = ("task", "data", "model", "optimizer", "training")
_KEYS = (
    *("seed", "device", "compile", "deterministic", "training.label_smoothing"),
    *(f"{node}.{key}" for node in _NODES[:-1] for key in ("name", "_target_")),
)  # what everything that reads a run's config counts on


_FILLED_IN = ("name", "_target_", "content", "from_weights")  # by what is composed


def config_text(config: Mapping[str, Any]) -> str:
    """The resolved config as YAML. Absolute paths are this machine's: the shipped defaults stand in for them.

    Of another run's folder its name and seed are left.
    """
    published = deepcopy(dict(config))
    if Path(published["output_dir"]).is_absolute():
        published["output_dir"] = load(shipped_folder() / f"{PRIMARY}.yaml")["output_dir"]
    root = published["data"].get("root")
    if root is not None and Path(os.path.expanduser(root)).is_absolute():
        published["data"]["root"] = _shipped_root()
    for key in ("from", "extend"):
        source = published["training"].get(key)
        if source is not None and Path(os.path.expanduser(source)).is_absolute():
            published["training"][key] = "/".join(Path(source).parts[-2:])
    if "path" in published["data"]:
        published["data"]["path"] = Path(published["data"]["path"]).name
    return OmegaConf.to_yaml(OmegaConf.create(published))


def experiment_text(config: Mapping[str, Any], command: str) -> str:
    """A composed config as the YAML of an experiment, which composes to it from the folder of a --config-dir.

    `command` is what it was asked for with, for its first line. What the choices make certain is left to them, so that
    another solver may still be chosen beside it: classes, names, the solver's method.
    """
    kept = deepcopy(dict(config))
    chosen = {group: kept[group]["name"] for group in GROUPS if "name" in (kept.get(group) or {})}
    for group, key in ((group, key) for group in chosen for key in _FILLED_IN):
        kept[group].pop(key, None)
    kept.get("solver", {}).pop("method", None)
    kept = {key: value for key, value in kept.items() if value not in (None, {})}
    defaults = {"defaults": [{f"override /{group}": name} for group, name in chosen.items()]}
    return f"# @package _global_\n# {command}\n{_yaml(defaults)}{_yaml(kept)}"


def _yaml(content: Mapping[str, Any]) -> str:
    return OmegaConf.to_yaml(OmegaConf.create(dict(content)))


def read_config(run: Path) -> dict[str, Any]:
    """The config of the run in folder `run`, which may be somebody else's: values, and nothing is resolved.

    Raises ConfigError if it is no run folder, or its config is damaged.
    """
    path = run / "config.yaml"
    if not path.is_file():
        seeds = sorted(folder.parent for folder in run.glob("**/config.yaml"))
        hint = f"; there is one in {seeds[0]}" if seeds else ""
        raise ConfigError(f"{run} is no run folder, it has no config.yaml{hint}")
    config = _read_values(path)
    nodes = (*_NODES, "solver") if "solver" in config else _NODES
    if not all(isinstance(config.get(node), dict) for node in nodes):
        raise ConfigError(f"{path} is not the config of a run; it needs {', '.join(nodes)}")
    config.setdefault(PRECISION, FLOAT32)
    if "solver" in config:
        config["solver"] = of_later() | config["solver"]
    shipped = load(shipped_folder() / f"{PRIMARY}.yaml")
    needed = (
        (*_KEYS, *(key for key, _ in flatten(shipped["solver"], "solver."))) if "solver" in config else _KEYS
    )
    missing = [key for key in needed if key not in dict(flatten(config))]
    unknown = [
        f"solver.{key}" for key in config.get("solver") or {} if key not in ("name", *shipped["solver"])
    ]
    if missing or unknown:
        what = f"{missing[0]} is missing" if missing else f"{unknown[0]} is not known here"
        raise ConfigError(
            f"{path} is damaged, or of another version of nodebench: {what}; train the run again"
        )
    return config


def _read_values(path: Path) -> dict[str, Any]:
    """What a saved config says, as it stands.

    Raises ConfigError for a reference (`${oc.env:SECRET}` would put a variable of this machine into results). One text
    is none: the shipped place of the data, which config_text writes in place of an absolute one.
    """
    load(path)  # refuses what is nested or unfolds beyond all bounds, which OmegaConf takes
    try:
        config: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except (ValueError, YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    values: dict[str, Any] = config
    shipped = _shipped_root()
    for key, value in flatten(values):
        if "${" in str(value) and (key, value) != ("data.root", shipped):
            raise ConfigError(
                f"{path}: {key} is {value}, and the config of a run holds values alone; write the value there"
            )
    if isinstance(values.get("data"), dict) and values["data"].get("root") == shipped:
        values["data"]["root"] = OmegaConf.create({"root": shipped})["root"]
    return values


def _shipped_root() -> str:
    """The place of the data as the shipped configs spell it, NODEBENCH_DATA not yet looked up."""
    return str(load(options("data", (shipped_folder(),))["mnist"])["root"])
