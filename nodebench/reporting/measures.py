"""Reads measure.csv, what `nodebench measure` found about a trained run batch by batch, and measure.json beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from nodebench.ode.methods.traits import GRADIENTS
from nodebench.records.jsonl import is_number
from nodebench.records.measures import (
    FILE,
    NAMES,
    NUM_TIMED,
    NUMBERS,
    OWN,
    TOLERANCES,
    DamagedTableError,
    Key,
    key_of,
    read_notes,
    read_table,
)
from nodebench.reporting.paper import PAPERS_DATA
from nodebench.reporting.recipes import ANY_RECIPE, Recipes
from nodebench.reporting.runs import Run

NUM_BATCHES = 100  # MNIST's test set in batches of 100


class NotMeasuredError(ValueError):
    """No run has the measurements that are asked for; the message says how to make them."""


class DamagedMeasuresError(ValueError):
    """A measure.csv that is not what a run writes; single damaged lines are notes, not errors."""


@dataclass(frozen=True)
class Measures:
    """A run's measurements: the columns of a line, numbers NaN where there is none, in the order of the file.

    `library` is OWN in a file from before other libraries were measured.
    `notes` are sentences on lines that could not be used. `origin` is measure.json, what the lines were made
    with; empty if it cannot be read.
    """

    run: Run
    table: pd.DataFrame
    notes: tuple[str, ...]
    origin: dict[str, Any] = field(default_factory=dict)

    @property
    def step(self) -> int | None:
        """Of the weights that were measured; None where measure.json does not tell."""
        return step_of(self.origin)

    @property
    def is_of_last_step(self) -> bool:
        """Whether the run's last weights were measured, as far as run and measure.json tell."""
        return self.run.is_last_step(self.step)

    @property
    def reference_errors(self) -> str:
        """The float64 reference's own errors in words, empty where they are not known."""
        errors = self.origin.get("reference_errors")
        known = errors if isinstance(errors, dict) else {}
        told = [f"{name} {value:.1e}" for name, value in known.items() if is_number(value)]
        return f"The reference's own errors: {', '.join(told)}." if told else ""

    @property
    def method(self) -> str:
        """The solver that the run was trained with."""
        return str(self.run.setting("solver.method") or "")

    @property
    def ours(self) -> pd.DataFrame:
        """The lines of nodebench's solvers."""
        return self.table[self.table["library"] == OWN]

    @property
    def own(self) -> pd.DataFrame:
        """The lines of the run's own solver."""
        return self.ours[self.ours["solver"] == self.method]

    @property
    def is_complete(self) -> bool:
        """Whether the run's own solver has all that Figure 3 and the figures of the gradients need."""
        counts = self.own.groupby(["gradient", "tol"]).size()
        wanted = {"adjoint": NUM_BATCHES, "direct": NUM_TIMED, "checkpointed": NUM_TIMED}
        return all(
            counts.get((gradient, tol), 0) >= number
            for gradient, number in wanted.items()
            for tol in TOLERANCES
        )


