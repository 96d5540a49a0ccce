"""Which runs fill one cell of a figure of flows: a data set, a model, and its number of units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nodebench.counted import counted
from nodebench.reporting.pictures import DamagedPicturesError, Pictures, read_pictures
from nodebench.reporting.recipes import ANY_RECIPE, Recipes
from nodebench.reporting.rows import Row, interval95, rows_over_seeds
from nodebench.reporting.runs import Run

UNITS = {"planar_nf": "model.num_layers", "cnf": "model.width"}  # the paper's K and M
NO_RUN = "no run"


@dataclass(frozen=True)
class FlowCell:
    """One experiment that a figure asks for, over its seeds. `row` is None where it has no run.

    `status` is `finished` as soon as one seed is; else what its first run says of itself, or `no run`.
    `pictures` are those of the lowest finished seed, `notes` the sentences that a reader of the figure needs.
    `complaint` is the note that what is drawn is not what the figure asks for.
    """

    data: str
    model: str
    units: int
    row: Row | None
    status: str
    pictures: Pictures | None
    notes: tuple[str, ...]
    complaint: str = ""

    @property
    def without_picture(self) -> str:
        """The words in place of a picture."""
        return "no picture" if self.status == "finished" else self.status

    def mean(self, column: str) -> float | None:
        """The mean of a summary's column over the finished seeds; None where there is none."""
        return None if self.row is None else self.row.number(column)

    def error(self, column: str) -> float | None:
        """Half the 95 % interval of `column` over the seeds; for one seed, its own standard error."""
        if self.row is None:
            return None
        half_width = interval95(self.row.values(column))
        return self.row.number(f"{column}_stderr") if half_width is None else half_width


def find_flow_cell(
    runs: Sequence[Run],
    experiment: str,
    data: str,
    model: str,
    units: int,
    recipes: Recipes = ANY_RECIPE,
) -> FlowCell:
    """The cell's runs among `runs`; what is missing is a note with the command that makes it.

    Runs of an experiment that says that it is for something else do not count. Of several recipes, a finished one is
    taken, of those one of `recipes`, of those an experiment's of this figure, of those the one with the most training
    steps; a note says so, and another that the one taken is none of `recipes`.
    """
    key = UNITS[model]
    name = f"{model} on {data} with {key.partition('.')[2]} {units}"
    command = f"nodebench train experiment={experiment} data={data} {key}={units}"
    figure = experiment.partition("_")[0]
    matching = [
        run
        for run in runs
        if run.names == (data, model) and run.setting(key) == units and _is_for(run, figure) is not False
    ]
    if not matching:
        return FlowCell(data, model, units, None, NO_RUN, None, (f"missing: {name}: {command}",))
    row, *others = sorted(rows_over_seeds(matching), key=lambda row: _precedence(row, figure, recipes))
    notes = []
    if others:
        left_out = ", ".join(_recipe(other) for other in others)
        notes.append(f"several recipes: {name}: drawn is {_recipe(row)}, left out: {left_out}")
    if not row.counted:
        first = row.runs[0]
        reason = f": {first.problem}" if first.problem else ""
        notes.append(f"{first.status}: {name}{reason}; again: {command}")
        return FlowCell(data, model, units, row, first.status, None, tuple(notes))
    complaint = recipes.complaint(row.first, name)
    if complaint:
        notes.append(f"{complaint}; its own: {command}")
    notes += [f"{note} ({name})" for note in row.notes if note.startswith(("not counted", "seed "))]
    pictures = None
    try:
        pictures = read_pictures(min(row.counted, key=_seed).folder)
    except DamagedPicturesError as error:
        notes.append(f"no picture: {name}: {error}")
    return FlowCell(data, model, units, row, "finished", pictures, tuple(notes), complaint)


def num_steps(row: Row) -> int:
    """The training steps that the row's recipe asks for, 0 where the config does not tell."""
    asked = row.runs[0].setting("training.num_steps")
    return asked if isinstance(asked, int) else 0


def _is_for(run: Run, figure: str) -> bool | None:
    """Whether the run's experiment reproduces `figure`, such as fig4; None for a run of no experiment."""
    reproduces = run.setting("about.reproduces")
    return None if reproduces is None else str(reproduces).startswith(figure.replace("fig", "Figure "))


def _precedence(row: Row, figure: str, recipes: Recipes) -> tuple[bool, bool, bool, int, str]:
    is_for = _is_for(row.first, figure)
    return (
        *(not row.counted, not recipes.has(row.first), is_for is None),
        *(-num_steps(row), row.identity["hash"]),
    )


def _recipe(row: Row) -> str:
    status = "" if row.counted else f", {row.runs[0].status}"
    return f"{row.identity['hash'] or row.runs[0].folder} ({counted(num_steps(row), 'step')}{status})"


def _seed(run: Run) -> tuple[int, str]:
    return (int(run.seed) if run.seed.isdecimal() else 0, run.seed)
