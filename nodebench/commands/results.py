"""What runs came to, on the screen: their table, and the commands that show more."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from nodebench.records import Shown
from nodebench.reporting.columns import columns_of, default_columns
from nodebench.terminal import terminal_width


def show_results(folders: Sequence[Path], output_dir: str, settings: Sequence[str] = ()) -> None:
    """Print the result table of these run folders, of one run a summary, and the commands that show more.

    `settings` are keys of config.yaml, such as model.width: further columns, where one of the runs has them.
    """
    from nodebench.reporting import find_runs, result_summary, result_table, with_values

    runs = [run for folder in folders for run in find_runs(folder)]
    if runs:
        found = [key for key in settings if any(run.setting(key) is not None for run in runs)]
        usual = default_columns(columns_of(runs), Shown.AFTER_TRAINING)
        columns, width = with_values(runs, (*usual, *found)), terminal_width(sys.stdout)
        table = result_table(runs, columns, width=width) if runs[1:] else result_summary(runs, columns, width)
        print(f"\n{table}")
    runs_there = shlex.quote(output_dir)
    more = [f"show      nodebench show {run.argument}" for run in runs[:1]]
    if runs[1:]:
        more = [f"report    nodebench report --runs {runs_there}"]
    more += [f"curves    tensorboard --logdir {runs_there}", f"table     nodebench table --runs {runs_there}"]
    print("", *more, sep="\n")
