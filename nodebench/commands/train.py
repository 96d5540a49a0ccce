"""`nodebench train`: compose, check, build, train; a finished run is shown and not trained again."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from collections.abc import Sequence

from nodebench.commands.arguments import JOBS_HELP, Parser, count
from nodebench.config.check import check
from nodebench.config.compose import Composed, compose
from nodebench.config.errors import ConfigError
from nodebench.config.files import CONFIG_DIR_HELP
from nodebench.config.identity import run_folder
from nodebench.config.saved import experiment_text
from nodebench.ranks import Place, place_here

EXAMPLES = """examples:
  nodebench train experiment=digits
  nodebench train model=rknet solver=rk4 solver.dt=0.25 training.epochs=4
  nodebench train -m model=odenet,rknet solver.tol=1e-1,1e-2,1e-3 seed=0,1,2
  nodebench train experiment=digits --dry-run

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
    parser.add_argument("--jobs", type=count, metavar="N", help=f"with -m: {JOBS_HELP}")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="show plan, folder and cost, with -m how far each run is; write nothing",
    )
    parser.add_argument(
        "--print-config",
        action="store_true",
        help="print the config as the YAML of an experiment, and train nothing",
    )
    parser.add_argument("--config-dir", help=CONFIG_DIR_HELP)
    args = parser.parse_intermixed_args(argv)
    place = place_here()
    if args.multirun:
        if place is not None:
            raise ConfigError(
                f"-m trains many runs, and torchrun has started {place.number} processes that train one together; "
                "leave out torchrun (--jobs trains several runs at a time), or leave out -m"
            )
        return _sweep(args)
    if args.jobs is not None:
        raise ConfigError("--jobs is for the runs of a sweep; add -m, or leave it out")
    composed = compose(args.overrides, args.config_dir)
    check(composed.config)
    if place is not None and place.rank and (args.print_config or args.dry_run):
        return 0  # the first process prints it
    if args.print_config:
        for note in composed.notes:
            print(f"note: {note}", file=sys.stderr)
        print(experiment_text(composed.config, shlex.join(["nodebench", "train", *args.overrides])), end="")
        return 0
    if args.dry_run:
        from nodebench.commands.dry_run import dry_run
        from nodebench.commands.members import Member

        return dry_run(Member(tuple(args.overrides), composed), args.config_dir)
    return _train(composed, args.config_dir, place)


def _train(composed: Composed, config_dir: str | None, place: Place | None) -> int:
    """Train, show what came of it, and return the exit code; of several processes the first shows it."""
    from nodebench.commands.results import show_results
    from nodebench.commands.session import train_run
    from nodebench.records.jobs import jobs_here
    from nodebench.training import RunFolderError

    try:
        if place is None:
            outcome = train_run(composed, config_dir)
        else:
            from nodebench.commands.processes import train_together

            outcome = train_together(place, composed, config_dir)
    except RunFolderError as error:  # busy, or not to be written: the run itself is as it was
        print(f"nodebench: {error}", file=sys.stderr)
        return 1
    # SIGHUP says that the terminal is gone; a sweep has one table of all.
    is_first = place is None or place.rank == 0
    if outcome.signal != signal.SIGHUP and not jobs_here() and is_first:
        show_results([run_folder(composed.config)], composed.config["output_dir"])
    if outcome.status == "finished":
        return 0
    if outcome.signal is not None:
        return 128 + outcome.signal
    whose = "" if place is None or place.rank == 0 else f" (rank {place.rank})"
    print(f"nodebench{whose}: the run is {outcome.status}: {outcome.reason}", file=sys.stderr)
    return 1


def _sweep(args: argparse.Namespace) -> int:
    if args.print_config:
        raise ConfigError("--print-config prints the config of one run; leave out -m")
    if args.dry_run:
        from nodebench.commands.dry_run import dry_run_of_sweep

        return dry_run_of_sweep(args.overrides, args.config_dir)
    from nodebench.commands.sweep import sweep

    return sweep(args.overrides, args.config_dir, args.jobs)
