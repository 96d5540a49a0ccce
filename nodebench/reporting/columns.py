"""The columns of a result table, under the names that the run records use."""

from __future__ import annotations

from collections.abc import Iterable

from nodebench.ode.settings import precision, tolerances
from nodebench.records import COLUMNS, Column, Columns, Shown
from nodebench.records.summary import own_columns
from nodebench.reporting.runs import Run

IDENTITY = ("model", "data", "units", "solver", "tol", "gradient", "hash")
BOOKKEEPING = ("seeds", "status")
RANKS = {"units": 1, "seeds": 2, "solver": 3, "tol": 4, "gradient": 5}
"""As records.Column.rank, of columns that are in no record; what is not here stays longest."""

_COSTS = ("memory", "nfe", "time")  # the charts of what a run costs, in the order of the paper's Table 1


def columns_of(runs: Iterable[Run]) -> Columns:
    """The columns of nodebench's records, and those that only these runs have: of one name, the first declaration."""
    found: dict[str, Column] = {}
    for run in runs:
        for column in own_columns(run.summary):
            found.setdefault(column.name, column)
    return COLUMNS.and_own(found.values())


def default_columns(columns: Columns, where: Shown = Shown.TABLE) -> list[str]:
    """What is shown in one place unasked: what a row is, its scores, what they cost, and whether they stand."""
    shown = [column.name for column in sorted(columns.shown(where), key=_place)]
    bookkeeping = BOOKKEEPING if where is Shown.TABLE else ("status",)
    return [*(name for name in IDENTITY if name != "hash"), *bookkeeping[:-1], *shown, *bookkeeping[-1:]]


def _place(column: Column) -> int:
    if not column.is_number:
        return len(_COSTS) + 1
    return 1 + _COSTS.index(column.chart) if column.chart in _COSTS else 0


def identity(run: Run) -> dict[str, str]:
    """What tells one row from another; solver, tol and gradient stay empty for nets without an ODE.

    units: the width or number of layers of a model that has one to choose.
    """
    data, model = run.names
    method = str(run.setting("solver.method") or "")
    return {
        "model": model,
        "data": data,
        "units": str(run.setting("model.width") or run.setting("model.num_layers") or ""),
        "solver": method,
        "tol": _tolerance(run) if method else "",
        "gradient": str(run.setting("model.gradient") or ""),
        "hash": run.hash,
    }


def _tolerance(run: Run) -> str:
    node = {key: run.setting(f"solver.{key}") for key in ("tol", "rtol", "atol", "dt")}
    return precision(*tolerances(node), node["dt"])
