"""One run of `nodebench train` on several processes, which torchrun starts and numbers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch

from nodebench.commands.session import follow_run, train_run
from nodebench.config.build import pick_device
from nodebench.config.compose import Composed
from nodebench.config.errors import ConfigError, FailedError
from nodebench.ode.methods.traits import known_methods
from nodebench.ranks import Place
from nodebench.training import Outcome
from nodebench.training.meetings import Meetings, ProcessesError
from nodebench.training.processes import Several


def train_together(place: Place, composed: Composed, config_dir: str | Path | None = None) -> Outcome:
    """Train what `composed` says as one of several processes: see train_run. All but the first say nothing.

    Raises ConfigError for a device or a solver that several cannot have, FailedError where they do not find each other,
    and what train_run raises; the others are told.
    """
    config = composed.config
    check_device_together(config["device"], place)
    check_solver_together(config)
    device = pick_device(config["device"])
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        meetings = Meetings(place, device)
    except ProcessesError as error:
        raise FailedError(str(error)) from error
    processes = Several(meetings)
    try:
        if place.rank == 0:
            outcome = train_run(composed, config_dir, processes)
        else:
            with _silently():
                outcome = follow_run(composed, config_dir, processes)
    except Exception as error:
        meetings.leave(f"{type(error).__name__}: {error}")
        raise
    meetings.leave()
    return outcome


def check_device_together(name: str, place: Place) -> None:
    """Raises ConfigError unless each process can have a device of its own, or all the CPU."""
    if name == "mps" or name.startswith("cuda:"):
        raise ConfigError(
            f"device={name} is one device, and torchrun has started {place.number} processes, which take one each; "
            "choose device=cuda or device=cpu"
        )
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return
    if place.local_rank >= (number := torch.cuda.device_count()):
        raise ConfigError(
            f"torchrun has started more processes here than there are GPUs ({number}); give it --nproc-per-node "
            f"{number}, or choose device=cpu"
        )


def check_solver_together(config: Mapping[str, Any]) -> None:
    """Raises ConfigError for a solver whose steps hang on more than an error that can be shared."""
    solver = config.get("solver")
    if not solver or not solver["sync"] or solver["steps"] == "per_sample" or solver["dt"] is not None:
        return
    backward = [solver["adjoint"]["method"]] if config["model"].get("gradient") == "adjoint" else []
    for method in (solver["method"], *backward):
        if method is not None and ((traits := known_methods()[method]).is_implicit or traits.is_self_driven):
            raise ConfigError(
                f"{method} iterates on the rows that a process has, so several processes cannot take the steps of the "
                "whole batch with it; let each take its own with solver.sync=false, or choose dopri5"
            )


@contextmanager
def _silently() -> Iterator[None]:
    """Within, nothing is printed: the first process says it."""
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield
