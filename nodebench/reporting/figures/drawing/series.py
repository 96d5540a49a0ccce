"""Series in the plane: what is true, observed, predicted and extrapolated, in colours that all eyes tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nodebench.reporting.figures.drawing.style import GREY, PALE
from nodebench.reporting.series_cells import SeriesCell
from nodebench.reporting.series_pictures import CLOCKWISE, COUNTER_CLOCKWISE, SeriesPictures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DIRECTIONS = {CLOCKWISE: "clockwise", COUNTER_CLOCKWISE: "counter-clockwise"}
DIRECTION_COLOURS = {CLOCKWISE: "#d1602a", COUNTER_CLOCKWISE: "#2b6cb0"}
# The paper's colours. Green is wide and light, red thin and dark, so that red and green differ in more than hue.
TRUTH: dict[str, Any] = {"color": "#93d3a2", "linewidth": 4.0, "solid_capstyle": "round", "zorder": 2}
PREDICTION: dict[str, Any] = {"color": "#1f4fa3", "linewidth": 1.3, "zorder": 3}
EXTRAPOLATION: dict[str, Any] = {"color": "#b3122a", "linewidth": 1.3, "dashes": (4, 1.3), "zorder": 3}
OBSERVATION: dict[str, Any] = {
    **{"color": "black", "marker": "o", "linestyle": "none", "markersize": 3.4},
    **{"markeredgecolor": "white", "markeredgewidth": 0.5, "zorder": 4},
}
AIR = 1.22  # of the panel, over what is true


def draw_series(axes: Axes, series: SeriesPictures, index: int) -> None:
    """One series: truth, observations, prediction, and its extrapolation, which begins where the prediction ends."""
    clean, values = series.clean[index], series.values[index]
    predicted, horizon = series.prediction[index], series.is_horizon[index]
    is_predicted = np.isfinite(predicted).all(1)
    inside = np.flatnonzero(is_predicted & ~horizon)
    beyond = np.concatenate([inside[-1:], np.flatnonzero(is_predicted & horizon)])
    axes.plot(*clean.T, **TRUTH)
    axes.plot(*predicted[inside].T, **PREDICTION)
    axes.plot(*predicted[beyond].T, **EXTRAPOLATION)
    axes.plot(*values[series.observed[index]].T, **OBSERVATION)
    # By the truth alone, so that one series looks alike however much of it is observed and whatever is predicted.
    lowest, highest = clean.min(axis=0), clean.max(axis=0)
    extent = float((highest - lowest).max()) or 1.0  # of a series that stays where it is
    square(axes, AIR * extent / 2, (lowest + highest) / 2)


def draw_first(axes: Axes, cell: SeriesCell, series: SeriesPictures | None, direction: int) -> None:
    """The first test series of one direction, or words in its place."""
    index = None if series is None else series.first(direction)
    if series is not None and index is not None:
        draw_series(axes, series, index)
    else:
        say_in_square(axes, cell.without_picture if series is None else f"none turns {DIRECTIONS[direction]}")


def say_in_square(axes: Axes, words: str) -> None:
    """Words in place of a picture."""
    square(axes, 1.0)
    axes.set_facecolor(PALE)
    axes.text(0.0, 0.0, words, ha="center", va="center", color=GREY, fontsize=8)


def square(axes: Axes, reach: float, centre: Sequence[float] | np.ndarray = (0.0, 0.0)) -> None:
    """Axes that reach as far in all directions from their centre, with a thin frame and no numbers."""
    x, y = (float(coordinate) for coordinate in centre)
    axes.set(xticks=[], yticks=[], xlim=(x - reach, x + reach), ylim=(y - reach, y + reach), aspect="equal")
    for spine in axes.spines.values():
        spine.set(visible=True, color=PALE, linewidth=0.8)


def series_legend(figure: Figure, left: float, top: float) -> None:
    """What the lines mean, its upper left corner `left` and `top` inches from the figure's."""
    from matplotlib.lines import Line2D

    looks = {
        "ground truth": TRUTH,
        "observation": OBSERVATION,
        "prediction": PREDICTION,
        "extrapolation": EXTRAPOLATION,
    }
    handles = [Line2D([], [], label=label, **look) for label, look in looks.items()]
    width, height = figure.get_size_inches()
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(left / width, 1 - top / height),
        borderaxespad=0.0,
        borderpad=0.0,
        ncols=len(handles),
        handlelength=2.4,
        columnspacing=1.6,
    )
