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
from nodebench.config.files import PRIMARY, flatten, load, options, shipped_folder

_NODES = ("task", "data", "model", "optimizer", "training")
_KEYS = (
    *("seed", "device", "compile", "deterministic", "training.label_smoothing"),
    *(f"{node}.{key}" for node in _NODES[:-1] for key in ("name", "_target_")),
)  # what everything that reads a run's config counts on


def config_text(config: Mapping[str, Any]) -> str:
    """The resolved config as YAML. Absolute paths are this machine's, so the shipped defaults stand in for them."""
    published = deepcopy(dict(config))
    if Path(published["output_dir"]).is_absolute():
        published["output_dir"] = load(shipped_folder() / f"{PRIMARY}.yaml")["output_dir"]
    root = published["data"].get("root")
    if root is not None and Path(os.path.expanduser(root)).is_absolute():
        published["data"]["root"] = load(options("data", (shipped_folder(),))["mnist"])["root"]
    if "path" in published["data"]:
        published["data"]["path"] = Path(published["data"]["path"]).name
    return OmegaConf.to_yaml(OmegaConf.create(published))


def read_config(run: Path) -> dict[str, Any]:
    """The config of the run in folder `run`. Raises ConfigError if it is no run folder."""
    path = run / "config.yaml"
    if not path.is_file():
        seeds = sorted(folder.parent for folder in run.glob("**/config.yaml"))
        hint = f"; there is one in {seeds[0]}" if seeds else ""
        raise ConfigError(f"{run} is no run folder, it has no config.yaml{hint}")
    try:
        config: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except (OSError, UnicodeDecodeError, YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(config, dict) or not all(isinstance(config.get(node), dict) for node in _NODES):
        raise ConfigError(f"{path} is not the config of a run; it needs {', '.join(_NODES)}")
    shipped = load(shipped_folder() / f"{PRIMARY}.yaml")
    missing = [key for key in _KEYS if key not in dict(flatten(config))]
    unknown = [
        f"solver.{key}" for key in config.get("solver") or {} if key not in ("name", *shipped["solver"])
    ]
    if missing or unknown:
        what = f"{missing[0]} is missing" if missing else f"{unknown[0]} is not known here"
        raise ConfigError(
            f"{path} is damaged, or of another version of nodebench: {what}; train the run again"
        )
    return config
