"""Series and what a model makes of them as one small picture, for a dashboard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nodebench.training.protocols import Pictures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NUM_SERIES = 4
PANEL, DPI = 2.2, 100  # inches, dots an inch
AIR = 1.25  # of a panel, over what is true and observed
_TRUTH, _PREDICTION, _EXTRAPOLATION = "#93d3a2", "#1f4fa3", "#b3122a"


def series_image(pictures: Pictures) -> np.ndarray:
    """The first series side by side, (height, width, 3) uint8: truth wide, observations dots, prediction thin.

    Series in the plane are drawn there, others against time. `pictures` has times (K, T), clean, values and prediction
    (K, T, dim), NaN where there is none, observed and is_horizon (K, T).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count = min(NUM_SERIES, len(pictures["prediction"]))
    figure = Figure(figsize=(count * PANEL, PANEL), dpi=DPI, layout="constrained")
    for index, axes in enumerate(figure.subplots(1, count, squeeze=False)[0]):
        _draw(axes, {name: pictures[name][index] for name in _PARTS})
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


_PARTS = ("times", "clean", "values", "observed", "is_horizon", "prediction")


def _draw(axes: Axes, series: dict[str, np.ndarray]) -> None:
    times, clean, predicted, horizon = (
        series[name] for name in ("times", "clean", "prediction", "is_horizon")
    )
    is_predicted = np.isfinite(predicted).all(1)
    parts: tuple[tuple[np.ndarray, np.ndarray, dict[str, Any]], ...] = (
        (clean, np.isfinite(clean).all(1), {"color": _TRUTH, "linewidth": 3.5}),
        (predicted, is_predicted & ~horizon, {"color": _PREDICTION, "linewidth": 1.2}),
        (predicted, is_predicted & horizon, {"color": _EXTRAPOLATION, "linewidth": 1.2, "linestyle": "--"}),
        (series["values"], series["observed"], {"color": "black", "marker": ".", "linestyle": "none"}),
    )
    is_plane = predicted.shape[1] == 2
    for path, there, look in parts:
        across, up = (path[there, 0], path[there, 1]) if is_plane else (times[there], path[there])
        axes.plot(across, up, **look)
    # What is true sets the limits: an untrained model may be anywhere.
    known = np.concatenate([series["values"], clean])
    known = np.where(np.isnan(known).all(0), 0.0, known)  # a coordinate may be missing throughout a series
    lowest, highest = np.nanmin(known, axis=0), np.nanmax(known, axis=0)
    if is_plane:
        reach = AIR * (max(highest - lowest) or 1.0) / 2  # of a series that stays where it is
        x, y = (lowest + highest) / 2
        axes.set(xlim=(x - reach, x + reach), ylim=(y - reach, y + reach), aspect="equal")
    else:
        air = (AIR - 1) * (highest.max() - lowest.min() or 1.0) / 2
        axes.set(ylim=(lowest.min() - air, highest.max() + air))
    axes.tick_params(labelsize=6)
