"""`nodebench train`: compose, check, build, train; a finished run is shown and not trained again."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodebench.commands.arguments import Parser
from nodebench.commands.destinations import check_folder
from nodebench.config.check import check
from nodebench.config.compose import Composed, compose
from nodebench.config.errors import ConfigError
from nodebench.config.files import CONFIG_DIR_HELP, config_folders, flatten, shipped_targets
from nodebench.config.identity import run_folder
from nodebench.config.own_code import own_code
from nodebench.config.saved import config_text
from nodebench.counted import counted
from nodebench.ode.settings import precision_in_words, tolerances
from nodebench.quoting import plain
from nodebench.terminal import terminal_width, wrapped

if TYPE_CHECKING:
    from nodebench.training import Outcome

HPARAMS: dict[str, type] = {
    "model.name": str,
    "solver.method": str,
    "solver.tol": float,
    "model.gradient": str,
    "seed": int,
    **{"solver.dt": float, "solver.rtol": float, "solver.atol": float, "solver.adjoint.norm": str},
    **{"data.name": str, "data.batch_size": int, "optimizer.name": str, "optimizer.lr": float},
    **{"model.stem": str, "model.num_blocks": int, "model.width": int, "model.num_layers": int},
    **{"training.name": str, "training.epochs": int, "training.num_steps": int},
}
"""The columns of TensorBoard's HPARAMS with their types; the first five are shown unasked."""
MAX_NFE_IN_TRAINING = 100_000
"""Evaluations that one solve of a run may take where solver.max_nfe is null and the solver chooses its steps.

A net that can be trained takes hundreds; one whose weights have run away would take for ever.
"""
EXAMPLES = """examples:
  nodebench train experiment=digits
  nodebench train model=rknet solver=rk4 solver.dt=0.25 training.epochs=4
  nodebench train -m model=odenet,rknet solver.tol=1e-1,1e-2,1e-3 seed=0,1,2

`nodebench list` shows what can be chosen; every other key stands in configs/train.yaml."""


def run(argv: Sequence[str]) -> int:
    """Train one run, or with -m a sweep. Returns the exit code: 0, 1 if it failed, 128 + signal if interrupted."""
    parser = Parser(
        prog="nodebench train",
        description="Train a net. The same command again continues an unfinished run and skips a finished one.",
        epilog=EXAMPLES,
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="a choice or a setting")
    parser.add_argument(
        "-m", "--multirun", action="store_true", help="run every combination of KEY=A,B values"
    )
    parser.add_argument("--config-dir", help=CONFIG_DIR_HELP)
    args = parser.parse_intermixed_args(argv)
    if args.multirun:
        from nodebench.commands.sweep import sweep

        return sweep(args.overrides, args.config_dir)
    composed = compose(args.overrides, args.config_dir)
    check(composed.config)
    from nodebench.training import RunFolderError

    try:
        outcome = train_run(composed, args.config_dir)
    except RunFolderError as error:  # busy, or not to be written: the run itself is as it was
        print(f"nodebench: {error}", file=sys.stderr)
        return 1
    if outcome.signal != signal.SIGHUP:  # which says that the terminal is gone
        show_results([run_folder(composed.config)], composed.config["output_dir"])
    if outcome.status == "finished":
        return 0
    if outcome.signal is not None:
        return 128 + outcome.signal
    print(f"nodebench: the run is {outcome.status}: {outcome.reason}", file=sys.stderr)
    return 1


def train_run(composed: Composed, config_dir: str | Path | None = None) -> Any:
    """Train what `composed` says, unless it is finished, and return training's Outcome.

    A bug while training becomes an outcome `failed`, its traceback in the run's log.txt. Raises ConfigError if data,
    net or settings cannot be built, and then nothing is written; RunFolderError if the folder is busy or cannot be
    written.
    """
    from nodebench.training import Outcome, RunFolder, RunFolderError, finished_outcome, train
    from nodebench.training.storage import named_disk_errors

    config = composed.config
    folder, force = run_folder(config), config["training"]["force"]
    print(f"run       {plain(str(folder))}", flush=True)  # one word, to be copied, however long it is
    _print(f"note      {note}" for note in composed.notes)
    run = RunFolder(folder, config_text(config), _hparams(config), force, own_code(config))
    finished = None if force else finished_outcome(run)
    if finished is not None:
        return finished
    with named_disk_errors(folder):
        check_folder(folder)
    task, model, make_optimizer, settings, plan = _build(config, config_dir)
    _print(plan)
    try:
        with run:
            return _naming_the_budget(train(task, model, make_optimizer, settings, run))
    except RunFolderError:
        raise
    except Exception as error:
        from nodebench.config.size import is_out_of_memory, out_of_memory

        reason = out_of_memory(config) if is_out_of_memory(error) else f"{type(error).__name__}: {error}"
        return Outcome("failed", {}, f"{reason} (full traceback in {folder / 'log.txt'})")


def _print(lines: Iterable[str]) -> None:
    """Lines of a word and what there is to say about it, which goes on below itself where the terminal ends."""
    width = terminal_width(sys.stdout)
    for line in lines:
        print(wrapped(plain(line), width, indent=10), flush=True)


