"""The gradient modes of a trained net against each other: evaluations, time, memory, and error of the gradient."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from nodebench.ode.methods.traits import GRADIENTS
from nodebench.ode.settings import power_of_ten
from nodebench.reporting.layout import Column, Line, Table
from nodebench.reporting.measures import Measures, pick_measured
from nodebench.reporting.recipes import Recipes
from nodebench.reporting.runs import Run

COLUMNS = (
    *(Column("gradient", is_number=False), Column("solver", is_number=False), Column("tol")),
    *(Column("NFE\nf / b"), Column("forward\n(ms)"), Column("backward\n(ms)"), Column("saved\n(MiB)")),
    *(Column("gradient\nerror"), Column("endpoint\nerror")),
    *(Column("adjoint\ntol"), Column("adjoint\nnorm", is_number=False)),
)
MEDIANS = (
    "nfe_forward",
    "nfe_backward",
    "time_forward_ms",
    "time_backward_ms",
    "error_gradient",
    "error_endpoint",
)
LEGEND = (
    "Medians over the batches whose gradient was measured. Gradient error: relative L2 error of dL/d(y0, theta) "
    "against a float64 gradient at a tight tolerance; the direct one is exact for its own steps, so its error is that "
    "of the steps. NFE: backward evaluations are the adjoint's augmented ones or the recomputations of "
    "checkpointed; direct has none. Saved: what one forward pass keeps for backward."
)


def gradients(runs: Sequence[Run], root: Path, recipes: Recipes) -> Table:
    """A row for every solver, gradient mode and tolerance of the run with the most measured gradients.

    Raises NotMeasuredError if no run has one.
    """
    measures, lines, notes, _ = pick_measured(runs, _with_gradient, recipes)
    rows, numbers = [], []
    for (method, gradient, tol), group in sorted(
        lines.groupby(["solver", "gradient", "tol"]), key=lambda item: _order(measures.method, *item[0])
    ):
        values = {name: group[name].median() for name in MEDIANS}
        values["memory_saved_mib"] = group["memory_saved_mib"].max()
        values["tol_adjoint"] = group["tol_adjoint"].max()
        norm = group["norm_adjoint"].iloc[0]
        rows.append(Line(_cells(gradient, method, tol, values, norm)))
        numbers.append(
            {
                "gradient": gradient,
                "solver": method,
                "tol": tol,
                "batches": len(group),
                **values,
                "norm_adjoint": norm,
            }
        )
    folder = measures.run.folder
    legend = filter(None, (LEGEND, measures.reference_errors))
    about = f"Run: {folder.parent.name}/{folder.name}."
    return Table(COLUMNS, rows, pd.DataFrame(numbers), [*legend, about, *notes])


def _with_gradient(measures: Measures) -> pd.DataFrame:
    return measures.ours[measures.ours["error_gradient"].notna()]


def _order(own: str, method: str, gradient: str, tol: float) -> tuple[bool, str, int, float]:
    return (method != own, method, GRADIENTS.index(gradient), -tol)


def _cells(gradient: str, method: str, tol: float, values: dict[str, float], norm: str) -> list[str]:
    def text(name: str, style: str) -> str:
        return "" if pd.isna(values[name]) else f"{values[name]:{style}}"

    return [
        *(gradient, method, power_of_ten(tol)),
        " / ".join(filter(None, (text("nfe_forward", ".0f"), text("nfe_backward", ".0f")))),
        *(text("time_forward_ms", ".1f"), text("time_backward_ms", ".1f"), text("memory_saved_mib", ".1f")),
        *(text("error_gradient", ".1e"), text("error_endpoint", ".1e")),
        "" if pd.isna(values["tol_adjoint"]) else power_of_ten(values["tol_adjoint"]),
        norm,
    ]
