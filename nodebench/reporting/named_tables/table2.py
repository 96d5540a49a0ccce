"""Table 2: what is extrapolated from irregular observations, our numbers beside the paper's and naive predictors'."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from nodebench.records.jsonl import is_number
from nodebench.reporting.cells import FINISHED, NO_RUN
from nodebench.reporting.circumstances import tell_circumstances
from nodebench.reporting.layout import Column, Line, NothingToTabulateError, Table
from nodebench.reporting.paper import TABLE2
from nodebench.reporting.recipes import Recipes, word
from nodebench.reporting.rows import Row, rows_over_seeds
from nodebench.reporting.runs import Run
from nodebench.reporting.series_cells import (
    NAMES,
    NUM_POINTS,
    NUMBERS_OBSERVED,
    PAPERS_DATA,
    SeriesCell,
    cell_of,
    find_series_cell,
)
from nodebench.reporting.series_words import LEGEND, about_data, compare

NAIVE = {"rmse_zero": "0 predicted", "rmse_last": "last value held", "rmse_frozen": "radius frozen"}
MORE = {
    "rmse_noisy": "RMSE, noisy",
    "rmse_mean": "RMSE, mean z",
    "rmse_median": "RMSE, median",
    "rmse_interp": "RMSE in window",
    "elbo": "ELBO (nats)",
    "nll_scalar": "NLL (nats)",
    "kl_z0": "KL (nats)",
    "active_units": "active units",
    "probe_accuracy": "probe, linear",
    "probe_quadratic": "probe, squared",
    "radius_ratio": "radius ratio",
    "turns_right": "turns right",
    "nfe_forward": "NFE forward",
    "nfe_backward": "NFE backward",
    "num_params": "parameters",
    "time_step_ms": "step (ms)",
}
"""Short, so that all columns have room on a terminal of 80 characters; the legend says what they are."""
COLUMNS = (
    *(Column("row", is_number=False), Column("measured", is_number=False)),
    *(Column(f"{number} of {NUM_POINTS}") for number in NUMBERS_OBSERVED),
)
CHOICES = (
    *("model.cell", "model.clock", "model.encoder", "model.time_input"),
    *("model.field_layers", "model.observation_noise"),
)
"""Of a model, told in a note: the RNNs' own, then the latent ODE's."""
RMSE_FORMAT = ".3f"  # of ours; the paper has four decimals
SAME = 1e-3  # relative: the naive predictors of one test set, over machines
TOLD_BY_A_CELL = ("not counted", "seed ")  # how those notes of a row begin that its cell has told


@dataclass(frozen=True)
class _Group:
    """One model on one data set: a cell for every number of observed points."""

    data: str
    model: str
    cells: Mapping[int, SeriesCell]

    @property
    def name(self) -> str:
        return NAMES[self.model] + _on(self.data)

    @property
    def is_empty(self) -> bool:
        return all(cell.status == NO_RUN for cell in self.cells.values())

    @property
    def finished(self) -> dict[int, Row]:
        """The rows that are shown, by the number of observed points."""
        found = {number: cell.choice.row for number, cell in self.cells.items()}
        return {number: row for number, row in found.items() if row and row.counted}


Written = tuple[Line, dict[str, object]]
"""A line, and its line of the CSV."""


def table2(runs: Sequence[Run], root: Path, recipes: Recipes) -> Table:
    """A line for every model of Table 2, the paper's numbers, naive predictors; then what else was measured.

    A cell is one recipe, as cells.choose chooses. Runs of other data than the paper's are lines of their own, without
    the paper's numbers. Raises NothingToTabulateError if no run belongs to a cell.
    """
    found = {PAPERS_DATA: None} | dict.fromkeys(sorted(cell[0] for run in runs if (cell := cell_of(run))))
    groups = [
        _Group(data, model, {n: find_series_cell(runs, data, model, n, recipes) for n in NUMBERS_OBSERVED})
        for data in found
        for model in NAMES
    ]
    if all(group.is_empty for group in groups):
        raise NothingToTabulateError(
            "no run is a cell of Table 2: make them with `nodebench reproduce table2`"
        )
    groups = [group for group in groups if group.data == PAPERS_DATA or not group.is_empty]
    shared, circumstances = tell_circumstances([list(group.finished.values()) for group in groups])
    # Once more together, for what is said of rows that stand beside each other.
    together = rows_over_seeds(
        [run for group in groups for row in group.finished.values() for run in row.runs]
    )
    shown = {row.first.group: row for row in together}
    notes = {
        group.name: [*_limits(group, shown), *own] for group, own in zip(groups, circumstances, strict=True)
    }
    written = [
        each for data in found for each in _block([group for group in groups if group.data == data], notes)
    ]
    lines, numbers = zip(*written, strict=True)
    papers = [group for group in groups if group.data == PAPERS_DATA]
    cells = {group.model: group.cells for group in papers}
    legend = [*compare(cells), *LEGEND, *about_data(cells), *shared]
    return Table(COLUMNS, lines, pd.DataFrame(list(numbers)), legend)


def _block(groups: Sequence[_Group], notes: Mapping[str, Sequence[str]]) -> Iterator[Written]:
    """The lines of one data set."""
    data = groups[0].data
    for group in groups:
        yield _line(group, "rmse", "RMSE", notes[group.name])
    for model, values in TABLE2.items() if data == PAPERS_DATA else ():
        yield _papers_line(model, values)
    for column, name in NAIVE.items():
        yield _naive_line(groups, column, name)
    for group in groups:
        yield from _seed_lines(group)
    for column, words in MORE.items():
        for group in groups:
            if any(row.values(column) for row in group.finished.values()):
                yield _line(group, column, words)


def _line(group: _Group, column: str, measured: str, notes: Sequence[str] = ()) -> Written:
    """What one model has in one column."""
    cells: list[str] = []
    numbers: dict[str, object] = {}
    for number, cell in group.cells.items():
        words = cell.words(column, RMSE_FORMAT if column.startswith("rmse") else "")
        is_told = column == "rmse" and cell.status not in (NO_RUN, FINISHED)
        cells.append(cell.status if is_told else words)
        numbers |= _in_csv(number, cell.mean(column), cell.interval(column), len(cell.values(column)))
    line = Line([group.name, measured, *cells], notes)
    return line, {"data": group.data, "row": group.model, "measured": column, **numbers}


def _seed_lines(group: _Group) -> Iterator[Written]:
    """A line for every seed: its RMSE, and how it ended where it has none."""
    runs = {
        (run.seed, number): run
        for number, cell in group.cells.items()
        for run in (cell.choice.row.runs if cell.choice.row else ())
    }
    for seed in sorted({seed for seed, _ in runs}, key=lambda seed: (len(seed), seed)):
        told: list[str] = []
        numbers: dict[str, object] = {}
        for number in group.cells:
            run = runs.get((seed, number))
            value = run.summary.get("rmse") if run and run.is_finished else None
            told.append(f"{value:{RMSE_FORMAT}}" if is_number(value) else run.status if run else "")
            numbers |= _in_csv(number, value if is_number(value) else None)
        line = Line([group.name, f"RMSE, seed {seed}", *told])
        yield line, {"data": group.data, "row": group.model, "measured": f"rmse of seed {seed}", **numbers}


def _papers_line(model: str, values: Mapping[int, float]) -> Written:
    notes = ["the paper has two RNNs, and does not say which of them its row is"] if model == "rnn" else []
    line = Line([f"{NAMES[model]} (paper)", "RMSE", *(f"{value:.4f}" for value in values.values())], notes)
    numbers = {
        name: value for number, each in values.items() for name, value in _in_csv(number, each).items()
    }
    return line, {"data": PAPERS_DATA, "row": f"{model}_paper", "measured": "rmse", **numbers}


def _naive_line(groups: Sequence[_Group], column: str, name: str) -> Written:
    """A predictor that learned nothing, from the runs' records, which agree where they are of the same test set."""
    notes: list[str] = []
    cells: list[str] = []
    numbers: dict[str, object] = {}
    for number in NUMBERS_OBSERVED:
        known = {g.name: mean for g in groups if (mean := g.cells[number].mean(column)) is not None}
        value = next(iter(known.values()), None)
        if known and max(known.values()) - min(known.values()) > SAME * abs(max(known.values())):
            told = ", ".join(f"{mean:.4f} by {model}" for model, mean in known.items())
            notes.append(f"the runs at {number} are not of one test set: {told}")
        cells.append("" if value is None else f"{value:{RMSE_FORMAT}}")
        numbers |= _in_csv(number, value)
    data = groups[0].data
    line = Line([name + _on(data), "RMSE", *cells], notes)
    return line, {"data": data, "row": column.removeprefix("rmse_"), "measured": "rmse", **numbers}


