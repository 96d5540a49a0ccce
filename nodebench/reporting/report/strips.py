"""A mean with its interval as a dot on a line, one strip a row, all of a table on one scale."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from nodebench.reporting.report.axes import Axis, axis_over
from nodebench.reporting.report.markup import Markup, element

WIDTH, HEIGHT, EDGE = 220, 22, 7


@dataclass(frozen=True)
class Mark:
    """What a strip shows: our mean, half its interval, and the paper's number; None where there is none."""

    mean: float | None
    interval: float | None = None
    paper: float | None = None


def scale_of(marks: Iterable[Mark]) -> Axis | None:
    """One scale for all of the marks: by their means and the paper's numbers, and by intervals that are not wider than
    all of that together; wider ones end at the edge. None where there is no number.
    """
    known = list(marks)
    numbers = [value for mark in known for value in (mark.mean, mark.paper) if value is not None]
    if not numbers:
        return None
    spread = (max(numbers) - min(numbers)) or abs(numbers[0]) or 1.0
    ends = [
        mark.mean + side * mark.interval
        for mark in known
        if mark.mean is not None and mark.interval is not None and mark.interval <= spread
        for side in (-1, 1)
    ]
    return axis_over([*numbers, *ends], EDGE, WIDTH - EDGE, from_zero=min(numbers) >= 0)


def draw_strip(mark: Mark, scale: Axis) -> Markup:
    """The strip; the numbers stand beside it as text, so it is hidden from readers of screens."""
    rail = element("line", x1=EDGE, x2=WIDTH - EDGE, y1=HEIGHT / 2, y2=HEIGHT / 2, class_="rail")
    return _svg([rail, *_marks(mark, scale)], "strip")


def draw_key(mark: Mark) -> Markup:
    """A mark from 0 to 1 beside words that say what it means."""
    return _svg(list(_marks(mark, Axis(0.0, 1.0, 2.0, 30.0))), "swatch", width=32)


def _marks(mark: Mark, scale: Axis) -> Iterator[Markup]:
    middle = HEIGHT / 2
    if mark.mean is not None:
        if mark.interval is not None:
            low, high = (scale.clipped(mark.mean + side * mark.interval) for side in (-1, 1))
            yield element("line", x1=_text(low), x2=_text(high), y1=middle, y2=middle, class_="interval")
        yield element("circle", cx=_text(scale.clipped(mark.mean)), cy=middle, r=4.2, class_="ours")
    if mark.paper is not None:
        x, reach = scale.clipped(mark.paper), 5.2
        corners = ((x, middle - reach), (x + reach, middle), (x, middle + reach), (x - reach, middle))
        points = " ".join(f"{_text(left)},{_text(top)}" for left, top in corners)
        yield element("polygon", points=points, class_="papers")


def _svg(parts: Sequence[Markup], kind: str, width: float = WIDTH) -> Markup:
    hidden = {"aria_hidden": "true", "focusable": "false"}
    return element("svg", parts, viewBox=f"0 0 {width} {HEIGHT}", class_=kind, **hidden)


def draw_scale(scale: Axis) -> Markup:
    """The numbers along the strips, as the heading of their column."""
    ticks = [tick for tick in scale.ticks(4) if EDGE - 1 <= scale.at(tick) <= WIDTH - EDGE + 1]
    texts = [
        element(
            "text",
            scale.label(tick),
            x=_text(scale.at(tick)),
            y=HEIGHT - 7,
            text_anchor=_anchor(scale.at(tick)),
        )
        for tick in ticks
    ]
    return _svg(texts, "strip scale")


def _anchor(x: float) -> str:
    return "start" if x < 20 else "end" if x > WIDTH - 20 else "middle"


def _text(number: float) -> str:
    return f"{round(number, 1):g}" if math.isfinite(number) else "0"
