"""`nodebench plot`: the paper's figures, and the curves of training, drawn from run folders."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from nodebench.commands.arguments import Parser, folder, place
from nodebench.commands.destinations import check_folder, writing_to
from nodebench.commands.recipes import recipes_of
from nodebench.commands.run_argument import check_no_file, runs_under
from nodebench.config.errors import ConfigError, did_you_mean
from nodebench.quoting import plain
from nodebench.records.metrics import PLACES
from nodebench.reporting.figures import NothingToDrawError, draw, figure_names
from nodebench.reporting.runs import find_runs, nothing_under

CURVES, OF_CURVES = "curves", ("columns", "x", "group")
EXAMPLES = """examples:
  nodebench plot fig5 --animate
  nodebench plot curves --columns loss_train,error_test --group model.name"""


def run(argv: Sequence[str]) -> int:
    """Draw and write the figure; returns 0.

    Raises ConfigError: unknown figure, column or setting, no runs, no way to write.
    """
    options = _parser().parse_args(argv)
    if options.figure not in figure_names():
        raise ConfigError(f"unknown figure `{options.figure}`.{did_you_mean(options.figure, figure_names())}")
    asked = {name: getattr(options, name) for name in OF_CURVES if getattr(options, name)}
    if asked and options.figure != CURVES:
        raise ConfigError(
            f"{', '.join(f'--{name}' for name in asked)} goes with {CURVES} alone; leave it out"
        )
    from nodebench.reporting.measures import NotMeasuredError
    from nodebench.reporting.tables import UnknownColumnError

    check_no_file(options.runs)
    runs = runs_under(options.runs) if options.figure == CURVES else find_runs(options.runs)
    out = options.runs / "figures" if options.out is None else options.out
    if runs:  # else there is nothing to draw, and perhaps no such folder
        with writing_to(out):
            check_folder(out)
    try:
        drawing = draw(options.figure, runs, recipes_of(options.figure, runs), **asked)
    except UnknownColumnError as error:
        raise ConfigError(str(error)) from error
    except (NothingToDrawError, NotMeasuredError) as error:
        what = f"no runs of {options.figure}" if runs else "no runs"
        raise ConfigError(
            f"{nothing_under(options.runs, what)}: {error}; or name another folder with --runs"
        ) from error
    if options.animate and drawing.frames is None:
        raise ConfigError(f"{options.figure} does not move, only fig5 has frames; leave out --animate")
    from nodebench.reporting.figures.drawing.saving import save

    with writing_to(out):
        written = save(drawing, out, options.figure, animate=options.animate)
    print("\n".join([*map(plain, drawing.notes), *(f"wrote {path}" for path in written)]))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="nodebench plot",
        description="Draw a figure of the paper from finished runs, or the curves of training, of unfinished runs "
        "too: PNG, PDF, and the data as CSV.",
        epilog=EXAMPLES,
    )
    parser.add_argument("figure", metavar="FIGURE", words=figure_names(), help=", ".join(figure_names()))
    parser.add_argument("--runs", type=place, default=Path("outputs"), metavar="DIR", help="default: outputs")
    parser.add_argument(
        "--out", type=folder, metavar="DIR", help="where to write (default: `figures` inside --runs)"
    )
    parser.add_argument(
        "--columns",
        type=_names,
        metavar="COLUMN,...",
        help="curves: columns of the records (default: scores, losses, evaluations)",
    )
    parser.add_argument(
        "--x",
        choices=PLACES,
        help="curves: against what (default: epoch; step, if a task has no epochs)",
    )
    parser.add_argument(
        "--group", type=_names, metavar="KEY,...", help="curves: one for each value of these settings"
    )
    parser.add_argument("--animate", action="store_true", help="fig5: write the flow as a GIF too")
    return parser


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
