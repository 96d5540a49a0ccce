"""Line charts of the page: real text, colours of the page's own, labels at the lines' ends."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from nodebench.reporting.report.axes import Axis, axis_over
from nodebench.reporting.report.markup import Markup, element

WIDTH, HEIGHT = 380, 236
LEFT, TOP, BOTTOM, RIGHT = 46, 10, 34, 14
LABELS = 122  # the room right of the lines for their names, where these are short
NUM_COLOURS = 8
MAX_POINTS = 72  # of a line: no screen shows more
Point = TypeVar("Point")
_LINE = 12.5  # from label to label
MANY_POINTS = 12  # of a line: so many that its first ones may be left out
_CHARACTERS = 16  # of a name that has room there


@dataclass(frozen=True)
class Curve:
    """Points (x, y), and a band (x, low, high), which may be empty; a dashed one belongs to the line before it."""

    label: str
    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float, float]] = ()
    is_dashed: bool = False


@dataclass(frozen=True)
class Chart:
    """What is drawn: `key` makes its ids unique; `axes` are shared by charts that are compared."""

    key: str
    title: str
    description: str
    x: str
    curves: Sequence[Curve]


def axes_over(charts: Sequence[Chart], *, y_from_zero: bool = False) -> tuple[Axis, Axis]:
    """One x axis and one y axis for all of these charts; the x axis leaves room for the lines' names if all are short.

    Where the curves begin far above the rest, as of a net that is not trained yet, the y axis leaves that out.
    """
    curves = [curve for chart in charts for curve in chart.curves]
    xs = [x for curve in curves for x, _ in curve.points]
    ys = [y for curve in curves for _, y in curve.points]
    ys += [y for curve in curves for _, *ends in curve.band for y in ends]
    begun = min(xs) + 0.08 * (max(xs) - min(xs))
    later = [y for curve in curves for x, y in curve.points if x >= begun] or ys
    are_many = max(len(curve.points) for curve in curves) >= MANY_POINTS
    is_log = min(ys) > 0 and max(ys) / min(ys) > 30
    if (
        are_many
        and not is_log
        and max(later) > min(later)
        and max(ys) > max(later) + 1.5 * (max(later) - min(later))
    ):
        ys = later
    are_short = all(len(curve.label) <= _CHARACTERS for curve in curves)
    right = WIDTH - (LABELS if are_short else RIGHT)
    x_axis = Axis(min(0.0, min(xs)), max(xs) if max(xs) > min(0.0, min(xs)) else 1.0, LEFT, right)
    return x_axis, axis_over(
        [*ys, *([0.0] if y_from_zero else [])],
        HEIGHT - BOTTOM,
        TOP,
        from_zero=True,
        may_be_log=not y_from_zero,
    )


def draw_chart(chart: Chart, axes: tuple[Axis, Axis]) -> Markup:
    """The chart as SVG with a title and a description for those who do not see it."""
    x_axis, y_axis = axes
    clip = f"{chart.key}-clip"
    inside = element("rect", x=LEFT, y=TOP - 2, width=x_axis.end - LEFT + 2, height=HEIGHT - BOTTOM - TOP + 2)
    return element(
        "svg",
        element("title", chart.title, id=f"{chart.key}-title"),
        element("desc", chart.description, id=f"{chart.key}-desc"),
        element("clipPath", inside, id=clip),
        list(_grid(chart, x_axis, y_axis)),
        element("g", list(_lines(chart.curves, x_axis, y_axis)), clip_path=f"url(#{clip})"),
        list(_labels(chart.curves, x_axis, y_axis)) if _has_labels(x_axis) else None,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        class_="chart",
        aria_labelledby=f"{chart.key}-title {chart.key}-desc",
    )


def _grid(chart: Chart, x_axis: Axis, y_axis: Axis) -> Iterator[Markup]:
    bottom, right = HEIGHT - BOTTOM, x_axis.end
    for tick in y_axis.ticks(5):
        y = _text(y_axis.at(tick))
        yield element("line", x1=LEFT, x2=right, y1=y, y2=y, class_="grid")
        yield element("text", y_axis.label(tick), x=LEFT - 6, y=y, dy="0.32em", text_anchor="end")
    for tick in x_axis.ticks(4):
        x = _text(x_axis.at(tick))
        yield element("line", x1=x, x2=x, y1=bottom, y2=bottom + 4, class_="tick")
        yield element("text", x_axis.label(tick), x=x, y=bottom + 15, text_anchor="middle")
    yield element("line", x1=LEFT, x2=right, y1=bottom, y2=bottom, class_="tick")
    yield element("text", chart.x, x=right, y=HEIGHT - 4, text_anchor="end", class_="quiet")


def _lines(curves: Sequence[Curve], x_axis: Axis, y_axis: Axis) -> Iterator[Markup]:
    """Bands below lines."""
    for colour, curve in zip(_colours(curves), curves, strict=True):
        if curve.band:
            band = _thinned(curve.band)
            there = [(x, high) for x, _, high in band]
            back = [(x, low) for x, low, _ in reversed(band)]
            path = f"{_path(there, x_axis, y_axis)}L{_path(back, x_axis, y_axis)[1:]}Z"
            yield element("path", d=path, class_=f"band s{colour}")
    for colour, curve in zip(_colours(curves), curves, strict=True):
        points = _thinned(curve.points)
        dashed = " dashed" if curve.is_dashed else ""
        if len(points) == 1:
            x, y = _text(x_axis.at(points[0][0])), _text(y_axis.at(points[0][1]))
            yield element("circle", cx=x, cy=y, r=2.6, class_=f"dot s{colour}")
        else:
            yield element("path", d=_path(points, x_axis, y_axis), class_=f"line s{colour}{dashed}")


def _labels(curves: Sequence[Curve], x_axis: Axis, y_axis: Axis) -> Iterator[Markup]:
    """Each line's name at its end, moved apart where lines end close to each other."""
    named = [
        (y_axis.clipped(curve.points[-1][1]), colour, curve.label)
        for colour, curve in zip(_colours(curves), curves, strict=True)
        if not curve.is_dashed
    ]
    places = spread([y for y, _, _ in named], _LINE, TOP + 4, HEIGHT - BOTTOM)
    for (y, colour, label), place in zip(named, places, strict=True):
        left = x_axis.end
        if abs(place - y) > 1:
            yield element(
                "path", d=f"M{left + 2} {_text(y)}L{left + 9} {_text(place)}", class_=f"leader s{colour}"
            )
        yield element("text", label, x=left + 11, y=_text(place), dy="0.32em", class_=f"label s{colour}")