def read_measures(run: Run) -> Measures | None:
    """The run's measurements, None where it was not measured: there is no file, or no line in it.

    Raises DamagedMeasuresError, which names the file.
    """
    path = run.folder / FILE
    again = f"delete it and measure again: `nodebench measure {run.argument}`"
    try:
        found = read_table(path.read_bytes().decode("utf-8", errors="replace"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DamagedMeasuresError(f"{path} cannot be read: {error.strerror}") from error
    except DamagedTableError as error:
        what = f"has no column `{error.missing}`" if error.missing else f"is damaged: {error}"
        raise DamagedMeasuresError(f"{path} {what}; {again}") from error
    if not (found.rows or found.problems or (found.text and found.is_cut_off)):
        return None
    notes = []
    if found.is_cut_off:
        notes.append(
            f"{path}: the last line is cut off and is left out; `nodebench measure {run.argument}` goes on"
        )
    lines: dict[Key, dict[str, object]] = {}
    for number in sorted([*found.rows, *(problem.line for problem in found.problems)]):
        row = found.rows.get(number)
        if row is None or row["gradient"] not in GRADIENTS:
            notes.append(f"{path}: line {number} is damaged and is left out")
        elif (key := key_of(row)) in lines:
            notes.append(f"{path}: line {number} repeats {', '.join(map(str, key))} and is left out")
        else:
            numbers = {name: value if is_number(value := row[name]) else math.nan for name in NUMBERS}
            lines[key] = {**row, **key._asdict(), **numbers}
    table = pd.DataFrame(list(lines.values()), columns=list(NAMES))
    table = table.astype(dict.fromkeys(NUMBERS, float))
    origin = _read_origin(run.folder)
    return Measures(run, table, (*other_weights(run, path, origin), *notes), origin)


def _read_origin(folder: Path) -> dict[str, Any]:
    try:
        return read_notes(folder)
    except (OSError, ValueError):
        return {}


def measured_runs(runs: Sequence[Run]) -> tuple[list[Measures], list[str]]:
    """The runs that have measurements, and a sentence for every measure.csv that cannot be used."""
    measured, problems = [], []
    for run in runs:
        try:
            measures = read_measures(run)
        except DamagedMeasuresError as error:
            problems.append(str(error))
            continue
        if measures is not None:
            measured.append(measures)
    return measured, problems


class Picked(NamedTuple):
    """The run that is shown, its lines, the notes that a reader needs, and those that the picture itself carries."""

    measures: Measures
    lines: pd.DataFrame
    notes: list[str]
    footnotes: list[str]


def pick_measured(
    runs: Sequence[Run], wanted: Callable[[Measures], pd.DataFrame], recipes: Recipes = ANY_RECIPE
) -> Picked:
    """The run with the most lines that are `wanted`, by `preference`; the order of `runs` decides the rest.

    Raises NotMeasuredError, which says what to do, where no run has such a line.
    """
    measured, problems = measured_runs(runs)
    found = [(measures, lines) for measures in measured if len(lines := wanted(measures))]
    if not found:
        raise NotMeasuredError("; ".join([*problems, what_to_measure(runs)]))
    found.sort(key=lambda pair: preference(pair[0].run, len(pair[1]), recipes))
    (measures, lines), *others = found
    told, footnotes = remarks(measures.run, [other.run for other, _ in others], recipes)
    return Picked(measures, lines, [*told, *problems, *measures.notes], footnotes)


def preference(run: Run, num_lines: int, recipes: Recipes) -> tuple[bool, bool, bool, int]:
    """What runs are sorted by where one is shown: finished, of the recipes, of the paper's data, measured most."""
    return not run.is_finished, not recipes.has(run), run.names[0] != PAPERS_DATA, -num_lines


def remarks(shown: Run, others: Sequence[Run], recipes: Recipes) -> tuple[list[str], list[str]]:
    """What a reader should know of the run that is `shown` of several, and what the picture itself carries of it."""
    complaint = recipes.complaint(shown, str(shown.folder))
    notes = [complaint] if complaint else []
    if others:
        left_out = ", ".join(str(run.folder) for run in others)
        notes.append(f"several runs are measured: shown is {shown.folder}, left out: {left_out}")
    if not shown.is_finished:
        reason = f" ({shown.problem})" if shown.problem else ""
        notes.append(f"{shown.folder} is {shown.status}{reason}: what is shown may not be its last")
    return notes, [complaint] if complaint else []


def other_weights(run: Run, file: Path, origin: Mapping[str, Any]) -> list[str]:
    """A sentence where `file`, made with what `origin` says, is not of the run's last weights."""
    step = step_of(origin)
    if run.is_last_step(step):
        return []
    return [f"{file} is of weights of step {step}, and the run's last are of step {run.summary['step']}"]


def step_of(origin: Mapping[str, Any]) -> int | None:
    """Of the weights that were measured; None where the file beside a measurement does not tell."""
    made_with = origin.get("made_with")
    step = made_with.get("step") if isinstance(made_with, dict) else None
    return step if isinstance(step, int) else None


def what_to_measure(runs: Sequence[Run], options: str = "") -> str:
    """A sentence on which run can be measured, and how, with `options` of the command."""
    finished = [run for run in runs if run.is_finished and run.setting("task.name") == "classification"]
    solvable = [run for run in finished if run.setting("solver.method")]
    with_weights = [run for run in solvable if has_checkpoint(run.folder)]
    if with_weights:
        return f"not measured yet: `nodebench measure {with_weights[0].argument}{options}`"
    train = (
        f"`nodebench train experiment=table1_odenet output_dir=DIR`, then `nodebench measure RUN{options}`"
    )
    if solvable:
        return (
            f"not measured, and {solvable[0].folder} has no checkpoint to measure (a committed record has none): "
            f"train it again elsewhere: {train}"
        )
    return f"no trained ODE net is here: {train}"


def has_checkpoint(folder: Path) -> bool:
    """Whether the trained weights are there; a committed record comes without."""
    return any((folder / "checkpoints").glob("*.pt"))


def medians(lines: pd.DataFrame, by: Sequence[str], columns: Sequence[str]) -> pd.DataFrame:
    """The median of `columns` over the batches, one row a combination of `by`, sorted by it."""
    return lines.groupby(list(by), sort=True)[list(columns)].median().reset_index()


def loosest_first(lines: pd.DataFrame) -> Iterator[tuple[float, pd.DataFrame]]:
    """The lines of every tolerance, from the loosest to the tightest."""
    for tol in sorted(lines["tol"].unique(), reverse=True):
        yield float(tol), lines[lines["tol"] == tol]
