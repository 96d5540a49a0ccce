"""Figure 3: a trained ODE-Net at six tolerances, batch by batch: error, time, evaluations, and their growth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from nodebench.records.measures import TOLERANCES
from nodebench.reporting.epochs import read_epochs
from nodebench.reporting.figures.drawing.charts import DOT_AREA, chart, dots, power, ring, say, whole_epochs
from nodebench.reporting.figures.drawing.drawing import Drawing
from nodebench.reporting.figures.drawing.panels import new_figure, plain_label
from nodebench.reporting.figures.drawing.style import GREY, MODEL_COLOURS, WIDTH, tolerance_colour
from nodebench.reporting.measures import (
    NUM_BATCHES,
    Measures,
    loosest_first,
    pick_measured,
)
from nodebench.reporting.paper import FIG3, FIG3_EPOCHS, PAPERS_DATA
from nodebench.reporting.recipes import Recipes
from nodebench.reporting.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Inches: three columns, two rows.
LEFT, TOP, PANEL, HEIGHT, GAP, ROW_GAP, BOTTOM = 0.62, 0.36, 2.46, 2.0, 0.71, 0.86, 0.5

PUBLISHED = "nfe_forward_published"
OURS = MODEL_COLOURS["cnf"]


def fig3(runs: Sequence[Run], recipes: Recipes) -> Drawing:
    """(a) endpoint error, (b) relative time, (c) backward evaluations, each against forward ones; (d) these by epoch.

    One dot a batch of the test set, coloured by tolerance as in Chen et al. (2018), Fig. 3; counts are true counts.
    Below (c), the counting behind the published picture: forward + the backward of the batch before + 1. Diamonds
    are the middle of the paper's dots. Drawn is the run that was measured most. Raises NotMeasuredError if none was.
    """
    measures, lines, notes, footnotes = pick_measured(runs, _own_adjoint, recipes)
    lines = _with_derived(lines)
    figure = new_figure(WIDTH, TOP + 2 * HEIGHT + ROW_GAP + BOTTOM, footnotes)
    below = TOP + HEIGHT + ROW_GAP
    left = [LEFT + column * (PANEL + GAP) for column in range(3)]
    _draw_error(figure, (left[0], TOP, PANEL, HEIGHT), lines)
    _draw_time(figure, (left[1], TOP, PANEL, HEIGHT), lines)
    _draw_backward(figure, (left[2], TOP, PANEL, HEIGHT), lines)
    epochs, problems = _epochs(measures.run, runs)
    data, _ = measures.run.names
    if data != PAPERS_DATA:
        notes.append(f"the net is of {data} and the paper's of {PAPERS_DATA}: its diamonds are no comparison")
    _draw_epochs(figure, (left[0], below, PANEL, HEIGHT), epochs)
    _draw_legend(figure, left[1] + PANEL / 2, below + 0.15, lines, data)
    _draw_published(figure, (left[2], below, PANEL, HEIGHT), lines)
    return Drawing(figure, _numbers(lines, epochs), [*notes, *problems, *_missing(measures, lines)])


def _own_adjoint(measures: Measures) -> pd.DataFrame:
    own = measures.own
    return own[(own["gradient"] == "adjoint") & own["nfe_forward"].notna()]


def _with_derived(lines: pd.DataFrame) -> pd.DataFrame:
    """Adds time over the largest time, and the forward count as the paper's counter gave it.

    A counter that is read after the forward pass and reset before it is known: the count of the batch before is in it.
    """
    previous = lines[["tol", "batch", "nfe_backward"]].assign(batch=lines["batch"] + 1)
    lines = lines.merge(previous, on=["tol", "batch"], how="left", suffixes=("", "_previous"))
    return lines.assign(
        time_relative=lines["time_forward_ms"] / lines["time_forward_ms"].max(),
        **{PUBLISHED: lines["nfe_forward"] + lines["nfe_backward_previous"] + 1},
    )


def _draw_error(figure: Figure, box: tuple[float, float, float, float], lines: pd.DataFrame) -> None:
    axes = chart(figure, box, title="(a) error", x="NFE forward", y="numerical error", log="y")
    if lines["error_endpoint"].notna().sum() == 0:
        return say(axes, "no error was measured")
    for tol, group, aside in _side_by_side(lines, "nfe_forward"):
        colour = tolerance_colour(tol)
        axes.axhline(tol, color=colour, linewidth=0.9, linestyle="--", alpha=0.8)
        dots(axes, group["nfe_forward"], group["error_endpoint"], colour, aside=aside)
        paper = FIG3.get(tol)
        if paper and paper.error_endpoint:
            ring(axes, paper.nfe_forward, paper.error_endpoint, colour)
    axes.set_xlim(left=0)
    return None


def _draw_time(figure: Figure, box: tuple[float, float, float, float], lines: pd.DataFrame) -> None:
    axes = chart(figure, box, title="(b) time", x="NFE forward", y="relative time")
    if lines["time_relative"].notna().sum() == 0:
        return say(axes, "no time was measured")
    for tol, group, aside in _side_by_side(lines, "nfe_forward"):
        colour = tolerance_colour(tol)
        dots(axes, group["nfe_forward"], group["time_relative"], colour, aside=aside)
        if tol in FIG3:
            ring(axes, FIG3[tol].nfe_forward, FIG3[tol].time_relative, colour)
    axes.set_xlim(left=0)
    axes.set_ylim(0, 1.05)
    return None


def _draw_backward(figure: Figure, box: tuple[float, float, float, float], lines: pd.DataFrame) -> None:
    axes = chart(figure, box, title="(c) backward pass", x="NFE forward", y="NFE backward")
    _draw_counts(axes, lines, "nfe_forward")


def _draw_published(figure: Figure, box: tuple[float, float, float, float], lines: pd.DataFrame) -> None:
    title = "(c) as the paper counted it"
    axes = chart(figure, box, title=title, x="NFE forward + previous backward + 1", y="NFE backward")
    _draw_counts(axes, lines, PUBLISHED)


def _draw_counts(axes: Axes, lines: pd.DataFrame, column: str) -> None:
    """Backward against forward counts, on equal axes, with y = x."""
    from matplotlib.ticker import MaxNLocator

    known = lines[lines[column].notna() & lines["nfe_backward"].notna()]
    if known.empty:
        has_backward = lines["nfe_backward"].notna().any()
        return say(axes, "no two batches in a row" if has_backward else "no backward pass was measured")
    rings = [(tol, getattr(FIG3[tol], column), FIG3[tol].nfe_backward) for tol in FIG3]
    largest = 1.08 * max(known[column].max(), known["nfe_backward"].max(), max(x for _, x, _ in rings))
    axes.plot([0, largest], [0, largest], color=GREY, linewidth=0.9, linestyle="--")
    for tol, group, size in _nested(known, column):
        dots(axes, group[column], group["nfe_backward"], tolerance_colour(tol), s=size)
    for tol, x, y in rings:
        ring(axes, x, y, tolerance_colour(tol))
    axes.set(xlim=(0, largest), ylim=(0, largest))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    return None


def _side_by_side(lines: pd.DataFrame, column: str) -> Iterator[tuple[float, pd.DataFrame, float]]:
    """The lines of every tolerance, loosest first, and how far aside its dots stand, in dots' widths.

    Tolerances of the same counts stand side by side around them: they would hide each other.
    """
    groups = list(loosest_first(lines))
    counts = [set(group[column].dropna()) for _, group in groups]
    neighbours = [
        [other for other, found in enumerate(counts) if not found.isdisjoint(own)] for own in counts
    ]
    lanes: list[int] = []  # the first that no looser tolerance of the same counts is in
    for beside in neighbours:
        taken = {lanes[other] for other in beside if other < len(lanes)}
        lanes.append(min(set(range(len(groups))) - taken))
    for rank, (tol, group) in enumerate(groups):
        num_lanes = 1 + max((lanes[other] for other in neighbours[rank]), default=0)
        yield tol, group, lanes[rank] - (num_lanes - 1) / 2


def _nested(lines: pd.DataFrame, column: str) -> Iterator[tuple[float, pd.DataFrame, float]]:
    """The lines of every tolerance, loosest first, and the area of its dots.

    It grows with every tighter tolerance of the same counts, whose dots lie on these and would hide them.
    """
    groups = list(loosest_first(lines))
    counts = [set(group[column].dropna()) for _, group in groups]
    for rank, (tol, group) in enumerate(groups):
        num_above = sum(not counts[rank].isdisjoint(tighter) for tighter in counts[rank + 1 :])
        yield tol, group, DOT_AREA * (1 + 2 * num_above)


def _epochs(drawn: Run, runs: Sequence[Run]) -> tuple[pd.DataFrame, list[str]]:
    """Forward evaluations a batch by epoch, of all seeds of the run that is drawn."""
    seeds = [run for run in runs if run.group == drawn.group and run is not drawn]
    epochs, problems = read_epochs([drawn, *seeds])
    return epochs[["seed", "epoch", "nfe_forward"]].sort_values("seed", kind="stable"), problems


def _draw_epochs(figure: Figure, box: tuple[float, float, float, float], epochs: pd.DataFrame) -> None:
    axes = chart(figure, box, title="(d) training", x="training epoch", y="NFE forward")
    if epochs.empty:
        return say(axes, "metrics.jsonl has no epochs")
    last = float(epochs["epoch"].max())
    paper = [(epoch, nfe) for epoch, nfe in FIG3_EPOCHS if epoch <= last]
    diamonds: dict[str, Any] = {"marker": "D", "markersize": 3.5, "markerfacecolor": "white"}
    axes.plot(*zip(*paper, strict=True), color=GREY, clip_on=False, zorder=3, **diamonds)
    if len(paper) > 1:
        axes.annotate(
            "paper", paper[-1], (0, 6), textcoords="offset points", color=GREY, ha="right", fontsize=8
        )
    for _, group in epochs.groupby("seed", sort=True):
        axes.plot(group["epoch"], group["nfe_forward"], color=OURS, marker="o", markersize=3.5, alpha=0.8)
    whole_epochs(axes, last)
    axes.set_ylim(0, 1.15 * epochs["nfe_forward"].max())
    return None


def _draw_legend(figure: Figure, middle: float, top: float, lines: pd.DataFrame, data: str) -> None:
    """The tolerances' colours, and what the other marks are, where a sixth panel would be."""
    from matplotlib.lines import Line2D

    def mark(label: str, **style: Any) -> Line2D:
        return Line2D([], [], **{"marker": "o", "linestyle": "", "color": GREY, "label": label, **style})

    tolerances = [mark(power(tol), color=tolerance_colour(tol)) for tol, _ in loosest_first(lines)]
    num_columns = 3
    tolerances = [
        each for column in range(num_columns) for each in tolerances[column::num_columns]
    ]  # by rows
    marks = [
        mark(
            f"one batch of 100 test images{'' if data == PAPERS_DATA else plain_label(f' of {data}')}\n"
            "(same NFE: side by side in (a), (b))"
        ),
        mark(
            "the paper: middle of its dots\n(true counts; at the right as published)", marker="D", mfc="white"
        ),
        mark("tolerance asked for (a), y = x (c)", marker="", linestyle="--", linewidth=0.9),
    ]
    page_width, page_height = figure.get_size_inches()
    for handles, offset, style in (
        (tolerances, 0.0, {"title": "tolerance", "ncols": num_columns}),
        (marks, 0.8, {}),
    ):
        at = (middle / page_width, 1 - (top + offset) / page_height)
        legend_style: dict[str, Any] = {
            "loc": "upper center",
            "bbox_to_anchor": at,
            "borderaxespad": 0.0,
            **style,
        }
        figure.legend(handles=handles, **legend_style)


