"""The one place where a config becomes what runs: data, task, net, optimizer, settings and run folder.

`train` and each member of a sweep train what `train_run` makes; evaluate, its --swap and measure take up what
`load_trained` makes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nodebench.commands import starting
from nodebench.commands.compile_gain import compile_advice
from nodebench.commands.destinations import check_runs
from nodebench.commands.plan import plan
from nodebench.config.build import Builder, pick_device, training_settings, use_threads
from nodebench.config.compose import Composed
from nodebench.config.errors import ConfigError, FailedError
from nodebench.config.files import config_folders, flatten, shipped_targets
from nodebench.config.identity import run_folder
from nodebench.config.own_code import own_code
from nodebench.config.saved import config_text
from nodebench.config.size import is_out_of_memory, out_of_memory
from nodebench.config.start import check_extension, is_forced, start_from_source, started_otherwise
from nodebench.counted import counted
from nodebench.data import Data
from nodebench.models.ode_block import ode_blocks
from nodebench.ode.settings import BUDGETS
from nodebench.quoting import plain
from nodebench.records.lock import refuse_if_held
from nodebench.terminal import tell
from nodebench.training import (
    Outcome,
    RunFolder,
    RunFolderError,
    Task,
    TrainingSettings,
    finished_outcome,
    load_trained_weights,
    seed_everything,
    train,
)
from nodebench.training.checkpoints import LAST
from nodebench.training.extension import extend
from nodebench.training.follower import follow
from nodebench.training.processes import Several
from nodebench.training.progress import say
from nodebench.training.protocols import NonFiniteValuesError
from nodebench.training.seeding import preserved_rng
from nodebench.training.state import MakeOptimizer

HPARAMS: dict[str, type] = {
    "model.name": str,
    "solver.method": str,
    "solver.tol": float,
    "model.gradient": str,
    "seed": int,
    **{"solver.dt": float, "solver.rtol": float, "solver.atol": float, "solver.adjoint.norm": str},
    **{"data.name": str, "data.batch_size": int, "optimizer.name": str, "optimizer.lr": float},
    **{"model.stem": str, "model.num_blocks": int, "model.width": int, "model.num_layers": int},
    **{"data.num_observed": int, "model.encoder": str, "model.cell": str, "model.observation_noise": str},
    **{"precision": str, "training.name": str, "training.epochs": int, "training.num_steps": int},
}
"""The columns of TensorBoard's HPARAMS with their types; the first five are shown unasked."""
MAX_NFE_IN_TRAINING = 100_000
"""Evaluations that one solve of a run may take where solver.max_nfe is null and the solver chooses its steps.

A net that can be trained takes hundreds; one whose weights have run away would take for ever.
"""
_OF_A_SHARE = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)
_SPENT = re.compile(rf"\b({'|'.join(BUDGETS)})=(\d+) reached")


@dataclass(frozen=True)
class Session:
    """What a config says, as objects; `model` has the weights of `step`, 0 being the initial ones."""

    builder: Builder
    data: Data
    task: Task
    model: nn.Module
    device: torch.device
    step: int = 0


def assemble(config: Mapping[str, Any], config_dir: str | Path | None = None) -> Session:
    """Data, task and net, whose initial weights follow from the seed; this process' start is over.

    Raises ConfigError if they do not fit each other, or one cannot be built.
    """
    starting.over()
    device = pick_device(config["device"])
    use_threads(config.get("num_threads"))
    try:
        builder = Builder(config, shipped_targets(config_folders(config_dir)))
        builder.check_fit()
        data = builder.data()
        task = builder.task(data, device)
        seed_everything(config["seed"], config["deterministic"])
        model = builder.model(data.dim)
        if check_model := getattr(task, "check_model", None):
            check_model(model)
        return Session(builder, data, task, model, device)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def load_trained(
    folder: Path, config: Mapping[str, Any], config_dir: str | Path | None = None, checkpoint: str = LAST
) -> Session:
    """The run in `folder` as `config` has it, its net on the device with the weights of a checkpoint: LAST or BEST.

    They are the averaged ones where averaging was on. Raises ConfigError if there is no readable checkpoint of this
    net, or if data or net cannot be built, FailedError if its weights are NaN or infinite.
    """
    for change in RunFolder(folder, own_code=own_code(config)).own_code_changes():
        say(f"warning: {change}; what follows may not be of the net that was trained")
    session = assemble(config, config_dir)
    try:
        step = load_trained_weights(folder / "checkpoints", session.model, checkpoint)
    except (ValueError, RunFolderError) as error:
        raise ConfigError(str(error)) from error
    except NonFiniteValuesError as error:
        raise FailedError(str(error)) from error
    return replace(session, model=session.model.to(session.device), step=step)


