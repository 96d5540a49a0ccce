"""Which runs fill one cell of Table 2 and of the figures beside it: data, a model, and how much is observed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nodebench.reporting.cells import Choice, choose
from nodebench.reporting.pictures import DamagedPicturesError
from nodebench.reporting.recipes import ANY_RECIPE, Recipes
from nodebench.reporting.runs import Run
from nodebench.reporting.series_pictures import (
    LatentPictures,
    SeriesPictures,
    read_latent_pictures,
    read_series_pictures,
)

NAMES = {"rnn": "RNN", "rnn_dt": "RNN with dt", "latent_ode": "latent ODE"}
PAPERS_DATA = "spirals"  # as the paper shows them; its own are not published
NUMBERS_OBSERVED = (30, 50, 100)
NUM_POINTS = 100
KEY = "data.num_observed"


@dataclass(frozen=True)
class SeriesCell:
    """One experiment that a table or figure asks for, over its seeds."""

    data: str
    model: str
    num_observed: int
    choice: Choice

    @property
    def status(self) -> str:
        return self.choice.status

    @property
    def without_picture(self) -> str:
        return self.choice.without_picture

    def values(self, column: str) -> list[float]:
        """See Choice, as of what follows."""
        return self.choice.values(column)

    def mean(self, column: str) -> float | None:
        return self.choice.mean(column)

    def interval(self, column: str) -> float | None:
        return self.choice.interval(column)

    def words(self, column: str, style: str = "") -> str:
        return self.choice.words(column, style)

    def numbers(self, columns: Sequence[str]) -> Iterator[dict[str, object]]:
        which = {"data": self.data, "model": self.model, "num_observed": self.num_observed}
        return self.choice.numbers(which, columns)


def find_series_cell(
    runs: Sequence[Run], data: str, model: str, num_observed: int, recipes: Recipes = ANY_RECIPE
) -> SeriesCell:
    """The cell's runs among `runs`, as cells.choose chooses; what is missing is a note with the command that makes it.

    Runs of an experiment that says that it reproduces nothing of the paper do not count.
    """
    matching = [
        run for run in runs if cell_of(run) == (data, model, num_observed) and not _is_of_something_else(run)
    ]
    on_data = "" if data == PAPERS_DATA else f" on {data}"
    name = f"{NAMES[model]}{on_data} at {num_observed} of {NUM_POINTS} points"
    of_data = "" if data == PAPERS_DATA else f" data={data}"
    command = f"nodebench train experiment=table2_{model}{of_data} {KEY}={num_observed}"
    return SeriesCell(data, model, num_observed, choose(matching, name, command, recipes))


def cell_of(run: Run) -> tuple[str, str, int] | None:
    """Data, model and observed points of a run that belongs to a cell; None for any other."""
    (data, model), num_observed = run.names, run.setting(KEY)
    is_one = model in NAMES and num_observed in NUMBERS_OBSERVED
    return (data, model, num_observed) if is_one and run.setting("data.num_points") == NUM_POINTS else None


def series_of(cell: SeriesCell) -> tuple[SeriesPictures | None, list[str]]:
    """The series that the cell's lowest finished seed left to be drawn; without them, a note that says why."""
    if cell.choice.drawn_run is None:
        return None, []
    try:
        return read_series_pictures(cell.choice.drawn_run.folder), []
    except DamagedPicturesError as error:
        return None, [f"no picture: {error}"]


def latent_of(cell: SeriesCell) -> tuple[LatentPictures | None, list[str]]:
    """The latent space that the cell's lowest finished seed left to be drawn; without it, a note that says why."""
    if cell.choice.drawn_run is None:
        return None, []
    try:
        return read_latent_pictures(cell.choice.drawn_run.folder), []
    except DamagedPicturesError as error:
        return None, [f"no picture: {error}"]


def _is_of_something_else(run: Run) -> bool:
    return str(run.setting("about.reproduces") or "").startswith("nothing")
