"""Finds run folders and reads what they say of themselves; a damaged one is a run with a problem."""

from __future__ import annotations

import itertools
import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nodebench.ode.settings import of_later
from nodebench.records.precision import FLOAT32
from nodebench.records.precision import KEY as PRECISION
from nodebench.records.summary import FILE as SUMMARY
from nodebench.reporting import index
from nodebench.reporting.run_files import Contents, read_files

# What every run's config has. Training writes the optimizer last, so a file that was cut off lacks it.
SECTIONS = ("task", "data", "model", "training", "optimizer")
UNFINISHED = "unfinished"


_LATER = {PRECISION: FLOAT32}
_LATER_OF_SOLVERS = {f"solver.{key}": value for key, value in of_later().items()}


@dataclass(frozen=True)
class Run:
    """One run folder: `<data>-<model>-...-<hash8>/seed<k>` and its config, summary and environment.

    `status` is the summary's (finished, interrupted, diverged, failed), `unfinished` where there is no
    summary yet, or `damaged` where a file cannot be read; `problem` then says why, in a few words.
    """

    folder: Path
    status: str
    problem: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)

    @property
    def is_finished(self) -> bool:
        return self.status == "finished"

    @property
    def argument(self) -> str:
        """The folder as a shell takes it, for a command that is to be copied."""
        return shlex.quote(str(self.folder))

    @property
    def hash(self) -> str:
        """The hash of every key that determines the numbers, from the folder's name; empty where none."""
        found = re.fullmatch(".*-([0-9a-f]{8})", self.folder.parent.name)
        return found[1] if found else ""

    @property
    def group(self) -> str:
        """What all seeds of one experiment share; a run that lies outside such a folder is alone."""
        return self.folder.parent.name if self.hash else str(self.folder)

    @property
    def seed(self) -> str:
        return str(self.config.get("seed", self.folder.name.removeprefix("seed")))

    @property
    def version(self) -> str:
        """The nodebench version and commit that made the run; empty where the run does not tell."""
        known = (self.environment.get("version"), self.environment.get("git_commit"))
        changed = " with uncommitted changes" if self.environment.get("git_dirty") else ""
        return " at ".join(str(value)[:12] for value in known if value) + changed + self._own_code

    @property
    def _own_code(self) -> str:
        """` and model=mine 1a2b3c4d`: the user's own code behind the run's choices; empty where there is none."""
        code = self.environment.get("own_code")
        own = code.items() if isinstance(code, dict) else ()
        return "".join(f" and {choice} {str(digest)[:8]}" for choice, digest in own)

    @property
    def jobs(self) -> int:
        """How many runs of a sweep its machine trained at a time: 1 where it had the machine for itself."""
        told = self.environment.get("jobs")
        return told if isinstance(told, int) and told > 1 else 1

    @property
    def names(self) -> tuple[str, str]:
        """The data set's and the model's name; where the config cannot be read, the folder's name tells."""
        parts = self.folder.parent.name.split("-") if self.hash else []
        data, model, *_ = [*parts, "", ""]
        return str(self.setting("data.name") or data), str(self.setting("model.name") or model)

    def is_last_step(self, step: Any) -> bool:
        """Whether `step` is that of the run's last weights, as far as it (None: not known) and the summary tell."""
        last = self.summary.get("step")
        return step is None or last is None or step == last

    @property
    def settings(self) -> Iterator[tuple[str, Any]]:
        """Every value of the config with its dotted key."""
        return _flatten(self.config)

    def setting(self, key: str) -> Any:
        """The config's value at a dotted key such as `solver.dt`; None where the config has no such key.

        Precision, and a setting of the solver that came later, is what older configs, which lack it, mean.
        """
        value: Any = self.config
        if key in _LATER_OF_SOLVERS and isinstance(self.config.get("solver"), dict):
            return self.config["solver"].get(key.removeprefix("solver."), _LATER_OF_SOLVERS[key])
        if key in _LATER and self.config:
            return self.config.get(key, _LATER[key])
        for part in key.split("."):
            if not isinstance(value, dict):
                return None
            value = value.get(part)
        return value


def _flatten(node: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def find_runs(folder: Path | str) -> list[Run]:
    """Every run at or below `folder`, sorted by path. A folder that is not there holds no runs.

    What the files of many say comes from an index beside them, as far as that knows them as they are: index.py.
    """
    paths = sorted(run_folders(folder))
    contents = index.read_runs(Path(folder), paths)
    return [_run_of(path, each) for path, each in zip(paths, contents, strict=True)]


def read_run(folder: Path) -> Run:
    """The run in one folder, from its files as they stand."""
    return _run_of(folder, read_files(folder))


def run_folders(folder: Path | str, at_most: int | None = None) -> Iterator[Path]:
    """Every run folder at or below `folder`: one that holds config.yaml or summary.json.

    Hidden folders and what lies inside a run are left alone. `at_most`: how many folders are looked into.
    """
    for path, subfolders, files in itertools.islice(os.walk(folder), at_most):
        if {"config.yaml", SUMMARY} & set(files):
            yield Path(path)
            subfolders.clear()
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]


def nothing_under(folder: Path | str, what: str = "no runs") -> str:
    """Why `what` was sought in vain, as a sentence begins: the folder is not there, is no folder, or has none."""
    if not os.path.lexists(folder):
        return f"there is no folder `{folder}`"
    if not os.path.isdir(folder):
        return f"`{folder}` is not a folder"
    return f"{what} under `{folder}`"


def _run_of(folder: Path, contents: Contents) -> Run:
    config, summary = contents.config or {}, contents.summary or {}
    problems = list(contents.problems)
    lacking = [name for name in SECTIONS if not isinstance(config.get(name), dict)]
    if lacking and not problems:
        problems.append(f"config.yaml has no `{lacking[0]}`, so it is cut off or not a run's")
    if problems:
        status, problem = "damaged", "; ".join(problems)
    elif contents.summary is None:
        status, problem = UNFINISHED, f"no {SUMMARY} yet"
    elif "status" not in summary:
        status, problem = "damaged", f"{SUMMARY} has no status"
    else:
        status, problem = str(summary["status"]), str(summary.get("reason") or "")
    return Run(folder, status, problem, config, summary, contents.environment or {})
