"""The solver-swap table: trained nets evaluated with other solvers than they were trained with.

Question and reading after Ott et al., "ResNet after all? Neural ODEs and their numerical solution" (ICLR 2021).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nodebench.ode.settings import precision
from nodebench.records import evaluations
from nodebench.records.jsonl import is_number
from nodebench.reporting.columns import identity
from nodebench.reporting.flow_rule import FLOW_LIMIT, UNDECIDED, judge, why_undecided
from nodebench.reporting.layout import Column, Line, NothingToTabulateError, Table
from nodebench.reporting.recipes import Recipes
from nodebench.reporting.rows import interval95
from nodebench.reporting.runs import Run

COLUMNS = (
    Column("trained net", is_number=False),
    Column("evaluated with", is_number=False),
    Column("precision", is_number=False),
    *(
        Column("seeds"),
        Column("test error\n(%)"),
        Column("change\n(points)"),
        Column("flips\n(%)"),
        Column("NFE"),
    ),
)
FLIPS = 6
"""The place of the column that records from before predictions were compared do not have."""
LEGEND = (
    "Test error of the same weights under another solver, mean over seeds ± half the 95 % interval (Student's t); "
    "change: against the error with the solver of training; NFE: evaluations a test batch.",
    "A net that is a flow keeps its error under every solve at least as exact as training's; another has learned its "
    f"discretisation (Ott et al. 2021). Called a flow: less than {FLOW_LIMIT} points of change wherever a solve spends "
    "at least training's evaluations.",
)
LEGEND_OF_FLIPS = (
    f"{LEGEND[0]} Flips: the images that are called another class than with the solver of training.",
    "A net that is a flow keeps its predictions under every solve at least as exact as training's; another has learned "
    f"its discretisation (Ott et al. 2021). Called a flow: less than {FLOW_LIMIT} % of flips wherever a solve spends "
    "at least training's evaluations; by the change of the error where records do not tell the flips.",
)
VERDICT_BEGINS = "with at least training's"  # how the note begins that says whether a net is a flow


@dataclass
class _Swap:
    """One solver on one recipe: the latest record of every seed."""

    runs: list[Run]
    records: list[dict[str, Any]]

    @property
    def is_own(self) -> bool:
        """Whether it is the solver of training."""
        own = identity(self.runs[0])
        return (self.records[0]["solver"]["method"], self.precision) == (own["solver"], own["tol"])

    @property
    def precision(self) -> str:
        return precision(*(self.records[0]["solver"].get(key) for key in ("rtol", "atol", "dt")))

    def values(self, column: str) -> list[float]:
        return [float(record[column]) for record in self.records if is_number(record.get(column))]

    def mean(self, column: str) -> float | None:
        values = self.values(column)
        return float(np.mean(values)) if values else None

    @property
    def changes(self) -> list[float]:
        """Test error minus that of training's solver, in points, seed by seed."""
        return [
            record["error_test"] - run.summary["error_test"]
            for run, record in zip(self.runs, self.records, strict=True)
            if is_number(record.get("error_test")) and is_number(run.summary.get("error_test"))
        ]

    @property
    def change(self) -> float | None:
        return float(np.mean(self.changes)) if self.changes else None


def swap(runs: Sequence[Run], root: Path, recipes: Recipes) -> Table:
    """A row for every solver that a trained net was evaluated with, its own first, then by method and precision.

    The latest record of a solver counts. Raises NothingToTabulateError if no run was evaluated.
    """
    found: dict[str, dict[str, _Swap]] = {}
    problems: list[str] = []
    for run in runs:
        records, damaged = evaluations.read(run.folder)
        problems += damaged
        evaluated = [record for record in records if _counts(record)]
        current = [record for record in evaluated if run.is_last_step(record.get("step"))]
        if left_out := len(evaluated) - len(current):
            records_are = "record is" if left_out == 1 else "records are"
            problems.append(
                f"{run.folder / evaluations.FILE}: {left_out} {records_are} of other weights than the run's last"
            )
        latest: dict[str, dict[str, Any]] = {}
        for record in current:
            solver = json.dumps(record["solver"], sort_keys=True)
            known = latest.get(
                solver, {}
            )  # of the same weights, perhaps by --swap, which alone tells the flips
            latest[solver] = {**{key: known[key] for key in ("flips_test",) if key in known}, **record}
        for solver, record in latest.items():
            entry = found.setdefault(run.group, {}).setdefault(solver, _Swap([], []))
            if run.seed not in [other.seed for other in entry.runs]:
                entry.runs.append(run)
                entry.records.append(record)
    if not found:
        raise NothingToTabulateError(
            "; ".join(
                [*problems, "no trained ODE net was evaluated: `nodebench evaluate RUN --swap` does it"]
            )
        )
    lines, numbers = [], []
    for swaps in found.values():
        ordered = sorted(swaps.values(), key=_order)
        for number, entry in enumerate(ordered):
            lines.append(Line(_cells(entry), [*_notes(entry), *(_verdict(ordered) if number == 0 else ())]))
            numbers.append(_numbers(entry))
    frame = pd.DataFrame(numbers)
    if frame.flips_test.notna().any():
        return Table(COLUMNS, lines, frame, [*LEGEND_OF_FLIPS, *problems])
    lines = [Line([*line.cells[:FLIPS], *line.cells[FLIPS + 1 :]], line.notes) for line in lines]
    columns = (*COLUMNS[:FLIPS], *COLUMNS[FLIPS + 1 :])
    return Table(columns, lines, frame.drop(columns="flips_test"), [*LEGEND, *problems])


