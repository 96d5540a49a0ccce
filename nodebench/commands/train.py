"""`nodebench train`: compose, check, build, train; a finished run is shown and not trained again."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

from nodebench.commands.arguments import Parser
from nodebench.config.check import check
from nodebench.config.compose import compose
from nodebench.config.files import CONFIG_DIR_HELP
from nodebench.config.identity import run_folder

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
    from nodebench.commands.results import show_results
    from nodebench.commands.session import train_run
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
