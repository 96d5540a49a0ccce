"""Runs as a pandas frame: a row a run, for whoever goes on in Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from nodebench.records import Column
from nodebench.reporting.columns import columns_of, identity
from nodebench.reporting.runs import Run
from nodebench.reporting.tables import check_columns


def frame_of(runs: Sequence[Run], settings: Sequence[str] = ()) -> pd.DataFrame:
    """A row a run: where it lies, what it is, how it ended, and the numbers of its summary.

    Columns: `folder`, `task`, those of columns.IDENTITY, `seed`, `status`, `problem`; every declared column that one of
    the runs has, in the order of a record, as numbers (missing: NaN; yes and no: objects True, False and None); and
    `settings`, keys of config.yaml such as `optimizer.lr`, as they stand there.
    Raises UnknownColumnError for a setting that no run has.
    """
    recorded = columns_of(runs)
    if runs:
        check_columns(runs, settings, recorded)
    told: dict[str, list[Any]] = {
        "folder": [str(run.folder) for run in runs],
        "task": [run.setting("task.name") or "" for run in runs],
    }
    identities = [identity(run) for run in runs]
    for name in identities[0] if identities else ():
        told[name] = [each[name] for each in identities]
    told["seed"] = [run.setting("seed") for run in runs]
    for name in ("status", "problem"):
        told[name] = [getattr(run, name) for run in runs]
    found = [column for column in recorded if any(run.summary.get(column.name) is not None for run in runs)]
    numbers = {column.name: _values(column, runs) for column in found}
    chosen = {key: [run.setting(key) for run in runs] for key in settings}
    return pd.DataFrame({**told, **numbers, **chosen})


def _values(column: Column, runs: Sequence[Run]) -> pd.Series:
    values = [run.summary.get(column.name) for run in runs]
    if not column.is_number:
        return pd.Series(values, dtype=object)
    return pd.to_numeric(pd.Series(values, dtype=object), errors="coerce")
