"""Rows of a result table: one experiment over its seeds, with means, intervals and what limits them."""

from __future__ import annotations

import math
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nodebench.records import COLUMNS, Columns
from nodebench.records.jsonl import is_number
from nodebench.reporting.columns import IDENTITY, columns_of, identity
from nodebench.reporting.runs import Run

MIN_SEEDS = 3  # below this a row is marked: its interval, if it has one, says next to nothing
FEW_SEEDS = f"fewer than {MIN_SEEDS} seeds"
NOT_RECONSTRUCTED = (
    "the solve does not pass the reconstruction check (recon_error is 1e-2 or more): the numbers are the "
    "solver's as much as the model's"
)


@dataclass
class Row:
    """One experiment. `counted`: its finished runs, each seed once; `notes`: sentences on what limits it.

    `columns`: those that it and the rows beside it may have.
    """

    runs: list[Run]
    counted: list[Run]
    identity: dict[str, str]
    notes: list[str] = field(default_factory=list)
    columns: Columns = COLUMNS

    @property
    def first(self) -> Run:
        """The run that tells what the row is: a run whose config cannot be read tells least."""
        return next((run for run in self.runs if run.config), self.runs[0])

    @property
    def versions(self) -> list[str]:
        return sorted({run.version for run in self.counted if run.version})

    def values(self, column: str) -> list[float]:
        """The column's finite numbers, one a counted run."""
        found = [run.summary.get(column) for run in self.counted]
        return [float(value) for value in found if isinstance(value, bool) or is_number(value)]

    def number(self, column: str) -> float | None:
        """The mean over the counted seeds; None where no run has the number."""
        values = self.values(column)
        return float(np.mean(values)) if values else None

    def text(self, column: str) -> str:
        """The cell as people read it."""
        if column in IDENTITY:
            return self.identity[column]
        if column == "seeds":
            return str(len(self.counted))
        if column == "status":
            counts = Counter(run.status for run in self.runs)
            return (
                next(iter(counts)) if len(counts) == 1 else ", ".join(f"{n} {s}" for s, n in counts.items())
            )
        if column not in self.columns:
            settings = dict.fromkeys(run.setting(column) for run in self.runs)
            return ", ".join("" if value is None else str(value) for value in settings)
        values, shown = self.values(column), self.columns[column]
        if not values:
            return ""
        if not shown.is_number:
            return "yes" if all(values) else "no"
        half_width = interval95(values) if shown.has_interval else None
        interval = "" if half_width is None else f" ± {half_width:{shown.format}}"
        return f"{np.mean(values):{shown.format}}{interval}"


def interval95(values: list[float]) -> float | None:
    """Half the 95 % confidence interval of the mean, t_{0.975, n-1} s / sqrt(n); None below 2 values."""
    n = len(values)
    if n < 2:
        return None
    return float(_student95(n - 1) * np.std(values, ddof=1) / math.sqrt(n))


def difference95(ours: list[float], theirs: list[float]) -> float | None:
    """Half the 95 % confidence interval of the difference of two means; None where one has below 2 values.

    Source: Welch (1947), whose degrees of freedom are those of two samples of different variance.
    """
    if min(len(ours), len(theirs)) < 2:
        return None
    parts = [float(np.var(values, ddof=1)) / len(values) for values in (ours, theirs)]
    if not any(parts):
        return 0.0
    freedom = sum(parts) ** 2 / sum(
        part**2 / (len(values) - 1) for part, values in zip(parts, (ours, theirs), strict=True)
    )
    return _student95(freedom) * math.sqrt(sum(parts))


def _student95(freedom: float) -> float:
    """The 97.5 % quantile of Student's t."""
    # Here: importing it takes a quarter of a second, which is not for those who read run folders alone.
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.975))


def rows_over_seeds(runs: list[Run]) -> list[Row]:
    """One row an experiment, sorted by data, model, units, solver, tolerance; a failed run is named, not counted."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.group, []).append(run)
    columns = columns_of(runs)
    rows = [_row(members, columns) for members in groups.values()]
    if len({version for row in rows for version in row.versions}) > 1:
        for row in rows:
            row.notes.extend(f"made by nodebench {version}" for version in row.versions)
    order = ("data", "model", "units", "solver", "tol", "gradient", "hash")
    return sorted(rows, key=lambda row: [_by_size(row.identity[column]) for column in order])


def _by_size(cell: str) -> tuple[int, str]:
    """Whole numbers in their order, before words."""
    return (int(cell), "") if cell.isdecimal() else (sys.maxsize, cell)


def _differences(one: dict[str, Any], two: dict[str, Any]) -> list[str]:
    """What of two runs in one folder is not the same."""
    return [name for name in dict.fromkeys([*one, *two]) if one.get(name) != two.get(name)]


def _experiment(run: Run) -> dict[str, Any]:
    """What all seeds of an experiment have in common: data, model and its keys, solver and tolerance."""
    told, settings = identity(run), run.setting("model") or {}
    return {name: told[name] for name in ("data", "model", "solver", "tol")} | {
        f"model.{key}": value for key, value in settings.items() if value is not None and key != "name"
    }


def not_counted(run: Run) -> str:
    """The sentence on a run that is not finished."""
    return (
        f"not counted: {run.group}/{run.folder.name} is {run.status}{': ' * bool(run.problem)}{run.problem}"
    )


def _limits(run: Run) -> str:
    """`data.limit_test=100`: the keys that limit what a run is evaluated on; empty where it is evaluated on all."""
    found = {key: run.setting(key) for key in ("data.limit_val", "data.limit_test")}
    return ", ".join(f"{key}={value}" for key, value in found.items() if value is not None)


def _row(runs: list[Run], columns: Columns) -> Row:
    notes = [not_counted(run) for run in runs if not run.is_finished]
    counted: dict[str, Run] = {}
    finished = [run for run in runs if run.is_finished]
    experiment = _experiment(finished[0]) if finished[1:] else {}
    for run in finished:
        if run is not finished[0] and (others := _differences(experiment, _experiment(run))):
            notes.append(
                f"not counted: {run.group}/{run.folder.name} is of another experiment than {finished[0].folder.name}, "
                f"by its config: {', '.join(others)}"
            )
            continue
        first = counted.setdefault(run.seed, run)
        if first is not run:
            notes.append(f"seed {run.seed} is counted once: {run.folder} repeats {first.folder}")
    row = Row(runs, list(counted.values()), {}, notes, columns)
    row.identity = identity(row.first)
    if len(row.counted) < MIN_SEEDS:
        notes.insert(0, FEW_SEEDS)
    if limits := _limits(row.first):
        notes.append(f"errors of the first images, so many at most: {limits}")
    if row.text("recon_ok") == "no":
        notes.append(NOT_RECONSTRUCTED)
    return row
