"""Work and precision of the solvers on a trained field: endpoint error against evaluations and against time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from nodebench.records.measures import OWN
from nodebench.reporting.figures.drawing.charts import chart, plain_numbers, say, whole_decades
from nodebench.reporting.figures.drawing.drawing import Drawing
from nodebench.reporting.figures.drawing.panels import new_figure
from nodebench.reporting.figures.drawing.style import GREY, WIDTH, series_looks
from nodebench.reporting.measures import Measures, medians, pick_measured
from nodebench.reporting.recipes import Recipes
from nodebench.reporting.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REUSING = ("adaptive_heun", "fehlberg2")
REUSE = (
    "torchdiffeq's adaptive_heun and fehlberg2 begin a step with a slope from a stage at another point; ours "
    "evaluate it anew"
)
COLUMNS = ("nfe_forward", "time_forward_ms", "error_endpoint")

# Inches.
LEFT, TOP, PANEL, HEIGHT, GAP, LEGEND_GAP, BOTTOM = 0.68, 0.36, 2.94, 3.2, 0.72, 0.16, 0.5


def speed_accuracy(runs: Sequence[Run], recipes: Recipes) -> Drawing:
    """Endpoint error against (a) forward evaluations and (b) forward time, a curve a solver, a mark a tolerance.

    Medians over the batches that every solver was measured on. The error of the reference solve is the grey band:
    what lies in it is not decided. Dashed and hollow: torchdiffeq's solvers, in the colour of ours of the same
    method. Raises NotMeasuredError if no run was measured.
    """
    measures, lines, notes, footnotes = pick_measured(runs, _with_error, recipes)
    shared = _shared_batches(lines)
    lines = lines[lines["batch"].isin(shared)]
    table = medians(lines, ("library", "solver", "tol"), COLUMNS)
    curves = dict(sorted(_curves(table).items(), key=lambda item: (item[0][0] != OWN, item[0])))
    figure = new_figure(WIDTH, TOP + HEIGHT + BOTTOM, footnotes)
    looks = series_looks(solver for _, solver in curves)
    for number, (column, title, label) in enumerate(
        (
            ("nfe_forward", "(a) evaluations", "NFE forward"),
            ("time_forward_ms", "(b) time", "time of the forward solve (ms)"),
        )
    ):
        box = (LEFT + number * (PANEL + GAP), TOP, PANEL, HEIGHT)
        axes = chart(figure, box, title=title, x=label, y="endpoint error", log="xy")
        _draw_curves(axes, curves, column, looks)
        plain_numbers(axes, "x")
        reference = lines["error_reference"].median()
        whole_decades(axes, [*table["error_endpoint"], *([reference / 2] if reference > 0 else [])])
        _draw_reference(axes, reference)
        if number == 1:
            axes.legend(
                loc="center left",
                bbox_to_anchor=(1 + LEGEND_GAP / PANEL, 0.5),
                borderaxespad=0.0,
                handlelength=2.8,
                fontsize=8,
            )
    notes += _remarks(curves, measures.run)
    return Drawing(figure, table.assign(batches=len(shared)), notes)


def _remarks(curves: Mapping[tuple[str, str], pd.DataFrame], run: Run) -> Iterator[str]:
    """What could be measured beside, and what is special about torchdiffeq's solvers."""
    if len(curves) == 1:
        solvers = "solver=dopri8,tsit5,bosh3,adaptive_heun,fehlberg2"
        yield f"one solver only: `nodebench measure {run.argument} {solvers}` measures others"
    elif all(library == OWN for library, _ in curves):
        yield f"without torchdiffeq: `nodebench measure {run.argument} --baselines` measures its solvers"
    if any(library == "torchdiffeq" and solver in REUSING for library, solver in curves):
        yield REUSE


def _with_error(measures: Measures) -> pd.DataFrame:
    """One line a solver, tolerance and batch; the forward solve is the same under every gradient mode."""
    table = measures.table[measures.table["error_endpoint"].gt(0) & measures.table["nfe_forward"].gt(0)]
    timed_first = table.sort_values("time_forward_ms", kind="stable", na_position="last")
    adjoint_first = timed_first.sort_values("gradient", kind="stable", key=lambda column: column != "adjoint")
    return adjoint_first.drop_duplicates(["library", "solver", "tol", "batch"]).sort_index()


def _shared_batches(lines: pd.DataFrame) -> set[int]:
    """The batches of every solver; of those, where there are any, the ones whose time was measured by all."""
    timed = lines[lines["time_forward_ms"].notna()]
    common = [
        set.intersection(*(set(group["batch"]) for group in _curves(part).values()))
        for part in (timed, lines)
        if len(_curves(part)) == len(_curves(lines))
    ]
    return next((batches for batches in common if batches), set(lines["batch"]))


def _curves(lines: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    """The lines of every (library, solver)."""
    return {
        (str(library), str(solver)): group
        for (library, solver), group in lines.groupby(["library", "solver"], sort=True)
    }


def _draw_curves(
    axes: Axes,
    curves: Mapping[tuple[str, str], pd.DataFrame],
    column: str,
    looks: Mapping[str, tuple[str, str]],
) -> None:
    if all(curve[column].isna().all() for curve in curves.values()):
        return say(axes, "no time was measured")
    for (library, solver), table in curves.items():
        curve = table[table[column].notna()].sort_values("tol", ascending=False)
        colour, marker = looks[solver]
        if library == OWN:
            style: dict[str, Any] = {"label": solver, "zorder": 3}
        else:  # below, and larger: where both took the same steps, ours stands in theirs
            style = {"label": f"{library} {solver}", "markersize": 7.0, "markerfacecolor": "white"}
            style |= {"linestyle": (0, (4, 2)), "linewidth": 1.1, "zorder": 2}
        axes.plot(*(curve[column], curve["error_endpoint"]), color=colour, marker=marker, **style)
    return None


def _draw_reference(axes: Axes, error: float) -> None:
    """A band over the errors that the reference, with its own, cannot tell apart."""
    if not error > 0:
        return
    bottom = axes.get_ylim()[0]
    axes.axhspan(bottom, error, color=GREY, alpha=0.14, linewidth=0)
    axes.text(
        *(0.02, (bottom * error) ** 0.5, "the reference's own error"),
        transform=axes.get_yaxis_transform(),
        va="center",
        color=GREY,
        fontsize=8,
    )