def solved_as(session: Session, config: Mapping[str, Any]) -> Session:
    """The same data, task and weights, in a net of its own that solves as `config` says.

    Raises ConfigError if the net cannot be solved so.
    """
    builder = Builder(config, session.builder.allowed)
    try:
        builder.check_fit()
        with preserved_rng():  # its initial weights are drawn, and replaced
            model = builder.model(session.data.dim)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    model.load_state_dict(session.model.state_dict())
    return replace(session, builder=builder, model=model.to(session.device))


def train_run(
    composed: Composed, config_dir: str | Path | None = None, processes: Several | None = None
) -> Outcome:
    """Train what `composed` says, unless it is finished; with several `processes`, as the first of them.

    A bug while training becomes an outcome `failed`, its traceback in the run's log.txt. Raises ConfigError if data,
    net or settings cannot be built or the folder cannot be written, and then nothing is; RunFolderError if it is held.
    """
    config = composed.config
    folder, force = run_folder(config), is_forced(config)
    source = run_to_extend(config)
    print(f"run       {plain(str(folder))}", flush=True)  # one word, to be copied, however long it is
    for note in composed.notes:
        tell(f"note      {note}")
    if config["training"]["force"] and not force:
        tell("note      this job began it anew before it was requeued, and goes on with it")
    run = RunFolder(folder, config_text(config), _hparams(config), force, own_code(config))
    finished = None if force else finished_outcome(run)
    if finished is not None:
        return finished
    check_runs(folder)
    refuse_if_held(folder)
    for other in started_otherwise(config):
        tell(
            f"note      {other} started from other weights of {config['training']['from']}, trained anew since"
        )
    from torch import _dynamo  # noqa: F401  (imported by torch's optimizers, and better while a process starts)

    session = assemble(config, config_dir)
    make_optimizer, settings = how_to_train(session)
    for line in plan(config, session.data, session.task, session.model, settings):
        tell(line)
    if processes is not None:
        for line in shared_words(session, processes.number):
            tell(line)
    logger = session.builder.logger(folder)
    if processes is None:
        advise = compile_advice(composed, config_dir, session.task, make_optimizer, settings)
        settings = replace(settings, advise=advise)
    try:
        with run:
            if source is not None:
                extend(run, source, settings.num_steps, session.task.steps_per_epoch)
            outcome = train(session.task, session.model, make_optimizer, settings, run, logger, processes)
            if outcome.status == "finished" and not config["training"].get("keep_checkpoints", True):
                run.remove_checkpoints()  # its summary is on the disk
            return _naming_the_budget(outcome)
    except RunFolderError:
        raise
    except Exception as error:
        reason = out_of_memory(config) if is_out_of_memory(error) else f"{type(error).__name__}: {error}"
        return Outcome("failed", {}, f"{reason} (full traceback in {folder / 'log.txt'})")


def follow_run(composed: Composed, config_dir: str | Path | None, processes: Several) -> Outcome:
    """Train what `composed` says as one of several processes beside the first. Raises as train_run, and for bugs."""
    session = assemble(composed.config, config_dir)
    make_optimizer, settings = how_to_train(session)
    for _ in shared_words(session, processes.number):  # raises for what cannot be shared
        pass
    return follow(session.task, session.model, make_optimizer, settings, processes)


