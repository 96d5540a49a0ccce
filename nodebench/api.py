"""What a program in Python is given of runs: `nodebench.load` and `nodebench.runs`. docs/python.md shows them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from nodebench.commands.evaluate import evaluated_as
from nodebench.commands.predictions import predictions
from nodebench.commands.session import Session, load_trained, solved_as
from nodebench.commands.trained import failures_told
from nodebench.config.build import compile_evaluation, why_eager
from nodebench.config.errors import ConfigError, FailedError
from nodebench.config.saved import read_config
from nodebench.data import Data
from nodebench.reporting.frame import frame_of
from nodebench.reporting.runs import find_runs, nothing_under
from nodebench.reporting.tables import UnknownColumnError
from nodebench.training import Task
from nodebench.training.checkpoints import BEST, LAST
from nodebench.training.seeding import preserved_rng

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["ConfigError", "FailedError", "TrainedRun", "load", "runs"]


@dataclass(frozen=True, eq=False, repr=False)
class TrainedRun:
    """A trained run, taken up by `nodebench.load`.

    folder: the run folder. config: what it was trained with, with the changes that were asked for.
    """

    folder: Path
    config: dict[str, Any]
    _session: Session

    def __repr__(self) -> str:
        return f"TrainedRun({str(self.folder)!r}, step={self.step})"

    @property
    def model(self) -> nn.Module:
        """The net in evaluation mode, with the weights that are evaluated: averaged ones where averaging was on."""
        return self._session.model

    @property
    def task(self) -> Task:
        """What it was trained on, with its data: batches, the loss, the evaluation."""
        return self._session.task

    @property
    def data(self) -> Data:
        return self._session.data

    @property
    def device(self) -> torch.device:
        return self._session.device

    @property
    def step(self) -> int:
        """The optimizer step of the weights."""
        return self._session.step

    def evaluate(
        self, solver: str | None = None, split: Literal["val", "test"] = "test", **settings: Any
    ) -> dict[str, float]:
        """The columns that `nodebench evaluate` prints, of the weights as they are in `model`; nothing is recorded.

        solver: the name of another solver, `"rk4"`. `settings` are the keys below solver of `nodebench list settings`:
        `run.evaluate("rk4", dt=0.25)` is `nodebench evaluate RUN solver=rk4 solver.dt=0.25`, and another solver keeps
        the run's tolerance if it needs one. `model` goes on solving as it did. `split`: "val" gives nothing where
        nothing was held out.
        Raises ConfigError for a solver or setting that cannot be, FailedError if a solve fails or gives NaN.
        """
        session = self._solved(solver, settings)
        with failures_told(), preserved_rng():
            return session.task.evaluate(session.model, split)

    def predictions(
        self, solver: str | None = None, split: Literal["val", "test"] = "test", **settings: Any
    ) -> DataFrame:
        """What the net says of each sample of a split, a row each: what `nodebench evaluate --predictions` writes.

        Of a classifier `image`, `label`, `predicted`, `probability`, `nll`; of a flow the points or samples with their
        log-densities; of a sequence model the errors and likelihoods of each series. Arguments and errors are those of
        `evaluate`.
        """
        with preserved_rng():
            return predictions(self._solved(solver, settings), split)

    def solved(self, solver: str | None = None, *, compile: bool = False, **settings: Any) -> nn.Module:
        """A net with the same weights that solves so, in evaluation mode; `model` itself where nothing is given.

        `compile`: a net of its own, whose steps are compiled from the fourth batch of a shape on, for many batches
        under torch.no_grad(): that batch takes up to a minute longer, and results are the same to rounding, which may
        move a step. A field that is solved by no explicit Runge-Kutta method, or a net without an ODE, is compiled at
        its first batch. Other arguments and errors are those of `evaluate`; ConfigError also where
        nothing can be compiled.
        """
        session = self._solved(solver, settings)
        if not compile:
            return session.model.eval()
        if reason := why_eager(session.model, session.device):
            raise ConfigError(f"compile=True would change nothing: {reason}; leave it out")
        model = session.model if session is not self._session else solved_as(session, self.config).model
        compile_evaluation(model)
        return model.eval()

    def _solved(self, solver: str | None, settings: dict[str, Any]) -> Session:
        given = [f"solver.{key}={_written(value)}" for key, value in settings.items()]
        if solver is not None:
            given.insert(0, f"solver={solver}")
        return solved_as(self._session, evaluated_as(self.config, given)) if given else self._session


def load(
    folder: str | Path,
    *changes: str,
    checkpoint: Literal["last", "best"] = "last",
    config_dir: str | Path | None = None,
) -> TrainedRun:
    """The trained run in `folder` (.../seed0), its net on the device with the weights of a checkpoint.

    changes: as of `nodebench evaluate`, `"device=cpu"` or `"data.root=/elsewhere"`. checkpoint: the weights
    that training ended with, or those that did best on the validation split. config_dir: the folder of configs of your
    own, where the run was trained with one; what they name as `_target_` is imported. torch's threads, its flags and
    random numbers stay as they are. Raises ConfigError, a ValueError, if it is no run folder, has no readable
    checkpoint, or data or net cannot be built, FailedError, a RuntimeError, if the weights are not finite.
    """
    if checkpoint not in (LAST, BEST):
        raise ConfigError(f"checkpoint={checkpoint!r} is not possible; it must be {LAST!r} or {BEST!r}")
    place = Path(folder).expanduser()
    directory = None if config_dir is None else str(config_dir)
    config = evaluated_as(read_config(place), changes, directory)
    with _as_it_was():
        session = load_trained(place, config, directory, checkpoint)
    session.model.eval()
    return TrainedRun(place, config, session)


def runs(folder: str | Path = "outputs", settings: Sequence[str] = ()) -> DataFrame:
    """Every run at or below `folder`, a row each: what it is, its status, its final numbers by the records' columns.

    settings: keys of config.yaml that become columns, `["optimizer.lr", "training.epochs"]`. Unfinished and failed
    runs are among them: see `status` and `problem`. Raises ConfigError if there is no such folder, or no run has one of
    the settings.
    """
    place = Path(folder).expanduser()
    if not place.is_dir():
        raise ConfigError(nothing_under(place))
    try:
        return frame_of(find_runs(place), settings)
    except UnknownColumnError as error:
        raise ConfigError(str(error)) from error


def _written(value: object) -> str:
    """A value as the command line has it."""
    return "null" if value is None else str(value)


@contextmanager
def _as_it_was() -> Iterator[None]:
    """Leave torch's threads and flags and all random numbers as they were: a program has its own."""
    threads, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
    deterministic = torch.are_deterministic_algorithms_enabled()
    with preserved_rng():
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(deterministic)
            torch.backends.cudnn.benchmark = benchmark
