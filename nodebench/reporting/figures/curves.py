"""How training went: any columns of the records against epochs or steps, a curve an experiment, its seeds as a band."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from nodebench.counted import counted
from nodebench.quoting import plain
from nodebench.records import Columns
from nodebench.reporting.columns import columns_of
from nodebench.reporting.epochs import curves_unasked, over_seeds, place_of, read_epochs, recorded_columns
from nodebench.reporting.figures.drawing.charts import chart, plain_numbers, whole_epochs
from nodebench.reporting.figures.drawing.drawing import Drawing, NothingToDrawError
from nodebench.reporting.figures.drawing.panels import new_figure, plain_label
from nodebench.reporting.figures.drawing.style import GREY, SERIES_COLOURS, WIDTH, series_looks
from nodebench.reporting.recipes import Recipes, names_of, word
from nodebench.reporting.runs import Run
from nodebench.reporting.sparklines import spans_decades
from nodebench.reporting.tables import UnknownColumnError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_CURVES = len(SERIES_COLOURS)
MAX_PANELS = 8
FEW_POINTS = 16  # each of which has a mark
_OF_CSV = ("curve", "column", "x", "mean", "lowest", "highest", "num_runs")

# Inches.
LEFT, TOP, PANEL, HEIGHT, GAP, BELOW, LEGEND_LINE = 0.52, 0.36, 4.12, 2.1, 0.66, 0.82, 0.19


def curves(
    runs: Sequence[Run],
    recipes: Recipes,
    *,
    columns: Sequence[str] = (),
    x: str | None = None,
    group: Sequence[str] = (),
) -> Drawing:
    """A panel a column: means over seeds against `x`; the band is from the lowest to the highest seed.

    `columns`: scores, losses and evaluations if none are given. `x`: epoch or step, unasked that of
    `place_of`. `group`: keys of config.yaml, a
    curve for each of their values; without any, one for each experiment. Axes are logarithmic where numbers span
    decades. Raises UnknownColumnError for a column or a key that no run has, NothingToDrawError without any epoch.
    """
    recorded = recorded_columns(runs)
    if not recorded:
        raise NothingToDrawError("no run has recorded an epoch yet")
    known = columns_of(runs)
    _check("column", columns, recorded)
    _check("setting", group, sorted({key for run in runs for key, _ in run.settings}))
    asked = list(dict.fromkeys(columns)) or curves_unasked(recorded, known)
    table, notes = read_epochs(runs, asked)
    x = x or place_of(runs, table)
    asked = [
        name for name in asked if name in columns or table[name].any()
    ]  # unasked, not what is 0 throughout
    shown, left_out = asked[:MAX_PANELS], asked[MAX_PANELS:]
    labels = _labels(runs, group)
    table = table.assign(curve=[labels[key] for key in zip(table["group"], table["seed"], strict=True)])
    names = sorted(set(table["curve"]), key=_in_order)
    if more := names[MAX_CURVES:]:
        told = f"{counted(len(more), 'curve')}, from {more[0]} on"
        notes.append(f"left out, for want of colours: {told}; --group draws several experiments as one")
    notes += (
        [f"left out, for want of room: {', '.join(left_out)}; --columns names what is drawn"]
        if left_out
        else []
    )
    table = table[table["curve"].isin(names[:MAX_CURVES])]
    notes += _early_ends(table, x)
    parts = [over_seeds(table, column, x, "curve").assign(column=column) for column in shown]
    numbers = pd.concat(parts, ignore_index=True).rename(columns={x: "x"})[list(_OF_CSV)]
    if numbers.empty:
        raise NothingToDrawError(f"no run has recorded {' or '.join(shown)} with its {x}")
    shown = [column for column in shown if column in set(numbers["column"])]
    return Drawing(_draw(numbers, shown, x, known), numbers, notes)


def _check(what: str, names: Sequence[str], there: Sequence[str]) -> None:
    for name in names:
        if name not in there:
            nearest = difflib.get_close_matches(name, there, n=1, cutoff=0.0)
            raise UnknownColumnError(
                f"no run has a {what} `{name}`; the nearest is `{nearest[0]}`. There are: {', '.join(there)}"
            )


def _labels(runs: Sequence[Run], group: Sequence[str]) -> dict[tuple[str, str], str]:
    """What the curve of each run is called, by its experiment and seed."""
    names = names_of(runs)
    return {
        (run.group, run.seed): ", ".join(
            f"{key.removesuffix('.name')}={word(run.setting(key))}" for key in group
        )
        or names[run.group]
        for run in runs
    }


def _in_order(name: str) -> list[tuple[int, str]]:
    """Words in the order of the alphabet, the whole numbers in them by size."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", name)]


def _early_ends(table: pd.DataFrame, x: str) -> list[str]:
    """A note for each run that ends before others of its curve do: the mean goes on without it."""
    ends = table.groupby(["curve", "group", "seed"], sort=True)[x].max()
    latest = ends.groupby("curve").max()
    return [
        f"{curve}: seed {seed} ends at {x} {end:,.0f}; behind that the curve is of the others"
        for (curve, _, seed), end in ends.items()
        if end < latest[curve]
    ]


def _draw(numbers: pd.DataFrame, columns: Sequence[str], x: str, known: Columns) -> Figure:
    looks = dict(sorted(series_looks(numbers["curve"]).items(), key=lambda each: _in_order(each[0])))
    num_rows = (len(columns) + 1) // 2
    legend_columns = 1 if max(map(len, looks)) > 60 else 2
    legend = LEGEND_LINE * -(-len(looks) // legend_columns) + 0.1
    figure = new_figure(WIDTH, TOP + num_rows * (HEIGHT + BELOW) - 0.3 + legend)
    for number, column in enumerate(columns):
        row, place = divmod(number, 2)
        box = (LEFT + place * (PANEL + GAP), TOP + row * (HEIGHT + BELOW), PANEL, HEIGHT)
        curve = numbers[numbers["column"] == column]
        is_log = spans_decades(curve[["lowest", "highest"]].to_numpy().ravel().tolist())
        scale = "y" if is_log else ""
        axes = chart(figure, box, title=column, x=x, y="", log=scale)
        axes.set_title(known[column].unit, loc="right", pad=7, color=GREY, fontsize=7.5)
        _draw_panel(axes, curve, looks)
        if is_log and curve["lowest"].min() >= 0.1:
            plain_numbers(axes, "y")
        whole_epochs(axes, curve["x"].max())
    _legend(figure, looks, legend_columns)
    return figure


def _draw_panel(axes: Axes, curves: pd.DataFrame, looks: Mapping[str, tuple[str, str]]) -> None:
    for name, curve in curves.groupby("curve", sort=True):
        colour, marker = looks[str(name)]
        axes.plot(
            *(curve["x"], curve["mean"]),
            color=colour,
            marker=marker if len(curve) <= FEW_POINTS else "",
            markersize=3.4,
        )
        if curve["num_runs"].max() > 1:
            band = (curve["x"], curve["lowest"], curve["highest"])
            axes.fill_between(*band, color=colour, alpha=0.18, linewidth=0)


def _legend(figure: Figure, looks: Mapping[str, tuple[str, str]], columns: int) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour, marker=marker, markersize=3.4, label=plain_label(plain(name)))
        for name, (colour, marker) in looks.items()
    ]
    figure.legend(handles=handles, loc="lower center", ncols=columns, borderaxespad=0.2, fontsize=8)
