"""Figure 9: what a latent ODE decodes while one dimension of its latent state varies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nodebench.counted import counted
from nodebench.reporting.cells import NO_RUN
from nodebench.reporting.figures.drawing.drawing import Drawing, NothingToDrawError
from nodebench.reporting.figures.drawing.panels import new_figure, place, write
from nodebench.reporting.figures.drawing.series import say_in_square, square
from nodebench.reporting.figures.drawing.style import GREY, PALE, WIDTH
from nodebench.reporting.recipes import Recipes
from nodebench.reporting.runs import Run
from nodebench.reporting.series_cells import PAPERS_DATA, SeriesCell, find_series_cell, latent_of
from nodebench.reporting.series_pictures import LatentPictures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

NUM_OBSERVED = 30
TIME_COLOURS = ("#5b2a86", "#8e3a9d", "#c2417c", "#e2603f", "#d7191c")  # purple to red, as the paper's
SMALL: dict[str, Any] = {"fontsize": 7, "color": GREY}
REACH = 99.0  # percent of all points that lie within a panel, at the least

# Inches.
LEFT, TOP, BOTTOM, GAP = 0.46, 0.42, 0.62, 0.05
AREA_GAP, AREA, RIGHT = 0.56, 1.35, 0.08


def fig9(runs: Sequence[Run], recipes: Recipes) -> Drawing:
    """A row for every latent dimension, a panel for each of its values, and the signed area against the value.

    Of the latent ODE at 30 points, the other dimensions at the prior's mean. The paper's Figure 9 shows one dimension.
    Raises NothingToDrawError if none of the runs belongs to it.
    """
    cell = find_series_cell(runs, PAPERS_DATA, "latent_ode", NUM_OBSERVED, recipes)
    if cell.status == NO_RUN:
        raise NothingToDrawError("make them with `nodebench reproduce fig9`")
    latent, problems = latent_of(cell)
    complaints = [cell.choice.complaint] if cell.choice.complaint else []
    if latent is None:
        figure = new_figure(WIDTH, 2.0, complaints)
        say_in_square(place(figure, LEFT, 0.1, 1.8), cell.without_picture)
    else:
        figure = _draw(latent, complaints)
    numbers = pd.DataFrame(_numbers(cell, latent) if latent is not None else []).convert_dtypes()
    return Drawing(figure, numbers, [*cell.choice.notes, *problems])


def _draw(latent: LatentPictures, complaints: Sequence[str]) -> Figure:
    num_rows, num_panels = latent.traversal.shape[:2]
    panel = (WIDTH - LEFT - AREA_GAP - AREA - RIGHT - (num_panels - 1) * GAP) / num_panels
    height = TOP + num_rows * (panel + GAP) + BOTTOM
    figure = new_figure(WIDTH, height, complaints)
    reach = float(np.percentile(np.abs(latent.traversal), REACH)) * 1.1
    areas, changes = latent.signed_areas, latent.sign_changes
    for row in range(num_rows):
        top = TOP + row * (panel + GAP)
        write(figure, LEFT / 2, top + panel / 2, f"$z_{row + 1}$", fontsize=11)
        for column, value in enumerate(latent.values):
            left = LEFT + column * (panel + GAP)
            _draw_path(place(figure, left, top, panel), latent.traversal[row, column], reach)
            if row == 0:
                write(figure, left + panel / 2, TOP - 0.11, f"{value:g}", color=GREY, fontsize=8)
        axes = place(figure, WIDTH - RIGHT - AREA, top, AREA, panel)
        _draw_areas(axes, latent.values, areas[row], np.abs(areas).max() * 1.15)
        words = f"{counted(int(changes[row]), 'change')} of sign"
        # Away from the curve, which rises or falls through the corners that are left.
        is_low = areas[row][: num_panels // 2].mean() < 0
        axes.text(
            0.05,
            0.95 if is_low else 0.06,
            words,
            va="top" if is_low else "bottom",
            **SMALL,
            transform=axes.transAxes,
        )
        if row < num_rows - 1:
            axes.set_xticklabels([])
    middle = LEFT + (num_panels * (panel + GAP) - GAP) / 2
    write(figure, middle, 0.13, "value of this dimension of $z(t_0)$, the others 0")
    write(figure, WIDTH - RIGHT - AREA / 2, 0.13, "signed area")
    write(figure, WIDTH - RIGHT - AREA / 2, TOP - 0.11, "> 0: counter-clockwise", color=GREY, fontsize=8)
    _draw_time(figure, middle, height - 0.3, latent.times)
    return figure


def _draw_path(axes: Axes, path: np.ndarray, reach: float) -> None:
    """A decoded trajectory (T, 2), from purple to red with time; it begins at the dot."""
    from matplotlib.collections import LineCollection

    steps = np.stack([path[:-1], path[1:]], axis=1)
    axes.add_collection(
        LineCollection(list(steps), array=np.arange(len(steps)), cmap=_time_colours(), linewidth=1.1)
    )
    axes.plot(*path[0], "o", color=TIME_COLOURS[0], markersize=2.6, markeredgewidth=0)
    square(axes, reach)


def _draw_areas(axes: Axes, values: np.ndarray, areas: np.ndarray, reach: float) -> None:
    axes.axhline(0.0, color=GREY, linewidth=0.7)
    axes.plot(values, areas, "o-", color="#444b59", markersize=2.6, linewidth=1.0)
    axes.set(ylim=(-reach, reach), xticks=[values[0], 0, values[-1]])
    axes.grid(color=PALE)
    axes.tick_params(labelsize=7)


def _draw_time(figure: Figure, middle: float, top: float, times: np.ndarray) -> None:
    """A bar of the colours of time."""
    width = 2.4
    axes = place(figure, middle - width / 2, top, width, 0.08)
    axes.imshow(np.linspace(0, 1, 256)[None], aspect="auto", cmap=_time_colours())
    axes.set(xticks=[], yticks=[])
    for left, words in ((-width / 2 - 0.06, f"t = {times[0]:.3g}"), (width / 2 + 0.06, f"{times[-1]:.3g}")):
        ha = "right" if left < 0 else "left"
        write(figure, middle + left, top + 0.04, words, ha=ha, fontsize=8)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _time_colours() -> Colormap:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("time", TIME_COLOURS)


def _numbers(cell: SeriesCell, latent: LatentPictures) -> list[dict[str, object]]:
    """A line of the CSV for every dimension and value."""
    run = cell.choice.drawn_run
    return [
        {
            "seed": run.seed if run else None,
            "hash": run.hash if run else None,
            "dimension": row + 1,
            "value": float(value),
            "signed_area": float(latent.signed_areas[row, column]),
            "sign_changes": int(latent.sign_changes[row]),
        }
        for row in range(len(latent.traversal))
        for column, value in enumerate(latent.values)
    ]
