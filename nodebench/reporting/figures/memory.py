"""What a forward pass keeps for backward, against its evaluations, under the three gradient modes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from nodebench.ode.methods.traits import GRADIENTS
from nodebench.reporting.figures.drawing.charts import chart
from nodebench.reporting.figures.drawing.drawing import Drawing
from nodebench.reporting.figures.drawing.panels import new_figure
from nodebench.reporting.figures.drawing.style import GRADIENT_COLOURS, GRADIENT_MARKERS
from nodebench.reporting.measures import Measures, pick_measured
from nodebench.reporting.recipes import Recipes
from nodebench.reporting.runs import Run

# Inches.
LEFT, TOP, PANEL, HEIGHT, BOTTOM, RIGHT = 0.68, 0.36, 4.6, 3.0, 0.5, 0.2


def memory(runs: Sequence[Run], recipes: Recipes) -> Drawing:
    """Saved memory against forward evaluations, a mark a tolerance; the slopes are least-squares lines.

    The paper's orders are O(L~) for the direct gradient and O(1) for the adjoint. Raises NotMeasuredError if no
    run's memory was measured.
    """
    _, lines, notes, footnotes = pick_measured(runs, _with_memory, recipes)
    figure = new_figure(LEFT + PANEL + RIGHT, TOP + HEIGHT + BOTTOM, footnotes)
    title = "memory kept between forward and backward"
    axes = chart(figure, (LEFT, TOP, PANEL, HEIGHT), title=title, x="NFE forward", y="saved memory (MiB)")
    slopes = {}
    for gradient in (name for name in GRADIENTS if name in set(lines["gradient"])):
        curve = lines[lines["gradient"] == gradient].sort_values(["nfe_forward", "tol"])
        slopes[gradient] = _slope(curve)
        label = gradient
        if slopes[gradient] is not None:
            label += f": {slopes[gradient]:+.2f} MiB an evaluation"
        axes.plot(
            *(curve["nfe_forward"], curve["memory_saved_mib"]),
            color=GRADIENT_COLOURS[gradient],
            marker=GRADIENT_MARKERS[gradient],
            label=label,
            clip_on=False,
            zorder=3,
        )
    axes.set_xlim(left=0)
    axes.set_ylim(0, 1.08 * lines["memory_saved_mib"].max())
    axes.legend(loc="upper left")
    columns = ["solver", "gradient", "tol", "nfe_forward", "memory_saved_mib"]
    numbers = lines[columns].assign(mib_per_evaluation=lines["gradient"].map(slopes))
    notes += [
        f"the memory of {gradient} was not measured: `nodebench measure RUN` does it"
        for gradient in GRADIENTS
        if gradient not in slopes
    ]
    return Drawing(figure, numbers, notes)


def _with_memory(measures: Measures) -> pd.DataFrame:
    own = measures.own
    return own[own["memory_saved_mib"].notna() & own["nfe_forward"].notna()]


def _slope(curve: pd.DataFrame) -> float | None:
    """MiB an evaluation; None where all solves have the same evaluations."""
    if curve["nfe_forward"].nunique() < 2:
        return None
    slope = np.polyfit(curve["nfe_forward"].to_numpy(float), curve["memory_saved_mib"].to_numpy(float), 1)[0]
    return float(round(slope, 12)) + 0.0
