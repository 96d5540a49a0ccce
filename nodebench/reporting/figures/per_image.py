"""What an image needs: evaluations with a step size of its own, class by class, and what becomes of its error."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from nodebench.reporting.figures.drawing.charts import DOT_AREA, chart, dots, power, say
from nodebench.reporting.figures.drawing.drawing import Drawing
from nodebench.reporting.figures.drawing.panels import new_figure
from nodebench.reporting.figures.drawing.style import GREY, SERIES_COLOURS, WIDTH
from nodebench.reporting.measures import loosest_first
from nodebench.reporting.per_image import ALL, RIGHT, Group, groups, pick_images
from nodebench.reporting.recipes import Recipes
from nodebench.reporting.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEWER, SAME, MORE = "fewer than its batch takes", "as many", "more"
LINE = "#d9dde3"
COLOURS = {FEWER: SERIES_COLOURS[1], SAME: "#a3aab5", MORE: SERIES_COLOURS[0]}

# Inches: rows of three tolerances, the classes of each above its errors.
LEFT, TOP, PANEL, GAP, ROW_GAP, BOTTOM = 0.66, 0.62, 2.22, 0.82, 0.86, 0.5
CLASS_HEIGHT, A_ROW = 0.235, 3
# Of the distance to the next count, and of that to the next class where all its images need the same.
BAR_WIDTH, BAR_HEIGHT = 0.62, 0.84


def per_image(runs: Sequence[Run], recipes: Recipes) -> Drawing:
    """Evaluations an image needs with a step size of its own, by class; below, its error by own and by shared steps.

    A column a tolerance. A bar is the share of a class's images that need so many evaluations, coloured by whether the
    batch of 100 that an image is in takes more, as many or fewer with one step size for all; the dashed line is the
    mean of what batches take. All: of every class; right and wrong: as the images are classified. Errors are relative
    L2 distances of y(t1) from a float64 reference, a dot an image. Raises NotMeasuredError if no run has any.
    """
    images = pick_images(runs, recipes)
    table = images.table.assign(beside=_beside(images.table))
    by_tol = list(loosest_first(table))
    num_lines = max(len(groups(lines)) for _, lines in by_tol) + 1  # and a line of air
    height = CLASS_HEIGHT * num_lines
    block = height + ROW_GAP + PANEL
    num_blocks = math.ceil(len(by_tol) / A_ROW)
    page = TOP + num_blocks * block + (num_blocks - 1) * ROW_GAP + BOTTOM
    figure = new_figure(WIDTH, page, images.footnotes)
    scale = _Scale.of([lines for _, lines in by_tol])
    for number, (tol, lines) in enumerate(by_tol):
        column, row = number % A_ROW, number // A_ROW
        left, top = LEFT + column * (PANEL + GAP), TOP + row * (block + ROW_GAP)
        box = (left, top, PANEL, height)
        counted = chart(
            figure, box, title=f"tolerance {power(tol)}: {len(lines):,} images", x="NFE an image", y=""
        )
        _draw_classes(counted, lines, scale)
        box = (left, top + height + ROW_GAP, PANEL, PANEL)
        erring = chart(figure, box, title=f"error at {power(tol)}", x="with shared steps", y="", log="xy")
        _draw_errors(erring, lines)
        if column == 0:
            counted.set_ylabel("class, and the share of its images", labelpad=4)
            erring.set_ylabel("with own steps")
    _draw_legend(figure)
    return Drawing(figure, _numbers(by_tol), images.notes)


def _beside(table: pd.DataFrame) -> pd.Series:
    """How each image's count compares with its batch's; SAME where that is not known."""
    beside = pd.Series(SAME, index=table.index)
    beside[table["nfe"] < table["nfe_shared"]] = FEWER
    beside[table["nfe"] > table["nfe_shared"]] = MORE
    return beside


def _rows(lines: pd.DataFrame) -> Iterator[tuple[float, Group]]:
    """Where each group stands, downwards, with air between the classes and the rest."""
    place = 0.0
    for group in groups(lines):
        place += {ALL: 0.7, RIGHT: 0.3}.get(group.name, 0.0)
        yield place, group
        place += 1.0


class _Scale(NamedTuple):
    """What all panels of counts share: the evaluations from one count to the next, and those that a panel spans."""

    gap: float
    span: float

    @staticmethod
    def of(tables: Sequence[pd.DataFrame]) -> _Scale:
        counts = [sorted({*lines["nfe"], *lines["nfe_shared"].dropna()}) for lines in tables]
        gaps = [b - a for each in counts for a, b in pairwise(sorted(set(each))) if b - a >= 1]
        gap = min(gaps, default=6.0)
        return _Scale(gap, max(each[-1] - each[0] for each in counts) + 1.6 * gap)


def _draw_classes(axes: Axes, lines: pd.DataFrame, scale: _Scale) -> None:
    counts, shared = sorted(set(lines["nfe"])), lines["nfe_shared"].dropna()
    if len(shared):
        axes.axvline(shared.mean(), color=GREY, linewidth=0.9, linestyle="--", zorder=2)
    placed = list(_rows(lines))
    for place, group in placed:
        base = place + BAR_HEIGHT / 2
        axes.axhline(base, color=LINE, linewidth=0.6, zorder=1)
        tops = dict.fromkeys(counts, base)
        for beside, colour in COLOURS.items():
            found = group.lines.loc[group.lines["beside"] == beside, "nfe"]
            for count, share in (found.value_counts() / len(group.lines)).items():
                rise = -BAR_HEIGHT * share
                axes.bar(count, rise, BAR_WIDTH * scale.gap, tops[count], color=colour, zorder=3)
                tops[count] += rise
        mean = group.lines["nfe"].mean()
        axes.plot([mean], [base], "D", color="black", markersize=2.6, zorder=5)
        _beside_axes(axes, place, f"{mean:.1f}", fontsize=8)
    _beside_axes(axes, -0.95, "mean", color=GREY, fontsize=7.5)
    axes.set_yticks([place for place, _ in placed], [group.name for _, group in placed])
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)
    ends = [*counts, *shared]
    middle = (min(ends) + max(ends)) / 2
    axes.set(xlim=(middle - scale.span / 2, middle + scale.span / 2), ylim=(placed[-1][0] + 0.6, -0.6))
    axes.set_xticks(counts[:: math.ceil(len(counts) / 7)])


def _beside_axes(axes: Axes, place: float, words: str, **style: Any) -> None:
    axes.text(1.03, place, words, transform=axes.get_yaxis_transform(), va="center", **style)


def _draw_errors(axes: Axes, lines: pd.DataFrame) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

    known = lines[lines["error"].gt(0) & lines["error_shared"].gt(0)]
    if known.empty:
        return say(axes, "no error was measured")
    for beside, colour in COLOURS.items():
        found = known[known["beside"] == beside]
        look: dict[str, Any] = {"s": DOT_AREA / 2, "alpha": 0.5, "rasterized": True}
        dots(axes, found["error_shared"], found["error"], colour, **look)
    values = pd.concat([known["error"], known["error_shared"]])
    ends = (values.min() / 1.15, values.max() * 1.15)
    axes.plot(ends, ends, color=GREY, linewidth=0.9, linestyle="--", zorder=4)
    axes.set(xlim=ends, ylim=ends)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator(_few_numbers(*ends)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0e}".replace("e-0", "e-")))
        axis.set_minor_formatter(NullFormatter())
    closer = 100 * (known["error"] < known["error_shared"]).mean()
    words = f"closer with own steps:\n{closer:.0f} % of {len(known):,} images"
    corner: dict[str, Any] = {"transform": axes.transAxes, "ha": "right", "va": "bottom"}
    axes.text(0.97, 0.04, words, fontsize=8, color=GREY, **corner)
    return None


def _few_numbers(low: float, high: float) -> list[float]:
    """1, 2 and 5 of every decade within, or where these are fewer than two, more of them."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
    found: list[float] = []
    for digits in ((1, 2, 5), (1, 2, 3, 5, 7), range(1, 10)):
        found = [digit * 10.0**decade for decade in decades for digit in digits]
        found = [number for number in found if low <= number <= high]
        if len(found) > 1:
            break
    return found