def shared_words(session: Session, number: int) -> Iterator[str]:
    """A line on how so many processes share a batch, and one on what of the net sees its share alone.

    Raises ConfigError for a task whose batches cannot be cut, and for one that has fewer rows than processes.
    """
    task, name = session.task, session.builder.config["task"]["name"]
    if not (hasattr(task, "size_of") and hasattr(task, "part")):
        raise ConfigError(
            f"task={name} is for one process: its class has no size_of(batch) and part(batch, rows), by which several "
            "share a batch (docs/scale.md); leave out torchrun"
        )
    size = task.size_of(task.batch(0))
    if size < number:
        raise ConfigError(
            f"a batch has {counted(size, 'row')}, and torchrun has started {number} processes, which need one each; "
            "raise data.batch_size, or start fewer"
        )
    yield f"shared by {number} processes, {size / number:g} of {size:,} {task.sample_unit} of a batch each"
    alone = [part for part in session.model.modules() if isinstance(part, _OF_A_SHARE)]
    if alone:
        yield (
            f"note      {type(alone[0]).__name__} sees each process's share of a batch, so the numbers are not those "
            "of one process"
        )


def run_to_extend(config: Mapping[str, Any]) -> Path | None:
    """The run that training.extend names; None where it names none, or this one has already begun.

    Raises ConfigError for one that cannot be extended to this.
    """
    run = RunFolder(run_folder(config))
    has_begun = run.checkpoints.is_dir() or run.is_finished()
    return None if has_begun and not is_forced(config) else check_extension(config)


def how_to_train(session: Session) -> tuple[MakeOptimizer, TrainingSettings]:
    """The optimizer and the settings of a session, whose net gets the weights to start from and its solves a budget.

    Raises ConfigError for bad values, and for weights of another net.
    """
    start_from_source(session.builder.config, session.model)
    for block in ode_blocks(session.model):
        block.default_max_nfe = MAX_NFE_IN_TRAINING
    try:
        settings = training_settings(session.builder.config, session.task.steps_per_epoch, session.device)
        make_optimizer = session.builder.make_optimizer()
    except ValueError as error:
        raise ConfigError(str(error)) from error
    _check_patience(session, settings.patience)
    try:
        make_optimizer(session.model.parameters())  # to hear of what it refuses before the run begins
    except (TypeError, ValueError) as error:
        optimizer, model = (session.builder.config[node]["name"] for node in ("optimizer", "model"))
        raise ConfigError(f"optimizer={optimizer} cannot be made for model={model}: {error}") from error
    return make_optimizer, settings


def _check_patience(session: Session, patience: int | None) -> None:
    """Raises ConfigError where training is to stop by a validation split and there is none."""
    if patience is None or getattr(session.task, "best_by", None) is not None:
        return
    data = session.builder.config["data"]
    held_out = [f"data.{key} above 0" for key in ("val_size", "val_share") if key in data]
    raise ConfigError(
        f"training.patience={patience} stops by the validation split, and of data={data['name']} nothing is held out; "
        f"{' or '.join(['drop it', *(f'give {key}' for key in held_out)])}"
    )


def _naming_the_budget(outcome: Outcome) -> Outcome:
    """The outcome, its reason with the key of a spent budget, which perhaps nobody set, and what a larger one does."""
    spent = None if outcome.reason is None else _SPENT.search(outcome.reason)
    if outcome.reason is None or spent is None:
        return outcome
    reason, name = naming_the_key(outcome.reason), spent[1]
    if spent[0] == f"max_nfe={MAX_NFE_IN_TRAINING} reached":
        reason = (
            f"{outcome.reason}. max_nfe={spent[2]} is what solver.max_nfe=null allows a solve in training"
        )
    return replace(
        outcome, reason=f"{reason}. With a larger solver.{name} this run goes on from its last checkpoint"
    )


def naming_the_key(words: str) -> str:
    """What a solve says of its failure, a spent budget by the name of its key."""
    return _SPENT.sub(r"solver.\1=\2 reached", words)


def _hparams(config: Mapping[str, Any]) -> dict[str, bool | int | float | str | type]:
    """What TensorBoard lists beside the final metrics: what runs are compared by. The whole config is under TEXT."""
    values = dict(flatten(dict(config)))
    return {key: kind if values.get(key) is None else values[key] for key, kind in HPARAMS.items()}
