"""A trained run as objects again: its net with the newest checkpoint's weights, its data and its task."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nodebench.commands.destinations import check_folder
from nodebench.config.build import Builder, Data, pick_device, use_threads
from nodebench.config.errors import ConfigError, FailedError
from nodebench.config.files import config_folders, shipped_targets
from nodebench.config.own_code import own_code
from nodebench.data import ImageData
from nodebench.models.classifiers import ODENet
from nodebench.ode import SolverError
from nodebench.tasks.classification import Classification
from nodebench.training import RunFolder, RunFolderError, Task, load_trained_weights, seed_everything
from nodebench.training.environment import describe_environment
from nodebench.training.progress import say
from nodebench.training.protocols import NonFiniteValuesError
from nodebench.training.storage import append_durably


@dataclass(frozen=True)
class Trained:
    """`model`, on `device`, has the weights of `step`, the averaged ones where averaging was on."""

    model: nn.Module
    data: Data
    task: Task
    device: torch.device
    step: int


def load_trained(
    folder: Path, config: dict[str, Any], config_dir: str | None = None, limit: int | None = None
) -> Trained:
    """The run in `folder` as `config` has it; `limit` keeps the first test images only.

    Raises ConfigError if there is no readable checkpoint of this net, or if data or net cannot be built, FailedError
    if its weights are NaN or infinite.
    """
    for change in RunFolder(folder, own_code=own_code(config)).own_code_changes():
        say(f"warning: {change}; what follows may not be of the net that was trained")
    device = pick_device(config["device"])
    use_threads(config.get("num_threads"))
    try:
        builder = Builder(config, shipped_targets(config_folders(config_dir)))
        seed_everything(config["seed"], config["deterministic"])
        data = builder.data()
        if isinstance(data, ImageData) and not len(data.test):
            raise ConfigError(f"{data.name} has no test images, so there is nothing to evaluate")
        if limit is not None and isinstance(data, ImageData):
            data = data.tested_on(limit)
        model = builder.model(data.dim)
        step = load_trained_weights(folder / "checkpoints", model)
        task = builder.task(data, device)
    except (ValueError, RunFolderError) as error:
        raise ConfigError(str(error)) from error
    except NonFiniteValuesError as error:
        raise FailedError(str(error)) from error
    return Trained(model.to(device), data, task, device, step)


@contextmanager
def failures_told(what: str = "the solve") -> Iterator[None]:
    """Within, a solve that fails and values that are not finite are a FailedError, which says of `what`."""
    try:
        yield
    except SolverError as error:
        raise FailedError(f"{what} failed: {error}") from error
    except NonFiniteValuesError as error:
        raise FailedError(str(error)) from error


def check_has_solve(config: dict[str, Any], command: str) -> None:
    """Raises ConfigError unless the run is a classifier with an ODE, which `command` is about."""
    name = config["model"]["name"]
    if "solver" not in config:
        raise ConfigError(
            f"{name} has no ODE to solve, which `nodebench {command}` is about; name a run of odenet or rknet"
        )
    if config["task"]["name"] != "classification":
        raise ConfigError(
            f"{name} is a flow, and `nodebench {command}` is for classifiers with an ODE, odenet or rknet; "
            "`nodebench evaluate RUN solver.tol=...` evaluates a flow with another solver or tolerance"
        )


def classifier_with_ode(trained: Trained) -> tuple[ODENet, Classification, ImageData]:
    """Net, task and data of a run that `check_has_solve` let through. Raises ConfigError for a net of one's own."""
    model, task, data = trained.model, trained.task, trained.data
    if isinstance(model, ODENet) and isinstance(task, Classification) and isinstance(data, ImageData):
        return model, task, data
    raise ConfigError(
        f"{type(model).__name__} is no ODENet, with its stem, ODE block and head, so its solves cannot be taken apart"
    )


def evaluation_record(
    trained: Trained, kind: str, columns: Mapping[str, Any], solver: Mapping[str, Any] | None
) -> dict[str, Any]:
    """An evaluation as evaluations.jsonl has it, with what it was made with."""
    environment = describe_environment(trained.device)
    return {
        "kind": kind,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "step": trained.step,
        **columns,
        **({"num_images": len(trained.data.test)} if isinstance(trained.data, ImageData) else {}),
        "solver": None if solver is None else dict(solver),
        **{key: environment[key] for key in ("version", "git_commit", "device", "device_name")},
    }


def say_if_not_recorded(folder: Path) -> None:
    """Say on stderr that nothing can be written into the run folder, before minutes are spent on a record."""
    try:
        check_folder(folder)
    except OSError as error:
        say(
            f"note: nothing can be written into `{folder}` ({error.strerror}): results are shown and not recorded"
        )


def append_evaluation(folder: Path, record: Mapping[str, Any]) -> None:
    """Append the record to the run's evaluations.jsonl; a last line that was cut off stays, as a line of its own.

    Raises FailedError if the file cannot be written.
    """
    path = folder / "evaluations.jsonl"
    line = f"{json.dumps(record, allow_nan=False)}\n"
    try:
        append_durably(path, f"{_end_of_line(path)}{line}".encode())
    except RunFolderError as error:
        reason = error.__cause__.strerror if isinstance(error.__cause__, OSError) else error
        raise FailedError(
            f"not recorded: `{path}` cannot be written ({reason}); make it writable, or evaluate a copy of the run"
        ) from error


def _end_of_line(path: Path) -> str:
    """What ends a last line that a kill has cut off, so that the next record is not lost with it."""
    try:
        content = path.read_bytes()
    except OSError:
        return ""  # not there; if it cannot be read, appending says so
    return "\n" if content and not content.endswith(b"\n") else ""
