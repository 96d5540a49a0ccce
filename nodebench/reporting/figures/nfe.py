"""Evaluations of trained nets: against the tolerance, solver by solver, and against the epochs of training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from nodebench.quoting import plain
from nodebench.reporting.epochs import COUNTS, read_epochs
from nodebench.reporting.figures.drawing.charts import chart, plain_numbers, power, say, whole_epochs
from nodebench.reporting.figures.drawing.drawing import Drawing, NothingToDrawError
from nodebench.reporting.figures.drawing.panels import new_figure, plain_label
from nodebench.reporting.figures.drawing.style import (
    LINE_WIDTH,
    MARKER_SIZE,
    SERIES_COLOURS,
    WIDTH,
    series_looks,
)
from nodebench.reporting.measures import Measures, NotMeasuredError, medians, pick_measured
from nodebench.reporting.paper import PAPERS_DATA
from nodebench.reporting.recipes import Recipes, names_of
from nodebench.reporting.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_CURVES = len(SERIES_COLOURS)

DASHES = (0, (4, 2))

# Inches.
LEFT, TOP, PANEL, HEIGHT, GAP, BOTTOM, LEGEND_LINE = 0.62, 0.36, 4.1, 2.9, 0.72, 0.62, 0.19


def nfe(runs: Sequence[Run], recipes: Recipes) -> Drawing:
    """(a) medians over batches by tolerance, a curve a solver; (b) means over seeds by epoch, a curve a recipe.

    Solid: forward; dashed: backward, counted apart. Raises NothingToDrawError if no run counted evaluations.
    """
    try:
        _, lines, notes, footnotes = pick_measured(runs, _counted, recipes)
        by_tolerance = medians(lines, ("solver", "tol"), COUNTS)
    except NotMeasuredError as error:
        notes, footnotes = [f"(a) is empty: {error}"], []
        by_tolerance = pd.DataFrame(columns=["solver", "tol", *COUNTS])
    by_epoch, problems = _by_epoch(runs)
    if by_tolerance.empty and by_epoch.empty:
        raise NothingToDrawError(
            "; ".join([*notes, "no run has epochs with evaluations in its metrics.jsonl"])
        )
    curves = [_curves(by_tolerance, "solver"), _papers_first(_curves(by_epoch, "run"), runs)]
    left_out = [name for found in curves for name in list(found)[MAX_CURVES:]]
    curves = [dict(list(found.items())[:MAX_CURVES]) for found in curves]
    legend = LEGEND_LINE * max((len(curves[0]) + 1) // 2, len(curves[1])) + 0.06
    figure = new_figure(WIDTH, TOP + HEIGHT + BOTTOM + legend, footnotes)
    boxes = [(left, TOP, PANEL, HEIGHT) for left in (LEFT, LEFT + PANEL + GAP)]
    axes = chart(figure, boxes[0], title="(a) trained net", x="tolerance", y="NFE a batch", log="xy")
    _draw_tolerances(axes, curves[0])
    axes = chart(figure, boxes[1], title="(b) training", x="training epoch", y="NFE a batch")
    _draw_epochs(axes, curves[1])
    _explain_dashes(figure)
    notes += [*problems, *(f"left out, for want of colours: {name}" for name in left_out)]
    parts = [by_tolerance.assign(panel="a"), by_epoch.assign(panel="b")]
    numbers = pd.concat([part.convert_dtypes() for part in parts if len(part)], ignore_index=True)
    return Drawing(
        figure, numbers.reindex(columns=["panel", "solver", "tol", "run", "epoch", *COUNTS]), notes
    )


def _counted(measures: Measures) -> pd.DataFrame:
    """One line a solver of ours, tolerance and batch, of the adjoint where it was run."""
    table = measures.ours[measures.ours["nfe_forward"].notna()]
    adjoint_first = table.sort_values("gradient", kind="stable", key=lambda column: column != "adjoint")
    return adjoint_first.drop_duplicates(["solver", "tol", "batch"]).sort_index()


def _by_epoch(runs: Sequence[Run]) -> tuple[pd.DataFrame, list[str]]:
    """Evaluations a training batch by epoch, of every recipe, as the mean over its seeds."""
    table, problems = read_epochs([run for run in runs if run.setting("solver.method")])
    means = table.groupby(["group", "epoch"], sort=True)[list(COUNTS)].mean().reset_index()
    return means.assign(run=means.pop("group").map(names_of(runs))), problems


def _curves(table: pd.DataFrame, by: str) -> dict[str, pd.DataFrame]:
    return {str(name): group for name, group in table.groupby(by, sort=True)}


def _papers_first(curves: dict[str, pd.DataFrame], runs: Sequence[Run]) -> dict[str, pd.DataFrame]:
    """Nets of MNIST, of which the paper shows these counts, before others: there may not be colours for all."""
    names = names_of(runs)
    ours = {names[run.group] for run in runs if run.names[0] == PAPERS_DATA}
    return {name: curves[name] for name in sorted(curves, key=lambda name: (name not in ours, name))}


def _num_above(curve: pd.DataFrame, later: Iterable[pd.DataFrame], x: str) -> int:
    """How many of the curves that are drawn later cover this one: the eye sees no difference of a hundredth."""
    counts = curve.set_index(x)["nfe_forward"]
    others = (other.set_index(x)["nfe_forward"].reindex(counts.index) for other in later)
    return sum(bool(((other - counts).abs() < 0.01 * counts).all()) for other in others)


def _draw(axes: Axes, curves: Mapping[str, pd.DataFrame], x: str, *, legend_columns: int) -> None:
    """Both counts against the column `x`, a colour a curve, and the legend under the axes.

    A curve that later ones lie on is wider, to be seen beneath them.
    """
    from matplotlib.lines import Line2D

    handles = []
    looks = series_looks(curves)
    for number, (name, curve) in enumerate(curves.items(), start=1):
        colour, marker = looks[name]
        scale = 1 + min(_num_above(curve, list(curves.values())[number:], x), 2)
        axes.plot(
            *(curve[x], curve["nfe_forward"]),
            color=colour,
            marker=marker,
            linewidth=scale * LINE_WIDTH,
            markersize=(1 + scale) / 2 * MARKER_SIZE,
        )
        backward = curve[curve["nfe_backward"].gt(0)]
        axes.plot(
            *(backward[x], backward["nfe_backward"]),
            color=colour,
            marker=marker,
            markerfacecolor="white",
            linestyle=DASHES,
        )
        handles.append(Line2D([], [], color=colour, marker=marker, label=plain_label(plain(name))))
    axes.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, -(BOTTOM - 0.08) / HEIGHT),
        borderaxespad=0.0,
        ncols=legend_columns,
        handlelength=1.6,
        columnspacing=1.2,
        fontsize=8,
    )


def _draw_tolerances(axes: Axes, curves: Mapping[str, pd.DataFrame]) -> None:
    if not curves:
        return say(axes, "nothing was measured")
    _draw(axes, curves, "tol", legend_columns=2)
    tolerances = sorted({tol for curve in curves.values() for tol in curve["tol"]})
    axes.set_xticks(tolerances, [power(tol) for tol in tolerances])
    axes.xaxis.minorticks_off()
    axes.invert_xaxis()
    return plain_numbers(axes, "y")


def _draw_epochs(axes: Axes, curves: Mapping[str, pd.DataFrame]) -> None:
    if not curves:
        return say(axes, "no epochs with evaluations")
    _draw(axes, curves, "epoch", legend_columns=1)
    whole_epochs(axes, max(curve["epoch"].max() for curve in curves.values()))
    axes.set_ylim(0, 1.08 * max(curve[list(COUNTS)].max().max() for curve in curves.values()))
    return None


def _explain_dashes(figure: Figure) -> None:
    from matplotlib.lines import Line2D

    forward = Line2D([], [], color="black", label="forward")
    backward = Line2D([], [], color="black", linestyle=DASHES, label="backward")
    figure.legend(handles=[forward, backward], loc="upper right", bbox_to_anchor=(1.0, 1.0), ncols=2)
