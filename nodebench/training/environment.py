"""What a run was made with: code, versions, device, flags. No path and no host name, so it can be published."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import nodebench
from nodebench.records.jobs import jobs_here
from nodebench.records.precision import FLOAT32
from nodebench.records.precision import KEY as PRECISION

PROCESSES = "num_processes"
"""How many processes trained the net; one where it is not said."""

_PACKAGES = ("torch", "torchvision", "numpy", "scipy")

_DECIDES_NUMBERS = ("version", "git_commit", "git_dirty", "packages", "device", "device_name", "num_threads")
"""Entries whose change may change the numbers of a resumed run."""
_LATER: dict[str, Any] = {PRECISION: FLOAT32, PROCESSES: 1}
"""The same, which environments of older runs lack, with what they mean."""


def describe_environment(
    device: torch.device,
    own_code: Mapping[str, str] | None = None,
    precision: str = FLOAT32,
    num_processes: int = 1,
) -> dict[str, Any]:
    """Commit, versions, device, threads and flags as plain values; `own_code`, hashes by choice, where there is any.

    precision: of the products of training, as it really is and whatever was asked for. num_processes: those that train
    the net together.
    """
    return {
        "version": nodebench.__version__,
        **git_state(Path(nodebench.__file__)),
        **({"own_code": dict(own_code)} if own_code else {}),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "cuda": torch.version.cuda,
        "system": f"{platform.system()} {platform.machine()}",
        "device": device.type,
        "device_name": _device_name(device),
        "num_threads": torch.get_num_threads(),
        PRECISION: precision,
        **({PROCESSES: num_processes} if num_processes > 1 else {}),
        **({"jobs": jobs_here()} if jobs_here() > 1 else {}),  # its times are then no measurements
        "flags": {
            "deterministic": torch.are_deterministic_algorithms_enabled(),
            "float32_matmul_precision": torch.get_float32_matmul_precision(),
            "cudnn_allow_tf32": torch.backends.cudnn.allow_tf32,
            "cudnn_benchmark": torch.backends.cudnn.benchmark,
        },
    }


def marked_as_shared(began_in: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """The environment that a run began in, with the most runs that it ever shared its machine with."""
    jobs = max(began_in.get("jobs", 0), now.get("jobs", 0))
    return {**began_in, **({"jobs": jobs} if jobs else {})}


def tells_version(content: Mapping[str, Any]) -> bool:
    """Whether a summary or an environment, which somebody else may have written, says which code made it."""
    return (
        isinstance(content.get("version"), str)
        and isinstance(content.get("git_commit", 0), str | None)
        and isinstance(content.get("git_dirty", 0), bool | None)
    )


def is_environment(content: Mapping[str, Any]) -> bool:
    """Whether it has what a run is continued and concluded with, and so has each that it was resumed in."""
    later = content.get("resumed_in", [])
    return (
        tells_version(content)
        and isinstance(content.get("packages"), dict)
        and content.keys() >= set(_DECIDES_NUMBERS)
        and "torch" in content["packages"]
        and isinstance(content.get("jobs", 0), int)
        and isinstance(content.get(PROCESSES, 1), int)
        and isinstance(later, list)
        and all(isinstance(environment, dict) and is_environment(environment) for environment in later)
    )


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """One phrase for each entry that may change numbers and is not what it was."""
    before, now = {**_LATER, **before}, {**_LATER, **now}
    knows_commits = before.get("git_commit") is not None and now.get("git_commit") is not None
    return [
        f"{name} was {before.get(name)!r} and is {now.get(name)!r}"
        for name in (*_DECIDES_NUMBERS, *_LATER)
        if before.get(name) != now.get(name) and (knows_commits or not name.startswith("git_"))
    ] + code_changes(before, now)


def continued_in(
    began_in: Mapping[str, Any] | None, now: Mapping[str, Any], say: Callable[[str], None]
) -> dict[str, Any]:
    """The environment that began a run; if this is not the latest one that it was continued in, said and added."""
    began_in = began_in or now
    changes = differences(latest_environment(began_in), now)
    if changes:
        say(f"warning: continuing in another environment, numbers may differ: {'; '.join(changes)}")
        began_in = {**began_in, "resumed_in": [*began_in.get("resumed_in", []), now]}
    return marked_as_shared(began_in, now)


def mixes_versions(environments: Iterable[Mapping[str, Any]]) -> bool:
    """Whether they are of more than one state of the code; a commit that git could not tell is no other one."""
    environments = list(environments)
    code = {(environment["version"], str(environment.get("own_code"))) for environment in environments}
    commits = {(environment["git_commit"], environment["git_dirty"]) for environment in environments}
    return len(code) > 1 or len([commit for commit, _ in commits if commit is not None]) > 1


def code_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """One phrase for each choice (`model=mine`) of which the user's own code is not what it was, or is not there."""
    known, found = before.get("own_code"), now.get("own_code") or {}
    if not isinstance(known, dict):  # none, or a file that somebody wrote by hand
        return []
    return [
        f"the code behind {choice} has changed since"
        if choice in found
        else f"the code behind {choice} is not found here, so whether it has changed is not known"
        for choice, digest in known.items()
        if found.get(choice) != digest
    ]


def latest_environment(environment: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a run was last continued in, from its environment.json; what it began in if it never was."""
    later = environment.get("resumed_in")
    return later[-1] if isinstance(later, list) and later and isinstance(later[-1], dict) else environment


def describe_version(environment: Mapping[str, Any]) -> str:
    """Version and commit in words; the same words mean the same code."""
    commit = environment["git_commit"]
    if commit is None:
        return f"nodebench {environment['version']}"
    changed = " with changes" if environment["git_dirty"] else ""
    return f"nodebench {environment['version']} at commit {commit[:10]}{changed}"


def git_state(file: Path) -> dict[str, Any]:
    """The commit of the checkout that tracks `file`, and whether tracked files differ from it; None if none does.

    An installed package may lie inside somebody else's repository (a .venv does): that commit says nothing.
    """
    if _git(file.parent, "ls-files", "--error-unmatch", file.name) is None:
        return {"git_commit": None, "git_dirty": None}
    changes = _git(file.parent, "status", "--porcelain", "--untracked-files=no")
    commit = _git(file.parent, "rev-parse", "HEAD")
    if (
        changes is None or commit is None
    ):  # git may fail at any moment; half of the answer would be a wrong one
        return {"git_commit": None, "git_dirty": None}
    return {"git_commit": commit, "git_dirty": bool(changes)}


def _git(folder: Path, *arguments: str) -> str | None:
    """The output of a git command, None if git is missing or refuses."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
