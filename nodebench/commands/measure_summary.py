"""The table that `nodebench measure` ends with: medians over the batches."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from nodebench.measurement import ReferenceErrors
from nodebench.records.measures import COLUMNS, OWN, Measured
from nodebench.reporting.layout import Column, Line, Table
from nodebench.reporting.screen import on_screen

SHOWN = sorted(
    (column for column in COLUMNS if column.heading),
    key=lambda column: column.name.startswith(
        ("time_", "memory_")
    ),  # what a solve costs behind what it is worth
)


def summary(
    rows: Sequence[Mapping[str, Any]], errors: ReferenceErrors | None, width: int | None = None
) -> str:
    """Medians by solver, tolerance and gradient mode of all rows, the reference's own errors, and how many failed.

    `width`: of the terminal that shows it, where what does not fit is named below; None: of no terminal.
    """
    groups: dict[tuple[str, str, float, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["library"], row["solver"], row["tol"], row["gradient"]), []).append(row)
    lines = [
        Line(
            [
                *(solver if library == OWN else f"{library} {solver}", f"{tol:g}", gradient, str(len(group))),
                *(_median(group, column) for column in SHOWN),
            ]
        )
        for (library, solver, tol, gradient), group in sorted(
            groups.items(), key=lambda item: _order(*item[0])
        )
    ]
    columns = [
        *(Column("solver", is_number=False), Column("tol"), Column("gradient", is_number=False)),
        Column("batches", rank=1),
        *(Column(column.heading.replace(" ", "\n")) for column in SHOWN),
    ]
    failed = sum(row["nfe_forward"] is None for row in rows)
    notes = ["medians over the batches; times, gradients and memory of the ODE block on the first ones"]
    if errors is not None:
        notes.append(
            f"the reference's own errors: endpoint {errors.endpoint:.1e}, gradient {errors.gradient:.1e}"
        )
    if failed:
        notes.append(f"{failed} of {len(rows)} solves failed and are rows without numbers")
    return on_screen(Table(columns, lines, pd.DataFrame(), notes), width)


def _order(library: str, solver: str, tol: float, gradient: str) -> tuple[bool, str, str, str, float]:
    return library != OWN, library, solver, gradient, -tol


def _median(group: Sequence[Mapping[str, Any]], column: Measured) -> str:
    values = [row[column.name] for row in group if row.get(column.name) is not None]
    return format(statistics.median(values), column.format) if values else ""