def legend(chart: Chart, axes: tuple[Axis, Axis]) -> Markup | None:
    """The lines' names below the chart, where they have no room beside it."""
    if _has_labels(axes[0]):
        return None
    named = zip(_colours(chart.curves), chart.curves, strict=True)
    items = [
        element("li", curve.label, class_=f"s{colour}") for colour, curve in named if not curve.is_dashed
    ]
    return element("ul", items, class_="legend")


def _has_labels(x_axis: Axis) -> bool:
    return x_axis.end < WIDTH - RIGHT


def spread(places: Sequence[float], distance: float, low: float, high: float) -> list[float]:
    """The places, moved as little as their order allows so that all lie `distance` apart between `low` and `high`."""
    order = sorted(range(len(places)), key=lambda index: places[index])
    distance = min(distance, (high - low) / max(len(places) - 1, 1))
    moved = [min(max(places[index], low), high) for index in order]
    for number in range(1, len(moved)):
        moved[number] = max(moved[number], moved[number - 1] + distance)
    if moved and moved[-1] > high:
        moved[-1] = high
        for number in range(len(moved) - 2, -1, -1):
            moved[number] = min(moved[number], moved[number + 1] - distance)
    found = [0.0] * len(places)
    for index, place in zip(order, moved, strict=True):
        found[index] = place
    return found


def _colours(curves: Sequence[Curve]) -> list[int]:
    """A number of a colour for each curve; a dashed one has that of the line before it."""
    found: list[int] = []
    number = 0
    for curve in curves:
        number += not curve.is_dashed
        found.append((max(number, 1) - 1) % NUM_COLOURS + 1)
    return found


def _thinned(points: Sequence[Point]) -> Sequence[Point]:
    if len(points) <= MAX_POINTS:
        return points
    last = len(points) - 1
    return [points[round(number * last / (MAX_POINTS - 1))] for number in range(MAX_POINTS)]


def _path(points: Sequence[tuple[float, float]], x_axis: Axis, y_axis: Axis) -> str:
    reach = HEIGHT  # outside of the chart, where nobody looks: a number of any size has its place
    places = [(x_axis.at(x), min(max(y_axis.at(y), -reach), 2 * reach)) for x, y in points]
    return "M" + "L".join(f"{_text(x)} {_text(y)}" for x, y in places)


def _text(number: float) -> str:
    return f"{round(number, 1):g}" if math.isfinite(number) else "0"
