"""Error of the gradient against its cost, under the three gradient modes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from nodebench.reporting.figures.drawing.charts import chart, plain_numbers, power, say
from nodebench.reporting.figures.drawing.drawing import Drawing
from nodebench.reporting.figures.drawing.panels import new_figure
from nodebench.reporting.figures.drawing.style import GRADIENT_COLOURS, GRADIENT_MARKERS, GREY, WIDTH
from nodebench.reporting.measures import GRADIENTS, Measures, medians, pick_measured
from nodebench.reporting.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = (
    "nfe_forward",
    "nfe_backward",
    "nfe",
    "time_forward_ms",
    "time_backward_ms",
    "time_ms",
    "error_gradient",
)

# Inches.
LEFT, TOP, PANEL, HEIGHT, GAP, BOTTOM = 0.68, 0.36, 4.0, 3.1, 0.76, 0.5


def gradients(runs: Sequence[Run]) -> Drawing:
    """Gradient error against (a) the time and (b) the evaluations of forward and backward, a mark a tolerance.

    Medians over the measured batches of relative L2 errors of dL/d(y0, theta) against a float64 gradient at a tight
    tolerance. Raises NotMeasuredError if no run's gradients were measured.
    """
    _, lines, notes = pick_measured(runs, _with_gradient)
    lines = lines.assign(
        nfe=lines["nfe_forward"] + lines["nfe_backward"].fillna(0),
        time_ms=lines["time_forward_ms"] + lines["time_backward_ms"],
    )
    table = medians(lines, ("gradient", "tol"), COLUMNS)
    figure = new_figure(WIDTH, TOP + HEIGHT + BOTTOM)
    for number, (column, title, label) in enumerate(
        (
            ("time_ms", "(a) time", "time of forward and backward (ms)"),
            ("nfe", "(b) evaluations", "NFE forward + backward"),
        )
    ):
        box = (LEFT + number * (PANEL + GAP), TOP, PANEL, HEIGHT)
        axes = chart(figure, box, title=title, x=label, y="gradient error", log="xy")
        if table[column].notna().sum() == 0:
            say(axes, "no time was measured")
            continue
        for gradient in (name for name in GRADIENTS if name in set(table["gradient"])):
            curve = table[(table["gradient"] == gradient) & table[column].notna()].sort_values("tol")
            axes.plot(
                *(curve[column], curve["error_gradient"]),
                color=GRADIENT_COLOURS[gradient],
                marker=GRADIENT_MARKERS[gradient],
                label=gradient,
            )
        plain_numbers(axes, "x")
        _label_tolerances(axes, table, column)
        axes.legend(loc="upper right")
    notes += [
        f"the gradient of {gradient} was not measured: `nodebench measure RUN` does it"
        for gradient in GRADIENTS
        if gradient not in set(table["gradient"])
    ]
    return Drawing(figure, table, notes)


def _with_gradient(measures: Measures) -> pd.DataFrame:
    own = measures.own
    return own[own["error_gradient"].gt(0)]


def _label_tolerances(axes: Axes, table: pd.DataFrame, column: str) -> None:
    """The tolerance to the left of every mark of the cheapest curve, where nothing else is."""
    cheapest = table.groupby("gradient")[column].median().idxmin()
    for _, point in table[table["gradient"] == cheapest].iterrows():
        axes.annotate(
            power(point["tol"]),
            (point[column], point["error_gradient"]),
            xytext=(-7, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            color=GREY,
            fontsize=8,
        )
    axes.set_xlim(left=0.7 * table[column].min())
