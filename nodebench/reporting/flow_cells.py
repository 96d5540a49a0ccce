"""Which runs fill one cell of a figure of flows: a data set, a model, and its number of units."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nodebench.reporting.cells import FINISHED, choose
from nodebench.reporting.pictures import DamagedPicturesError, Pictures, read_pictures
from nodebench.reporting.recipes import ANY_RECIPE, Recipes
from nodebench.reporting.rows import Row, interval95
from nodebench.reporting.runs import Run

UNITS = {"planar_nf": "model.num_layers", "cnf": "model.width"}  # the paper's K and M


@dataclass(frozen=True)
class FlowCell:
    """One experiment that a figure asks for, over its seeds. `row` is None where it has no run.

    `status`, `notes` and `complaint` as of cells.Choice. `pictures` are those of the lowest finished seed.
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
        return "no picture" if self.status == FINISHED else self.status

    def values(self, column: str) -> list[float]:
        """The summary's column of every finished seed that has it."""
        return [] if self.row is None else self.row.values(column)

    def mean(self, column: str) -> float | None:
        """The mean of a summary's column over the finished seeds; None where there is none."""
        return None if self.row is None else self.row.number(column)

    def error(self, column: str) -> float | None:
        """Half the 95 % interval of `column` over the seeds; for one seed, its own standard error."""
        if self.row is None:
            return None
        half_width = interval95(self.values(column))
        return self.row.number(f"{column}_stderr") if half_width is None else half_width


def find_flow_cell(
    runs: Sequence[Run],
    experiment: str,
    data: str,
    model: str,
    units: int,
    recipes: Recipes = ANY_RECIPE,
) -> FlowCell:
    """The cell's runs among `runs`, as cells.choose chooses; what is missing is a note with the command that makes it.

    Runs of an experiment that says that it is for something else than this figure do not count.
    """
    key = UNITS[model]
    name = f"{model} on {data} with {key.partition('.')[2]} {units}"
    command = f"nodebench train experiment={experiment} data={data} {key}={units}"
    figure = experiment.partition("_")[0]
    matching = [
        run
        for run in runs
        if run.names == (data, model) and run.setting(key) == units and _may_be_for(run, figure)
    ]
    choice = choose(matching, name, command, recipes)
    pictures, problems = None, []
    if choice.drawn_run is not None:
        try:
            pictures = read_pictures(choice.drawn_run.folder)
        except DamagedPicturesError as error:
            problems.append(f"no picture: {name}: {error}")
    notes = (*choice.notes, *problems)
    return FlowCell(data, model, units, choice.row, choice.status, pictures, notes, choice.complaint)


def _may_be_for(run: Run, figure: str) -> bool:
    """Whether the run's experiment reproduces `figure`, such as fig4, or it is of no experiment."""
    reproduces = run.setting("about.reproduces")
    return reproduces is None or str(reproduces).startswith(figure.replace("fig", "Figure "))


def seeds_note(cells: Iterable[FlowCell]) -> list[str]:
    """What is of all seeds and what of one, where a cell has several; else nothing."""
    rows = [cell.row for cell in cells if cell.row is not None and cell.row.counted]
    numbers = sorted({len(row.counted) for row in rows})
    if not numbers or numbers[-1] < 2:
        return []
    of_seeds = " to ".join(dict.fromkeys(map(str, (numbers[0], numbers[-1]))))
    return [
        f"numbers are means of {of_seeds} seeds, ± half the 95 % interval (Student's t); densities are those of the "
        "lowest seed"
    ]
