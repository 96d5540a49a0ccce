"""Figure 10: what a latent ODE makes of spirals with 30, 50 and 100 observed points."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from nodebench.reporting.cells import NO_RUN
from nodebench.reporting.figures.drawing.drawing import Drawing, NothingToDrawError
from nodebench.reporting.figures.drawing.panels import new_figure, place, write
from nodebench.reporting.figures.drawing.series import DIRECTIONS, draw_first, series_legend
from nodebench.reporting.figures.drawing.style import GREY, WIDTH
from nodebench.reporting.recipes import Recipes
from nodebench.reporting.runs import Run
from nodebench.reporting.series_cells import (
    NUM_POINTS,
    NUMBERS_OBSERVED,
    PAPERS_DATA,
    find_series_cell,
    series_of,
)

SUMMARY_COLUMNS = ("rmse", "rmse_mean", "rmse_median", "rmse_interp", "rmse_zero", "rmse_last", "rmse_frozen")

# Inches.
GAP, LEFT, TOP, BOTTOM = 0.08, 0.36, 0.62, 0.3
PANEL = (WIDTH - LEFT - 0.06 - 2 * GAP) / len(NUMBERS_OBSERVED)


def fig10(runs: Sequence[Run], recipes: Recipes) -> Drawing:
    """A column for every number of observed points, a row for the first test series of either direction.

    After Chen et al. (2018), Fig. 10. Raises NothingToDrawError if none of the runs belongs to it.
    """
    cells = [find_series_cell(runs, PAPERS_DATA, "latent_ode", n, recipes) for n in NUMBERS_OBSERVED]
    if all(cell.status == NO_RUN for cell in cells):
        raise NothingToDrawError("make them with `nodebench reproduce fig10`")
    complaints = [cell.choice.complaint for cell in cells if cell.choice.complaint]
    figure = new_figure(WIDTH, TOP + len(DIRECTIONS) * (PANEL + GAP) + BOTTOM, complaints)
    series_legend(figure, LEFT, 0.08)
    notes = []
    for column, cell in enumerate(cells):
        left = LEFT + column * (PANEL + GAP)
        series, problems = series_of(cell)
        notes += [*cell.choice.notes, *problems]
        write(figure, left + PANEL / 2, TOP - 0.13, f"{cell.num_observed} of {NUM_POINTS} points observed")
        for row, direction in enumerate(DIRECTIONS):
            draw_first(place(figure, left, TOP + row * (PANEL + GAP), PANEL), cell, series, direction)
        if words := cell.words("rmse", ".3f"):
            below = TOP + len(DIRECTIONS) * (PANEL + GAP) + 0.1
            write(figure, left + PANEL / 2, below, f"RMSE {words}")
    for row, words in enumerate(DIRECTIONS.values()):
        middle = TOP + row * (PANEL + GAP) + PANEL / 2
        write(figure, LEFT / 2, middle, words, rotation=90, color=GREY)
    numbers = [line for cell in cells for line in cell.numbers(SUMMARY_COLUMNS)]
    return Drawing(figure, pd.DataFrame(numbers).convert_dtypes(), notes)
