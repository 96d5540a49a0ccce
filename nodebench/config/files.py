"""The configs folder: where it is, which files it holds, what they say of themselves. Needs no Hydra."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nodebench.config.errors import ConfigError
from nodebench.reading import read_yaml

GROUPS = ("task", "data", "model", "solver", "optimizer", "training", "experiment")
PRIMARY = "train"


def shipped_folder() -> Path:
    """The configs inside an installed package, else those beside the package in a checkout."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "configs", package.parent / "configs"):
        if (folder / f"{PRIMARY}.yaml").is_file():
            return folder
    raise ConfigError(f"no configs folder in {package} or beside it; install nodebench again")


def config_folders(config_dir: str | Path | None = None) -> tuple[Path, ...]:
    """The folders that are searched, first match wins: the shipped one, then the user's own.

    Raises ConfigError if `config_dir` is not a folder.
    """
    if config_dir is None:
        return (shipped_folder(),)
    own = Path(os.path.expanduser(config_dir))
    if not own.is_dir():
        raise ConfigError(f"--config-dir {config_dir} is not a folder; name one laid out as configs/ is")
    return (shipped_folder(), own.resolve())


def options(group: str, folders: tuple[Path, ...]) -> dict[str, Path]:
    """The choices of a group by name: one file a choice."""
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted((folder / group).glob("*.yaml")):
            found.setdefault(path.stem, path)
    return found


def description(path: Path) -> str:
    """The first comment line of a file that says something: what the file is."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") and not line.startswith("# @package"):
            return line.lstrip("# ").strip()
    return ""


def load(path: Path) -> dict[str, Any]:
    """A file's content as it stands: keys and texts, nothing composed or resolved.

    Raises ConfigError that names the file if it cannot be read, or is no mapping.
    """
    try:
        content = read_yaml(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no text in UTF-8 ({error}); save it as UTF-8") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not YAML that can be read: {error}") from error
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds a {type(content).__name__}; a config is a mapping of keys to values")
    return content


def flatten(node: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a nested mapping with its dotted key."""
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def shipped_targets(folders: tuple[Path, ...]) -> frozenset[str]:
    """Every class or function that a file in `folders` names as `_target_`: all that may ever be built."""
    paths = (path for group in GROUPS for folder in folders for path in (folder / group).glob("*.yaml"))
    return frozenset(
        str(value) for path in paths for key, value in flatten(load(path)) if key.split(".")[-1] == "_target_"
    )


def content_of(path: object) -> str | None:
    """A hash of a file's content, 16 hexadecimal digits; None if there is no such file."""
    file = Path(str(path)).expanduser()
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file.is_file() else None
