"""`nodebench report`: one page of HTML about a folder of runs, to be looked at and sent."""

from __future__ import annotations

import argparse
import gc
import shlex
from collections.abc import Sequence
from pathlib import Path

from nodebench.commands.arguments import Parser, place
from nodebench.commands.destinations import check_file, writing_to
from nodebench.commands.recipes import recipes_of
from nodebench.commands.run_argument import runs_under
from nodebench.counted import counted
from nodebench.reporting.replacing import replace_file
from nodebench.reporting.rows import rows_over_seeds
from nodebench.reporting.runs import Run

EXAMPLES = """examples:
  nodebench report
  nodebench report --runs outputs/table1 --out table1.html --title "Table 1"
"""


def run(argv: Sequence[str]) -> int:
    """Write the page; returns 0. Raises ConfigError: no runs, no way to write."""
    options = _parser().parse_args(argv)
    with writing_to(options.out):
        check_file(options.out)
    runs = runs_under(options.runs)
    gc.disable()  # a seventh of the time went into looking for it among matplotlib's objects
    try:
        page = page_of(runs, options.runs, options.title)
    finally:
        gc.enable()
    with writing_to(options.out):
        replace_file(options.out, page.encode())
    unfinished = sum(not run.is_finished for run in runs)
    left = f", {unfinished} not finished" if unfinished else ""
    print(f"wrote {options.out}: {counted(len(runs), 'run')}{left}, {_size(len(page.encode()))}")
    return 0


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:.1f} MiB" if num_bytes >= 2**20 else f"{num_bytes / 2**10:.0f} KiB"


def page_of(runs: Sequence[Run], root: Path, title: str | None = None, *, with_figures: bool = True) -> str:
    """The page about `runs`, found under `root`."""
    from nodebench.reporting.report.drawings import draw_figures
    from nodebench.reporting.report.page import Contents, make_page
    from nodebench.reporting.report.tables import make_tables

    name = root.name if root.is_absolute() else str(root)
    told = title or f"Runs under {name}"
    asked = ["nodebench", "report", "--runs", name, *(["--title", title] if title else [])]
    return make_page(
        Contents(
            title=told,
            root=root,
            runs=runs,
            tables=make_tables(runs, root, recipes_of),
            figures=draw_figures(runs, recipes_of) if with_figures else [],
            commands=_commands(runs),
            again=shlex.join(asked),
        )
    )


def _commands(runs: Sequence[Run]) -> dict[str, str]:
    """By group, the command that trains all its seeds; a group whose config tells too little has none."""
    from nodebench.config.again import overrides_of
    from nodebench.config.launch import override_text
    from nodebench.config.merged import sweep_of

    found = {}
    for row in rows_over_seeds(list(runs)):
        try:
            again = overrides_of(row.first.config)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            continue  # a config that anybody may have written, or that chose files that are not here
        *overrides, _ = again.overrides
        given = dict(override.partition("=")[::2] for override in overrides)
        seeds = list(dict.fromkeys(run.seed for run in row.runs))
        swept = sweep_of(given["experiment"]) if "experiment" in given and seeds[1:] else {}
        # With -m an experiment's own sweep is run too, but for the keys that are given.
        for key in (key for key in swept if key not in given):
            value = row.first.names[0] if key == "data" else row.first.setting(key)
            overrides.append(override_text(key, value))
        several = ["-m"] if seeds[1:] else []
        words = ["nodebench", "train", *several, *overrides, f"seed={','.join(seeds)}"]
        found[row.first.group] = shlex.join(words)
    return found


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="nodebench report",
        description="One page of HTML about all runs of a folder: what was run and found, a table to sort and filter, "
        "curves, figures, settings, and the command that makes each run again. It opens from disk, without a network.",
        epilog=EXAMPLES,
    )
    parser.add_argument("--runs", type=place, default=Path("outputs"), metavar="DIR", help="default: outputs")
    parser.add_argument(
        "--out", type=place, default=Path("report.html"), metavar="FILE", help="default: report.html"
    )
    parser.add_argument("--title", metavar="TEXT", help="the page's heading")
    return parser