def _naming_the_budget(outcome: Outcome) -> Outcome:
    """The outcome, its reason with the key that raises a budget which nobody set."""
    budget = f"max_nfe={MAX_NFE_IN_TRAINING}"
    if outcome.reason is None or f"{budget} reached" not in outcome.reason:
        return outcome
    whose = (
        f"{budget} is what solver.max_nfe=null allows a solve in training; solver.max_nfe=... sets another"
    )
    return replace(outcome, reason=f"{outcome.reason}. {whose}")


def show_results(folders: Sequence[Path], output_dir: str, settings: Sequence[str] = ()) -> None:
    """Print the result table of these run folders, of one run a summary, and the commands that show more.

    `settings` are keys of config.yaml, such as model.width: further columns, where one of the runs has them.
    """
    from nodebench.records import Shown
    from nodebench.reporting import find_runs, result_summary, result_table, with_values
    from nodebench.reporting.columns import columns_of, default_columns

    runs = [run for folder in folders for run in find_runs(folder)]
    if runs:
        found = [key for key in settings if any(run.setting(key) is not None for run in runs)]
        usual = default_columns(columns_of(runs), Shown.AFTER_TRAINING)
        columns, width = with_values(runs, (*usual, *found)), terminal_width(sys.stdout)
        table = result_table(runs, columns, width=width) if runs[1:] else result_summary(runs, columns, width)
        print(f"\n{table}")
    runs_there = shlex.quote(output_dir)
    print(f"\ncurves    tensorboard --logdir {runs_there}\ntable     nodebench table --runs {runs_there}")


def _build(config: dict[str, Any], config_dir: str | Path | None) -> tuple[Any, ...]:
    """Task, model, optimizer factory, settings, and the plan in words. User errors become ConfigError."""
    from nodebench.config.build import Builder, pick_device, training_settings, use_threads
    from nodebench.models.ode_block import ode_blocks
    from nodebench.training import seed_everything

    device = pick_device(config["device"])
    use_threads(config["num_threads"])
    try:
        builder = Builder(config, shipped_targets(config_folders(config_dir)))
        builder.check_fit()
        data = builder.data()
        task = builder.task(data, device)
        seed_everything(config["seed"], config["deterministic"])  # the initial weights follow from the seed
        model = builder.model(data.dim)
        for block in ode_blocks(model):
            block.default_max_nfe = MAX_NFE_IN_TRAINING
        settings = training_settings(config, task.steps_per_epoch, device)
        make_optimizer = builder.make_optimizer()
        try:
            make_optimizer(model.parameters())  # to hear of a value that it refuses before the run begins
        except TypeError as error:
            raise ConfigError(f"the optimizer refuses one of its values: {error}") from error
    except ValueError as error:
        raise ConfigError(str(error)) from error
    plan = list(_plan(config, data, model, settings, task.sample_unit))
    return task, model, make_optimizer, settings, plan


def _hparams(config: dict[str, Any]) -> dict[str, bool | int | float | str | type]:
    """What TensorBoard lists beside the final metrics: what runs are compared by. The whole config is under TEXT."""
    values = dict(flatten(config))
    return {key: kind if values.get(key) is None else values[key] for key, kind in HPARAMS.items()}


def _plan(config: dict[str, Any], data: Any, model: Any, settings: Any, unit: str) -> Iterator[str]:
    num_params = sum(parameter.numel() for parameter in model.parameters())
    gradient = f", gradient {config['model']['gradient']}" if "solver" in config else ""
    yield f"net       {config['model']['name']}, {counted(num_params, 'parameter')}{gradient}"
    if "solver" in config:
        yield f"solver    {describe_solver(config['solver'])}"
    yield f"data      {config['data']['name']}: {data.describe()}"
    yield from (f"note      {note}" for note in data.notes)
    length = f"{counted(config['training']['epochs'], 'epoch')}, " if config["training"]["epochs"] else ""
    optimizer = f"{config['optimizer']['name']} with lr {config['optimizer']['lr']:g}"
    yield (
        f"training  {config['training']['name']}: {length}{counted(settings.num_steps, 'step')} of "
        f"{counted(data.batch_size, unit.removesuffix('s'))}; {optimizer}; on {settings.device}"
    )
    if config["deterministic"] and settings.device.type == "cpu":
        yield "note      deterministic=true is for a GPU; on the CPU a run repeats itself without it"
    if config["compile"]:
        yield f"compile   {_compile_words(model, settings.device)}"


def _compile_words(model: Any, device: Any) -> str:
    from nodebench.config.build import why_eager
    from nodebench.models.ode_block import ode_blocks

    reason = why_eager(model, device)
    if reason is not None:
        return f"off: {reason}; the run is eager"
    blocks = ode_blocks(model)
    steps = any(block.solver.compile for block in blocks)
    what = "the solver's steps" if steps else "the vector field" if blocks else "the net"
    return f"{what}, at the first step: up to two minutes, less when the same has been compiled here before"


def describe_solver(solver: dict[str, Any]) -> str:
    """`dopri5, tol 0.001`, or `rk4, dt 0.25`."""
    return ", ".join([solver["method"], *precision_in_words(*tolerances(solver), solver["dt"])])