def _missing(measures: Measures, lines: pd.DataFrame) -> list[str]:
    """What the drawn run still lacks, and the command that measures it; other test sets are of other sizes."""
    if measures.run.names[0] != PAPERS_DATA:
        return []
    counts = lines.groupby("tol").size()
    lacking = [f"{tol:g}" for tol in TOLERANCES if counts.get(tol, 0) < NUM_BATCHES]
    if not lacking:
        return []
    return [
        f"fewer than {NUM_BATCHES} batches at tolerance {', '.join(lacking)}: "
        f"`nodebench measure {measures.run.argument}` goes on"
    ]


def _numbers(lines: pd.DataFrame, epochs: pd.DataFrame) -> pd.DataFrame:
    """A line for every dot of (a) to (c), every epoch of (d), and every number of the paper."""
    columns = ["tol", "batch", "nfe_forward", PUBLISHED, "nfe_backward", "error_endpoint"]
    ours = lines[[*columns, "time_forward_ms", "time_relative"]].assign(panel="abc", source="nodebench")
    trained = epochs.assign(panel="d", source="nodebench")
    paper = pd.DataFrame([{"tol": tol, **vars(middle)} for tol, middle in FIG3.items()])
    paper_epochs = pd.DataFrame(FIG3_EPOCHS, columns=["epoch", "nfe_forward"]).assign(
        panel="d", source="paper"
    )
    parts = [ours, trained, paper.assign(panel="abc", source="paper"), paper_epochs]
    order = ["panel", "source", "seed", "epoch", *columns, "time_forward_ms", "time_relative"]
    return pd.concat([part.convert_dtypes() for part in parts], ignore_index=True).reindex(columns=order)
