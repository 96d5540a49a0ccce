"""Speed against accuracy: what a training step takes, and the score that came of it, a dot an experiment.

A model has a colour, named below the chart; what tells its experiments apart stands beside their dots, if it is short.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nodebench.reporting.report.axes import Axis, axis_over
from nodebench.reporting.report.charts import BOTTOM, HEIGHT, LEFT, NUM_COLOURS, TOP, WIDTH
from nodebench.reporting.report.experiments import Experiment, Neighbours, short_names
from nodebench.reporting.report.markup import Markup, element

TIME = "time_step_ms"
RIGHT = 18
_CHARACTER, _LINE = 5.6, 12.0  # a label's width a letter, and its height
_SHORT = 16  # characters of a name beside a dot
Box = tuple[float, float, float, float]


def cost_charts(found: Sequence[Neighbours]) -> Iterator[Markup]:
    """A chart for every task and data set of which two experiments have a time and a score."""
    for neighbours in found:
        score = neighbours.score
        known = [
            each
            for each in neighbours.experiments
            if each.score == score and each.mean is not None and (each.row.number(TIME) or 0) > 0
        ]
        if score is None or len(known) < 2:
            continue
        caption = element("figcaption", element("b", score.name), f" {neighbours.name}")
        models = _models(known)
        items = [element("li", model, class_=f"s{colour} dotted") for model, colour in models.items()]
        legend = element("ul", items, class_="legend")
        yield element("figure", caption, _draw(neighbours, known), legend, class_="panel")


def _models(known: Sequence[Experiment]) -> dict[str, int]:
    """A number of a colour for each model."""
    names = dict.fromkeys(each.row.identity["model"] for each in known)
    return {name: number % NUM_COLOURS + 1 for number, name in enumerate(names)}


def _draw(neighbours: Neighbours, known: Sequence[Experiment]) -> Markup:
    score = neighbours.score
    assert score is not None
    key = f"{known[0].key}-cost"
    times = [each.row.number(TIME) or 1.0 for each in known]
    means = [each.mean or 0.0 for each in known]
    x_axis = axis_over(times, LEFT, WIDTH - RIGHT)
    spread = max(means) - min(means)
    ends = [
        mean + side * each.interval
        for each, mean in zip(known, means, strict=True)
        if each.interval is not None and each.interval <= spread
        for side in (-1, 1)
    ]
    y_axis = axis_over([*means, *ends], HEIGHT - BOTTOM, TOP, from_zero=True)
    dots = [(x_axis.at(time), y_axis.at(mean)) for time, mean in zip(times, means, strict=True)]
    told = [
        f"{each.label}: {time:.3g} ms, {score.name} {each.words}"
        for each, time in zip(known, times, strict=True)
    ]
    return element(
        "svg",
        element(
            "title", f"{score.name} against the time of a training step, {neighbours.name}", id=f"{key}-title"
        ),
        element("desc", "; ".join(told), id=f"{key}-desc"),
        list(_grid(x_axis, y_axis)),
        list(_marks(known, dots, y_axis)),
        list(_names(known, dots)),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        class_="chart",
        aria_labelledby=f"{key}-title {key}-desc",
    )


def _grid(x_axis: Axis, y_axis: Axis) -> Iterator[Markup]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    for tick in y_axis.ticks(5):
        y = round(y_axis.at(tick), 1)
        yield element("line", x1=LEFT, x2=right, y1=y, y2=y, class_="grid")
        yield element("text", y_axis.label(tick), x=LEFT - 6, y=y, dy="0.32em", text_anchor="end")
    for tick in x_axis.ticks(5):
        x = round(x_axis.at(tick), 1)
        yield element("line", x1=x, x2=x, y1=bottom, y2=bottom + 4, class_="tick")
        yield element("text", x_axis.label(tick), x=x, y=bottom + 15, text_anchor="middle")
    yield element("line", x1=LEFT, x2=right, y1=bottom, y2=bottom, class_="tick")
    yield element("text", "ms a training step", x=right, y=HEIGHT - 4, text_anchor="end", class_="quiet")


def _marks(
    known: Sequence[Experiment], dots: Sequence[tuple[float, float]], y_axis: Axis
) -> Iterator[Markup]:
    colours = _models(known)
    for each, (x, y) in zip(known, dots, strict=True):
        colour, mean, interval = colours[each.row.identity["model"]], each.mean or 0.0, each.interval
        if interval is not None:
            low, high = (round(y_axis.clipped(mean + side * interval), 1) for side in (-1, 1))
            yield element(
                "line", x1=round(x, 1), x2=round(x, 1), y1=low, y2=high, class_=f"whisker s{colour}"
            )
        told = element("title", f"{each.label}: {each.words}")
        yield element("circle", told, cx=round(x, 1), cy=round(y, 1), r=4, class_=f"dot s{colour}")


def _names(known: Sequence[Experiment], dots: Sequence[tuple[float, float]]) -> Iterator[Markup]:
    """What tells the experiments of a model apart, beside their dots, where it covers neither a dot nor a name."""
    colours, labels = _models(known), _labels(known)
    taken: list[Box] = [(x - 5, y - 5, x + 5, y + 5) for x, y in dots]
    for each, label, (x, y) in zip(known, labels, dots, strict=True):
        width = _CHARACTER * len(label)
        places = (
            *((x + 8, y, "start"), (x - 8, y, "end"), (x + 5, y - 12, "start"), (x + 5, y + 12, "start")),
            *((x - 5, y - 12, "end"), (x - 5, y + 12, "end"), (x, y - 14, "middle"), (x, y + 14, "middle")),
        )
        for left, middle, anchor in places if label else ():
            begin = left - {"start": 0.0, "end": width, "middle": width / 2}[anchor]
            box = (begin, middle - _LINE / 2, begin + width, middle + _LINE / 2)
            is_inside = (
                begin >= LEFT and box[2] <= WIDTH and box[1] >= TOP - 6 and box[3] <= HEIGHT - BOTTOM + 2
            )
            if is_inside and not any(_touch(box, other) for other in taken):
                taken.append(box)
                place = {"x": round(left, 1), "y": round(middle, 1), "text_anchor": anchor}
                colour = f"label s{colours[each.row.identity['model']]}"
                yield element("text", label, dy="0.32em", class_=colour, **place)
                break


def _labels(known: Sequence[Experiment]) -> list[str]:
    """What is short enough to stand beside a dot; empty where it is longer, or where a model has one dot."""
    found: dict[str, str] = {}
    for model in _models(known):
        own = [each for each in known if each.row.identity["model"] == model]
        names = short_names([each.row for each in own], with_model=False) if own[1:] else [""]
        found |= {each.key: name for each, name in zip(own, names, strict=True)}
    return [found[each.key] if len(found[each.key]) <= _SHORT else "" for each in known]


def _touch(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
