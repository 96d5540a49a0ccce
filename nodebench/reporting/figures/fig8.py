"""Figure 8: what an RNN and a latent ODE make of spirals with 30 observed points, and the latent trajectories."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nodebench.reporting.cells import NO_RUN
from nodebench.reporting.figures.drawing.drawing import Drawing, NothingToDrawError
from nodebench.reporting.figures.drawing.panels import new_figure, place, write
from nodebench.reporting.figures.drawing.series import (
    DIRECTION_COLOURS,
    DIRECTIONS,
    draw_first,
    say_in_square,
    series_legend,
)
from nodebench.reporting.figures.drawing.style import GREY, PALE, WIDTH
from nodebench.reporting.recipes import Recipes
from nodebench.reporting.runs import Run
from nodebench.reporting.series_cells import (
    NAMES,
    NUM_POINTS,
    PAPERS_DATA,
    SeriesCell,
    find_series_cell,
    latent_of,
    series_of,
)
from nodebench.reporting.series_pictures import LatentPictures, SeriesPictures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MODELS = ("rnn", "latent_ode")
NUM_OBSERVED = 30
SUMMARY_COLUMNS = (
    *("rmse", "rmse_zero", "rmse_last", "rmse_frozen", "radius_ratio", "turns_right"),
    *("probe_accuracy", "probe_quadratic", "kl_z0", "active_units"),
)

SMALL = 7.5  # points

# Inches.
PANEL, GAP = 2.05, 0.08
LEFT, TOP, CAPTION = 0.06, 0.52, 0.62
LATENT_GAP, LATENT, LATENT_CAPTION = 0.8, 4.4, 0.55


def fig8(runs: Sequence[Run], recipes: Recipes) -> Drawing:
    """Two test series, the first of either direction, by both models, and the latent trajectories of many.

    Laid out as in Chen et al. (2018), Fig. 8, whose (c) shows the first two latent coordinates; here those in
    which a straight line tells the directions apart best. Raises NothingToDrawError if none of the runs belongs to it.
    """
    cells = [find_series_cell(runs, PAPERS_DATA, model, NUM_OBSERVED, recipes) for model in MODELS]
    if all(cell.status == NO_RUN for cell in cells):
        raise NothingToDrawError("make them with `nodebench reproduce fig8`")
    series, problems = zip(*(series_of(cell) for cell in cells), strict=True)
    latent, latent_problems = latent_of(cells[1])
    complaints = [cell.choice.complaint for cell in cells if cell.choice.complaint]
    figure = new_figure(WIDTH, TOP + 2 * (PANEL + CAPTION), complaints)
    series_legend(figure, LEFT + 0.02, 0.06)
    for row, cell in enumerate(cells):
        _draw_model(figure, TOP + row * (PANEL + CAPTION), cell, series[row], f"({'ab'[row]})")
    left = LEFT + 2 * PANEL + GAP + LATENT_GAP
    _draw_latent(place(figure, left, TOP, LATENT), cells[1], latent)
    below = TOP + LATENT + LATENT_CAPTION
    write(figure, left + LATENT / 2, below, "(c) latent trajectories, dots at $t_0$")
    for line, words in enumerate(_latent_words(cells[1], latent)):
        write(figure, left + LATENT / 2, below + 0.16 + 0.14 * line, words, color=GREY, fontsize=SMALL)
    notes = [note for cell in cells for note in cell.choice.notes]
    notes += dict.fromkeys([*(note for each in problems for note in each), *latent_problems])
    notes += _unlike(series)
    numbers = [line for index, cell in enumerate(cells) for line in _numbers(cell, series[index], latent)]
    return Drawing(figure, pd.DataFrame(numbers).convert_dtypes(), notes)


def _draw_model(
    figure: Figure, top: float, cell: SeriesCell, series: SeriesPictures | None, letter: str
) -> None:
    """A row: one series of either direction, and what the model does to all of the test set in words."""
    for column, (direction, words) in enumerate(DIRECTIONS.items()):
        left = LEFT + column * (PANEL + GAP)
        draw_first(place(figure, left, top, PANEL), cell, series, direction)
        if letter == "(a)":
            write(figure, left + PANEL / 2, top - 0.11, words, color=GREY, fontsize=8)
    middle = LEFT + PANEL + GAP / 2
    write(
        figure,
        middle,
        top + PANEL + 0.12,
        f"{letter} {NAMES[cell.model]}, {NUM_OBSERVED} of {NUM_POINTS} points",
    )
    rmse = cell.words("rmse", ".3f")
    right, ratio = (cell.words(name, ".2f") for name in ("turns_right", "radius_ratio"))
    true = "" if series is None else f" (true: {series.true_radius_ratio:.2f})"
    for line, words in enumerate(
        (
            f"RMSE {rmse}, share that turns the right way {right}" if right else "",
            f"radius at the horizon's end over that at its beginning: {ratio}{true}" if ratio else "",
        )
    ):
        write(figure, middle, top + PANEL + 0.28 + 0.14 * line, words, color=GREY, fontsize=SMALL)


def _draw_latent(axes: Axes, cell: SeriesCell, latent: LatentPictures | None) -> None:
    if latent is None:
        say_in_square(axes, cell.without_picture)
        return
    from matplotlib.lines import Line2D

    first, second, _ = latent.clearest_pair
    for path, direction in zip(latent.latent, latent.direction, strict=True):
        colour = DIRECTION_COLOURS.get(int(direction), GREY)
        axes.plot(path[:, first], path[:, second], color=colour, linewidth=0.7, alpha=0.55)
        axes.plot(*path[0, [first, second]], "o", color=colour, markersize=3.0, markeredgewidth=0)
    axes.locator_params(nbins=6)
    axes.set(xlabel=f"$z_{first + 1}$", ylabel=f"$z_{second + 1}$")
    axes.grid(color=PALE)
    axes.set_axisbelow(True)
    handles = [
        Line2D([], [], color=DIRECTION_COLOURS[direction], marker="o", markersize=3.5, label=words)
        for direction, words in DIRECTIONS.items()
    ]
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, borderaxespad=0.3)


def _latent_words(cell: SeriesCell, latent: LatentPictures | None) -> Iterator[str]:
    """How far the latent state tells the directions apart."""
    probes = (("linear", "probe_accuracy"), ("quadratic", "probe_quadratic"))
    told = [f"{accuracy} {kind}" for kind, name in probes if (accuracy := cell.words(name, ".2f"))]
    if told:
        yield f"share whose direction a probe reads off $z(t_0)$: {', '.join(told)}"
    if latent is not None:
        yield f"share of points that a straight line tells apart in this plane: {latent.clearest_pair[2]:.2f}"


def _unlike(series: Sequence[SeriesPictures | None]) -> list[str]:
    """A note where the two models' series, one below the other, are not the same."""
    rnn, ours = series
    if rnn is None or ours is None:
        return []
    is_same = rnn.clean.shape == ours.clean.shape and np.allclose(rnn.clean, ours.clean, atol=1e-4)
    return [] if is_same else ["the RNN's series are others than the latent ODE's: their data differ"]


def _numbers(
    cell: SeriesCell, series: SeriesPictures | None, latent: LatentPictures | None
) -> list[dict[str, object]]:
    """The cell's lines of the CSV; what is known of the drawn run alone stands in its line."""
    pair = latent.clearest_pair if latent is not None and cell.model == "latent_ode" else None
    lines = list(cell.numbers(SUMMARY_COLUMNS))
    for line in lines:
        is_drawn = bool(line["is_drawn"])
        line["radius_ratio_true"] = series.true_radius_ratio if series is not None and is_drawn else None
        line["latent_pair"] = f"z{pair[0] + 1} z{pair[1] + 1}" if pair and is_drawn else None
        line["latent_pair_told_apart"] = pair[2] if pair and is_drawn else None
    return lines
