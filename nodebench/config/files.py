"""The configs folder: where it is, which files it holds, what they say of themselves. Needs no Hydra."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from nodebench.config.errors import ConfigError
from nodebench.config.own_solvers import add_own_solvers
from nodebench.reading import read_yaml

NODES = ("task", "data", "model", "solver", "optimizer", "training")
"""The groups that a run makes a choice of."""
OPTIONAL = ("logger", "experiment")
GROUPS = (*NODES, *OPTIONAL)
PRIMARY = "train"
CONFIG_DIR_HELP = (
    "a folder of your own, searched beside the shipped configs: the modules that its files name as _target_ are "
    "imported, so give one that you trust"
)


def shipped_folder() -> Path:
    """The configs inside an installed package, else those beside the package in a checkout."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "configs", package.parent / "configs"):
        if (folder / f"{PRIMARY}.yaml").is_file():
            return folder
    raise ConfigError(f"no configs folder in {package} or beside it; install nodebench again")


def config_folders(config_dir: str | Path | None = None) -> tuple[Path, ...]:
    """The folders that are searched: the shipped one, then the user's own, which have no name in common.

    The methods in the user's own folder are known by name from here on. Raises ConfigError if `config_dir` is not a
    folder, holds a file that cannot be read, or one with a shipped name.
    """
    if config_dir is None:
        return (shipped_folder(),)
    own = Path(os.path.expanduser(config_dir))
    if not own.is_dir():
        raise ConfigError(f"--config-dir {config_dir} is not a folder; name one laid out as configs/ is")
    folders = (shipped_folder(), own.resolve())
    _check_own(*folders)
    add_own_solvers(folders[1])
    return folders


def _check_own(shipped: Path, own: Path) -> None:
    """No folder is misspelt; each file can be read, and says what the shipped file of its name says, if there is one.

    Names tell choices apart in run folders, tables and figures, so one name has one meaning (docs/decisions/0012).
    """
    for group in GROUPS:
        for path in sorted((own / group).glob("*.yml")):
            raise ConfigError(f"{path} is not read, since its name does not end in .yaml; rename it")
    for folder in sorted(path for path in own.iterdir() if path.is_dir() and path.name not in GROUPS):
        for group in get_close_matches(folder.name.lower(), GROUPS, n=1, cutoff=0.8):
            if any(folder.glob("*.yaml")):
                raise ConfigError(f"{folder} is not read: the group's folder is called `{group}`; rename it")
    for name in (f"{PRIMARY}.yaml", *(str(path.relative_to(own)) for path in _choices(own))):
        theirs, ours = own / name, shipped / name
        if theirs.is_file():
            load(theirs)
        if not (theirs.is_file() and ours.is_file()) or theirs.read_bytes() == ours.read_bytes():
            continue
        if name == f"{PRIMARY}.yaml":
            raise ConfigError(
                f"{theirs} is not read, the shipped file of that name is; put your own values into an experiment, "
                f"{own / 'experiment' / 'NAME.yaml'}, and take {name} away"
            )
        raise ConfigError(
            f"{theirs} has the name of a shipped {theirs.parent.name}, and tables and figures would take one for the "
            "other; rename it"
        )


def _choices(folder: Path) -> Iterator[Path]:
    """Every file of every group in a folder of configs."""
    for group in GROUPS:
        yield from sorted((folder / group).glob("*.yaml"))


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


@cache
def load_once(path: Path) -> dict[str, Any]:
    """As load, of a file that does not change while the command runs; nobody may change what it returns."""
    return load(path)


def flatten(node: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a nested mapping with its dotted key."""
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def shipped_targets(folders: tuple[Path, ...]) -> frozenset[str]:
    """Every class or function that a file in `folders` names as `_target_`: all that may ever be built."""
    paths = (path for folder in folders for path in _choices(folder))
    return frozenset(
        str(value) for path in paths for key, value in flatten(load(path)) if key.split(".")[-1] == "_target_"
    )


def is_ours(target: str) -> bool:
    """Whether a dotted name, or the module of a class or function, is of this package."""
    return target.startswith("nodebench.")


def content_of(path: object) -> str | None:
    """A hash of a file's content, 16 hexadecimal digits; None if there is no such file."""
    file = Path(str(path)).expanduser()
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file.is_file() else None
