"""`nodebench table`: the results of finished and unfinished runs, read from their folders."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from nodebench.commands.arguments import Parser, place
from nodebench.commands.destinations import check_file, writing_to
from nodebench.commands.recipes import recipes_of
from nodebench.commands.run_argument import runs_under
from nodebench.config.errors import ConfigError
from nodebench.records import COLUMNS
from nodebench.reporting.columns import default_columns
from nodebench.reporting.layout import NothingToTabulateError
from nodebench.reporting.named_tables import named_table, table_names
from nodebench.reporting.rendering import SCREEN, STYLES, render
from nodebench.reporting.replacing import replace_file
from nodebench.terminal import terminal_width

EXAMPLES = """examples:
  nodebench table model,solver,tol,error_test
  nodebench table table1 --runs outputs/table1 --format markdown --out table1.md"""


def run(argv: Sequence[str]) -> int:
    """Print or write the table; returns 0. Raises ConfigError: no runs, unknown column, no way to write."""
    options = _parser().parse_args(argv)
    from nodebench.reporting.measures import NotMeasuredError
    from nodebench.reporting.tables import UnknownColumnError, result_table

    if options.out is not None:
        with writing_to(options.out):
            check_file(options.out)
    runs = runs_under(options.runs)
    style = options.format or SCREEN
    width = terminal_width(sys.stdout) if options.format is None and options.out is None else None
    columns = [name.strip() for name in options.columns.split(",") if name.strip()]
    try:
        if len(columns) == 1 and columns[0] in table_names():
            named = named_table(columns[0], runs, options.runs, recipes_of(columns[0], runs))
            table = render(named, style, width)
        else:
            table = result_table(runs, columns or None, style, width)
    except UnknownColumnError as error:
        raise ConfigError(f"{error}. Tables with a name: {', '.join(table_names())}") from error
    except (NothingToTabulateError, NotMeasuredError) as error:
        raise ConfigError(f"nothing for {columns[0]} under `{options.runs}`: {error}") from error
    if options.out is None:
        print(table)
        return 0
    with writing_to(options.out):
        replace_file(options.out, f"{table}\n".encode())
    print(f"wrote {options.out}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="nodebench table",
        description="One row for all seeds of an experiment: mean, interval, number of seeds, status. "
        f"Or a table with a name: {', '.join(table_names())}.",
        epilog=EXAMPLES,
    )
    parser.add_argument(
        "columns",
        nargs="?",
        default="",
        metavar="NAME|COLUMN,COLUMN,...",
        words=table_names(),
        help="a table with a name; or columns of the records, or keys of config.yaml "
        f"(default: those with values among {', '.join(default_columns(COLUMNS))})",
    )
    parser.add_argument("--runs", type=place, default=Path("outputs"), metavar="DIR", help="default: outputs")
    parser.add_argument("--format", choices=STYLES, help="default: terminal, as wide as yours")
    parser.add_argument("--out", type=place, metavar="FILE", help="write there instead of the screen")
    return parser
