"""What is done with a trained run: whether it can be, what its failures mean, and the records of evaluations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nodebench.commands.destinations import check_folder
from nodebench.commands.session import Session, naming_the_key
from nodebench.config.errors import ConfigError, FailedError
from nodebench.data import ImageData
from nodebench.models.classifiers import ODENet
from nodebench.ode import SolverError
from nodebench.records import evaluations
from nodebench.tasks.classification import Classification
from nodebench.training import RunFolderError
from nodebench.training.environment import describe_environment
from nodebench.training.progress import say
from nodebench.training.protocols import NonFiniteValuesError


@contextmanager
def failures_told(what: str = "the solve") -> Iterator[None]:
    """Within, a solve that fails and values that are not finite are a FailedError, which says of `what`."""
    try:
        yield
    except SolverError as error:
        raise FailedError(f"{what} failed: {naming_the_key(str(error))}") from error
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
            f"{name} is no classifier, and `nodebench {command}` is for classifiers with an ODE, odenet or rknet; "
            "`nodebench evaluate RUN solver.tol=...` evaluates it with another solver or tolerance"
        )


def classifier_with_ode(trained: Session) -> tuple[ODENet, Classification, ImageData]:
    """Net, task and data of a run that `check_has_solve` let through. Raises ConfigError for a net of one's own."""
    model, task, data = trained.model, trained.task, trained.data
    if isinstance(model, ODENet) and isinstance(task, Classification) and isinstance(data, ImageData):
        return model, task, data
    raise ConfigError(
        f"{type(model).__name__} is no ODENet, with its stem, ODE block and head, so its solves cannot be taken apart"
    )


def evaluation_record(
    trained: Session, kind: str, columns: Mapping[str, Any], solver: Mapping[str, Any] | None
) -> dict[str, Any]:
    """An evaluation as evaluations.jsonl has it, with what it was made with."""
    environment = describe_environment(trained.device)
    return {
        "kind": kind,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "step": trained.step,
        **columns,
        **trained.data.test_columns(),
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
    """Append the record to the run's evaluations.jsonl. Raises FailedError if the file cannot be written."""
    try:
        evaluations.append(folder, record)
    except RunFolderError as error:
        if not isinstance(error.__cause__, OSError):  # a link, which the error says what to do about
            raise FailedError(f"not recorded: {error}") from error
        raise FailedError(
            f"not recorded: `{folder / evaluations.FILE}` cannot be written ({error.__cause__.strerror}); make it "
            "writable, or evaluate a copy of the run"
        ) from error
