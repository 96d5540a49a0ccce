"""Work-precision curves of gradients: how long a library takes to a given gradient error, whatever its tolerance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nodebench.benchmark.bare import BARE
from nodebench.benchmark.problems import OWN

COLOURS = {OWN: "#2b6cb0", "torchdiffeq": "#d1602a", "torchode": "#a16207", "diffrax": "#2f855a"}
NUM_ERRORS = 200  # at which best modes are compared


class Point(NamedTuple):
    """A gradient error and the time that it took."""

    error: float
    time_ms: float


Curve = Sequence[Point]  # of one mode, at several tolerances


def time_at_error(curves: Iterable[Curve], error: float) -> float | None:
    """The shortest time in which one of the modes reaches `error`; None if none of them does.

    Between two tolerances of a mode, time is a power of the error. Nothing is extrapolated: a mode whose
    loosest point is exact enough takes that point's time.
    """
    times = [time for curve in curves if (time := _time_on(curve, error)) is not None]
    return min(times, default=None)


def least_ratio(theirs: Sequence[Curve], ours: Sequence[Curve]) -> float | None:
    """The least of their best time over ours, over all errors that both reach; None if there is none.

    It is looked for at the points of the curves and at errors spaced evenly in logarithm between them, as the best
    mode may change between two points.
    """
    errors = [point.error for curve in (*theirs, *ours) for point in curve]
    if errors:
        errors += np.geomspace(min(errors), max(errors), NUM_ERRORS).tolist()
    pairs = [(time_at_error(theirs, error), time_at_error(ours, error)) for error in errors]
    ratios = [their / our for their, our in pairs if their is not None and our is not None]
    return min(ratios, default=None)


def curves_of(rows: pd.DataFrame, library: str, field: str) -> dict[str, list[Point]]:
    """The curve of every gradient mode of a library on a field, from the rows of make_rows; compiled ones apart."""
    mine = rows[(rows["library"] == library) & (rows["field"] == field) & rows["error_gradient"].notna()]
    return {
        gradient if execution == "eager" else f"{gradient}, {execution}": sorted(
            Point(*values) for values in group[["error_gradient", "time_ms"]].to_numpy()
        )
        for (gradient, execution), group in mine.groupby(["gradient", "execution"], sort=False)
    }


def describe_curves(rows: pd.DataFrame, tol: float) -> list[str]:
    """Sentences: the time to the gradient error of the others' adjoint at `tol`, and the least ratio of all.

    Their adjoint is the one that they give unasked: torchdiffeq's with the full norm, diffrax's backsolve.
    """
    ours = list(curves_of(rows, OWN, OWN).values())
    adjoints = rows["gradient"].isin(["adjoint-full", "backsolve"])
    at_tol = rows[(rows["tol"] == tol) & adjoints & (rows["library"] != OWN)]
    lines = []
    for _, their in at_tol.iterrows():
        where = f"{their['library']} on {their['field']}'s field"
        theirs = list(curves_of(rows, their["library"], their["field"]).values())
        best, least = time_at_error(ours, their["error_gradient"]), least_ratio(theirs, ours)
        reached = (
            "nodebench at none of these tolerances"
            if best is None
            else f"nodebench's best mode {best:.4g} ms, ratio {their['time_ms'] / best:.2f}"
        )
        lines.append(
            f"To the gradient error of {where}, {their['gradient']} at {tol:g} ({their['error_gradient']:.1e} in "
            f"{their['time_ms']:.4g} ms): {reached}."
        )
        if least is not None:
            lines.append(
                f"Best mode against best mode of {where}, over all errors that both reach: {least:.2f}."
            )
    return lines


def draw_curves(rows: pd.DataFrame) -> Figure:
    """Gradient error against time, a line for each library, field and mode, in the library's colour.

    Compiled ones have hollow marks, those of a library's own field are dashed.
    """
    figure = Figure(figsize=(7.0, 4.6), facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    kinds = rows[rows["library"] != BARE][["library", "field"]].drop_duplicates()
    markers = ("o", "s", "^", "D", "v", "P", "X", "p")
    modes: dict[str, str] = {}
    for library, field in kinds.itertuples(index=False):
        colour = COLOURS.get(library, "black")
        for gradient, curve in curves_of(rows, library, field).items():
            mode, _, execution = gradient.partition(", ")
            marker = modes.setdefault(mode, markers[len(modes) % len(markers)])
            style = "-" if field == OWN else "--"
            label = f"{library}, {gradient}" + ("" if field == OWN else ", own field")
            axes.plot(
                [point.time_ms for point in curve],
                [point.error for point in curve],
                style,
                marker=marker,
                color=colour,
                markerfacecolor="white" if execution else colour,
                label=label,
                linewidth=1.3,
                markersize=4.5,
            )
    axes.set(xscale="log", yscale="log", xlabel="time of value and gradient (ms)", ylabel="gradient error")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _time_on(curve: Curve, error: float) -> float | None:
    if not curve:
        return None
    ordered = sorted(curve)
    reached = [point.time_ms for point in ordered if point.error <= error]
    for tighter, looser in pairwise(ordered):
        if tighter.error < error < looser.error:
            share = math.log(error / tighter.error) / math.log(looser.error / tighter.error)
            reached.append(tighter.time_ms * (looser.time_ms / tighter.time_ms) ** share)
    return min(reached, default=None)
