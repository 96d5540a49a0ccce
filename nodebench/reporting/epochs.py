"""Columns epoch by epoch, from the metrics.jsonl of runs: each seed of a recipe once."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pandas as pd

from nodebench.records import Columns, metrics
from nodebench.records.jsonl import is_number, read_records
from nodebench.records.metrics import PLACES
from nodebench.reporting.runs import Run

COUNTS = ("nfe_forward", "nfe_backward")
_CURVES = ("loss", "nfe")  # charts that say how training went, beside the scores on the line of an epoch


def read_epochs(runs: Sequence[Run], columns: Sequence[str] = COUNTS) -> tuple[pd.DataFrame, list[str]]:
    """A line an epoch that has a number in one of `columns`: group, seed, PLACES, columns; and what could not be used.

    Where a seed lies in two places, a finished run counts before others, then the first of `runs`.
    """
    found, problems = [], []
    counted: dict[tuple[str, str], Run] = {}
    for run in sorted(runs, key=lambda run: not run.is_finished):
        records, damaged = read_records(run.folder / metrics.FILE)
        epochs = [record for record in records if _has_numbers(record, columns)]
        problems += damaged
        first = counted.setdefault((run.group, run.seed), run) if epochs else run
        if first is not run:
            problems.append(f"seed {run.seed} is counted once: {run.folder} repeats {first.folder}")
            continue
        found += [
            {
                **{"group": run.group, "seed": run.seed},
                **{
                    name: record[name] if is_number(record.get(name)) else None
                    for name in (*PLACES, *columns)
                },
            }
            for record in epochs
        ]
    table = pd.DataFrame(found, columns=["group", "seed", *PLACES, *columns])
    return table.astype(dict.fromkeys(columns, float)), problems


def over_seeds(table: pd.DataFrame, column: str, x: str, by: str = "group") -> pd.DataFrame:
    """Of a table of read_epochs, for each value of `by` and each `x`: mean, lowest, highest and number of runs."""
    known = table[table[column].notna() & table[x].notna()]
    parts = known.groupby([by, x], sort=True)[column].agg(["mean", "min", "max", "count"]).reset_index()
    return parts.rename(columns={"min": "lowest", "max": "highest", "count": "num_runs"})


def place_of(runs: Sequence[Run], table: pd.DataFrame) -> str:
    """Against what these runs are drawn unasked: epochs; or steps, if one has a task whose `epoch` counts records.

    `table` is that of read_epochs; where it has no step, only epochs are known.
    """
    has_epochs = any(run.setting("training.epochs") for run in runs)
    is_by_steps = not has_epochs or any(run.setting("task.steps_per_record") for run in runs)
    return "step" if is_by_steps and table["step"].notna().any() else "epoch"


def recorded_columns(runs: Sequence[Run]) -> list[str]:
    """The columns that the epochs of these runs have a number in, in the order of their records."""
    found: dict[str, None] = {}
    for run in runs:
        for record in read_records(run.folder / metrics.FILE)[0]:
            if record.get("kind") == "epoch":
                found |= {name: None for name, value in record.items() if is_number(value)}
    return [name for name in found if name not in PLACES]


def curves_unasked(recorded: Collection[str], known: Columns) -> list[str]:
    """Those of the `recorded` columns that say how training went: scores, losses, evaluations."""
    return [name for name in recorded if known[name].screen or known[name].chart in _CURVES]


def _has_numbers(record: dict[str, object], columns: Sequence[str]) -> bool:
    is_epoch = record.get("kind") == "epoch" and is_number(record.get("epoch"))
    return is_epoch and any(is_number(record.get(name)) for name in columns)