def _draw_legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    marks: list[Any] = [Patch(color=colour, label=beside) for beside, colour in COLOURS.items()]
    marks.append(Line2D([], [], color="black", marker="D", markersize=3, linestyle="", label="mean"))
    marks.append(
        Line2D(
            [], [], color=GREY, linewidth=0.9, linestyle="--", label="mean of its batches, with shared steps"
        )
    )
    figure.legend(
        handles=marks,
        loc="upper center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=len(marks),
        handlelength=1.2,
        columnspacing=1.5,
    )


def _numbers(by_tol: Sequence[tuple[float, pd.DataFrame]]) -> pd.DataFrame:
    """A line for every bar: how many images of a group need so many evaluations, and what its batches take."""
    return pd.DataFrame(
        [
            {
                "tol": tol,
                "class": group.name,
                "images": len(group.lines),
                "nfe": nfe,
                "needed_by": len(found),
                **{
                    name: int((found["beside"] == beside).sum())
                    for name, beside in (("fewer", FEWER), ("same", SAME), ("more", MORE))
                },
                "error": found["error"].median(),
                "error_shared": found["error_shared"].median(),
            }
            for tol, lines in by_tol
            for group in groups(lines)
            for nfe, found in group.lines.groupby("nfe", sort=True)
        ]
    )
