"""Error of the gradient against its cost, under the three gradient modes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nodebench.ode.methods.traits import GRADIENTS
from nodebench.reporting.figures.drawing.charts import chart, plain_numbers, power, say, whole_decades
from nodebench.reporting.figures.drawing.drawing import Drawing
from nodebench.reporting.figures.drawing.panels import new_figure
from nodebench.reporting.figures.drawing.style import GRADIENT_COLOURS, GRADIENT_MARKERS, GREY, WIDTH
from nodebench.reporting.measures import Measures, medians, pick_measured
from nodebench.reporting.recipes import Recipes
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

CORNERS = tuple(np.array(corner) for corner in ((-1, -1), (1, 1), (-1, 1), (1, -1)))

# Inches. LABEL: from a mark to the middle of its label, in each direction.
LABEL = np.array([0.21, 0.11])
LEFT, TOP, PANEL, HEIGHT, GAP, BOTTOM = 0.68, 0.36, 4.0, 3.1, 0.76, 0.5


def gradients(runs: Sequence[Run], recipes: Recipes) -> Drawing:
    """Gradient error against (a) the time and (b) the evaluations of forward and backward, a mark a tolerance.

    Medians over the measured batches of relative L2 errors of dL/d(y0, theta) against a float64 gradient at a tight
    tolerance. Raises NotMeasuredError if no run's gradients were measured.
    """
    _, lines, notes, footnotes = pick_measured(runs, _with_gradient, recipes)
    lines = lines.assign(
        nfe=lines["nfe_forward"] + lines["nfe_backward"].fillna(0),
        time_ms=lines["time_forward_ms"] + lines["time_backward_ms"],
    )
    table = medians(lines, ("gradient", "tol"), COLUMNS)
    figure = new_figure(WIDTH, TOP + HEIGHT + BOTTOM, footnotes)
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
        whole_decades(axes, table["error_gradient"])
        _label_tolerances(axes, table, column)
        axes.legend(
            loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, borderaxespad=0.3, columnspacing=1.2
        )
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
    """The tolerance beside the marks of the cheapest curve, from the ends inwards, where there is room.

    Below and left of its mark, or at another corner where a mark of any curve is in the way.
    """
    axes.set_xlim(left=0.7 * table[column].min())
    known = table[table[column].notna()]
    cheapest = known.groupby("gradient")[column].median().idxmin()
    marks = known[known["gradient"] == cheapest].sort_values("tol")
    all_marks = _inches(axes, known[[column, "error_gradient"]].to_numpy(float))
    taken: list[np.ndarray] = []
    for place in sorted(range(len(marks)), key=lambda place: min(place, len(marks) - 1 - place)):
        mark = marks.iloc[place]
        at = (mark[column], mark["error_gradient"])
        position = _inches(axes, np.array([at]))[0]
        corner = next((c for c in CORNERS if _is_free(position + c * LABEL, all_marks, taken)), None)
        if corner is None:
            continue
        taken.append(position + corner * LABEL)
        right, up = corner > 0
        axes.annotate(
            power(mark["tol"]),
            at,
            xytext=(4 * corner[0], 3 * corner[1]),
            textcoords="offset points",
            ha="left" if right else "right",
            va="bottom" if up else "top",
            color=GREY,
            fontsize=8,
        )


def _inches(axes: Axes, points: np.ndarray) -> np.ndarray:
    """Where points of the data lie in the panel, from its lower left corner."""
    return axes.transAxes.inverted().transform(axes.transData.transform(points)) * (PANEL, HEIGHT)


def _is_free(middle: np.ndarray, marks: np.ndarray, labels: Sequence[np.ndarray]) -> bool:
    """Whether a label around `middle` touches no mark and no label, and lies in the panel."""

    def touches(others: Sequence[np.ndarray] | np.ndarray, reach: tuple[float, float]) -> bool:
        return any((abs(middle - other) < reach).all() for other in others)

    is_inside = bool((middle > 0).all() and (middle < (PANEL, HEIGHT)).all())
    return is_inside and not touches(marks, (0.2, 0.1)) and not touches(labels, (0.33, 0.13))