def _counts(record: dict[str, Any]) -> bool:
    return isinstance(record.get("solver"), dict) and "method" in record["solver"]


def _order(entry: _Swap) -> tuple[bool, str, float]:
    solver = entry.records[0]["solver"]
    size = solver.get("dt") if solver.get("dt") is not None else solver.get("rtol")
    return (not entry.is_own, str(solver["method"]), -float(size) if is_number(size) else 0.0)


def _notes(entry: _Swap) -> Iterator[str]:
    for run, record in zip(entry.runs, entry.records, strict=True):
        if not is_number(record.get("error_test")):
            why = record.get("reason") or record.get("status") or "no error was recorded"
            yield f"{run.folder.parent.name}/{run.folder.name} has no test error here: {why}"
        if not run.is_finished:
            yield f"{run.folder.parent.name}/{run.folder.name} is {run.status}"


def _verdict(entries: Sequence[_Swap]) -> Iterator[str]:
    """How many predictions, or how far the error, the solves change that spend at least what training's spends."""
    own_nfe = next((entry.mean("nfe_eval") for entry in entries if entry.is_own), None)
    if own_nfe is None:
        return
    others = [entry for entry in entries if not entry.is_own and (entry.mean("nfe_eval") or 0.0) >= own_nfe]
    changes = [entry.change for entry in others if entry.change is not None]
    if changes:
        num_images = _num_images(others)
        flips = [entry.mean("flips_test") for entry in others if entry.change is not None]
        told = [share for share in flips if share is not None]
        knows_flips = len(told) == len(flips)
        found = judge(max(told if knows_flips else changes, key=abs), num_images)
        reason = f" ({why_undecided(num_images)})" if found == UNDECIDED and num_images else ""
        what = f"{min(told):.2f} to {max(told):.2f} % of the predictions flip and " if knows_flips else ""
        yield (
            f"with at least training's {own_nfe:.0f} evaluations, {what}the error changes by "
            f"{_signed(min(changes))} to {_signed(max(changes))} points over {len(changes)} other "
            f"solve{'s' * (len(changes) > 1)}: {found}{reason}"
        )


def _num_images(entries: Sequence[_Swap]) -> int | None:
    """The fewest test images that a change stands on, all seeds together; None where records do not tell."""
    known = []
    for entry in entries:
        counts = [count for r in entry.records if isinstance(count := r.get("num_images"), int)]
        if len(counts) < len(entry.records):
            return None
        known.append(sum(counts))
    return min(known)


def _cells(entry: _Swap) -> list[str]:
    error, change, nfe = entry.mean("error_test"), entry.change, entry.mean("nfe_eval")
    flips, half_width = entry.mean("flips_test"), interval95(entry.values("error_test"))
    interval = "" if half_width is None else f" ± {half_width:.2f}"
    return [
        _net(entry.runs[0]),
        f"{entry.records[0]['solver']['method']}{' (training)' * entry.is_own}",
        entry.precision,
        str(len(entry.values("error_test"))),
        "" if error is None else f"{error:.2f}{interval}",
        "" if change is None else _signed(change),
        "" if flips is None else f"{flips:.2f}",
        "" if nfe is None else f"{nfe:.1f}",
    ]


def _signed(points: float) -> str:
    return f"{round(points, 2) + 0.0:+.2f}"  # never -0.00


def _net(run: Run) -> str:
    data, model = run.names
    return " ".join(part for part in (model, "on", data, run.hash) if part)


def _numbers(entry: _Swap) -> dict[str, object]:
    """The row's line of the CSV."""
    run, solver = entry.runs[0], entry.records[0]["solver"]
    return {
        **dict(zip(("data", "model"), run.names, strict=True)),
        "hash": run.hash,
        **{key: solver.get(key) for key in ("method", "rtol", "atol", "dt")},
        "is_training_solver": entry.is_own,
        "seeds": len(entry.values("error_test")),
        "error_test": entry.mean("error_test"),
        "error_test_interval": interval95(entry.values("error_test")),
        "error_test_change": entry.change,
        "flips_test": entry.mean("flips_test"),
        "nfe_eval": entry.mean("nfe_eval"),
    }