def _in_csv(
    number: int, value: float | None, interval: float | None = None, seeds: int | None = None
) -> dict[str, object]:
    return {f"at_{number}": value, f"at_{number}_interval": interval, f"at_{number}_seeds": seeds}


def _limits(group: _Group, shown: Mapping[str, Row]) -> list[str]:
    """What limits a model's cells; what is said of several of them, once. `shown`: every row of the table, by group."""
    if group.is_empty:
        return [f"no run: nodebench train -m experiment=table2_{group.model}"]
    said: dict[str, list[int]] = {}
    for number, row in group.finished.items():
        chosen = {key: value for key in CHOICES if (value := row.first.setting(key)) is not None}
        with_these = (
            [f"with {', '.join(f'{key}={word(value)}' for key, value in chosen.items())}"] if chosen else []
        )
        for note in (*with_these, *shown[row.first.group].notes):
            if not note.startswith(TOLD_BY_A_CELL):
                said.setdefault(note, []).append(number)
    limits = [note for cell in group.cells.values() for note in cell.choice.notes]
    for note, numbers in said.items():
        at = "" if len(numbers) == len(NUMBERS_OBSERVED) else f" at {', '.join(map(str, numbers))}"
        limits.append(f"{note}{at}")
    return limits


def _on(data: str) -> str:
    return "" if data == PAPERS_DATA else f" on {data}"
