"""Evaluations a training batch, epoch by epoch, from the metrics.jsonl of runs: each seed of a recipe once."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from nodebench.records import metrics
from nodebench.records.jsonl import is_number, read_records
from nodebench.reporting.runs import Run

COUNTS = ("nfe_forward", "nfe_backward")


def read_epochs(runs: Sequence[Run]) -> tuple[pd.DataFrame, list[str]]:
    """A line an epoch that counted its evaluations: group, seed, epoch, COUNTS; and what could not be used.

    Where a seed lies in two places, a finished run counts before others, then the first of `runs`.
    """
    found, problems = [], []
    counted: dict[tuple[str, str], Run] = {}
    for run in sorted(runs, key=lambda run: not run.is_finished):
        records, damaged = read_records(run.folder / metrics.FILE)
        epochs = [record for record in records if _has_counts(record)]
        problems += damaged
        first = counted.setdefault((run.group, run.seed), run) if epochs else run
        if first is not run:
            problems.append(f"seed {run.seed} is counted once: {run.folder} repeats {first.folder}")
            continue
        found += [
            {
                **{"group": run.group, "seed": run.seed, "epoch": record["epoch"]},
                **{name: record[name] if is_number(record.get(name)) else None for name in COUNTS},
            }
            for record in epochs
        ]
    table = pd.DataFrame(found, columns=["group", "seed", "epoch", *COUNTS])
    return table.astype(dict.fromkeys(COUNTS, float)), problems


def _has_counts(record: dict[str, object]) -> bool:
    return record.get("kind") == "epoch" and all(is_number(record.get(key)) for key in ("epoch", COUNTS[0]))
