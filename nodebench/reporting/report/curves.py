"""How training went: scores and evaluations epoch by epoch, a line an experiment, its seeds as a band."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from nodebench.records import Columns
from nodebench.reporting.columns import columns_of
from nodebench.reporting.epochs import (
    COUNTS,
    PLACES,
    curves_unasked,
    over_seeds,
    place_of,
    read_epochs,
    recorded_columns,
)
from nodebench.reporting.report.charts import Chart, Curve, axes_over, draw_chart, legend
from nodebench.reporting.report.experiments import Experiment, Neighbours, short_names
from nodebench.reporting.report.markup import Markup, element

MAX_LINES = 8  # of one chart: the colours that eyes tell apart; beyond, a chart a model
MAX_CHARTS = 3  # of one group of experiments


@dataclass(frozen=True)
class Course:
    """What the runs of some neighbours recorded: a line an epoch, and the column that says where it stands."""

    neighbours: Neighbours
    table: pd.DataFrame
    columns: Columns
    place: str
    problems: Sequence[str]

    def lines(self, experiments: Sequence[Experiment], column: str) -> Iterator[tuple[Experiment, Curve]]:
        """Of each experiment that has numbers in `column`: the mean over its seeds, from its lowest to its highest."""
        rows = [each.row for each in experiments]
        is_one_model = len({row.identity["model"] for row in rows}) == 1 and len(rows) > 1
        names = short_names(rows, with_model=not is_one_model)
        numbers = over_seeds(self.table, column, self.place)
        for experiment, name in zip(experiments, names, strict=True):
            own = numbers[numbers["group"] == experiment.row.first.group]
            places = [float(place) for place in own[self.place]]
            if places:
                band = list(zip(places, own["lowest"], own["highest"], strict=True))
                has_band = own["num_runs"].max() > 1
                yield (
                    experiment,
                    Curve(name, list(zip(places, own["mean"], strict=True)), band if has_band else ()),
                )


def read_course(neighbours: Neighbours) -> Course:
    """The epochs of these experiments; lines of metrics.jsonl that cannot be used are problems."""
    columns = columns_of(neighbours.runs)
    shown = curves_unasked(recorded_columns(neighbours.runs), columns)
    table, problems = read_epochs(neighbours.runs, tuple(dict.fromkeys((*shown, *COUNTS))))
    place = place_of(neighbours.runs, table)
    return Course(neighbours, table[table[place].notna()], columns, place, problems)


def learning_charts(course: Course) -> Iterator[Markup]:
    """A row of charts for the scores of these experiments; more than MAX_LINES of them have a row a model."""
    for number, column in enumerate(_scores(course)):
        parts = _parts(course, column)
        title = f"{column} of {course.neighbours.name}"
        yield from _draw(course, parts, f"{course.neighbours.experiments[0].key}-curve-{number}", title)


def evaluation_charts(course: Course) -> Iterator[Markup]:
    """Evaluations of a batch while training: forward solid, backward dashed; empty without an ODE's."""
    forward, backward = COUNTS
    parts: dict[str, list[Curve]] = {}
    for name, experiments in _split(course).items():
        dashed = dict((each.key, curve) for each, curve in course.lines(experiments, backward))
        for experiment, curve in course.lines(experiments, forward):
            parts.setdefault(name, []).append(curve)
            other = dashed.get(experiment.key)
            if other is not None and any(y for _, y in other.points):
                parts[name].append(Curve(other.label, other.points, other.band, is_dashed=True))
    key = f"{course.neighbours.experiments[0].key}-nfe"
    yield from _draw(course, parts, key, f"NFE a batch of {course.neighbours.name}", y_from_zero=True)


def _scores(course: Course) -> list[str]:
    """Of each score on the line of an epoch that on held-out data, where it was recorded; alone, training's too."""
    table, found = course.table, {}
    recorded = [name for name in table.columns if name not in ("group", "seed", *PLACES, *COUNTS)]
    recorded = [name for name in recorded if table[name].notna().any()]
    labelled: dict[str, list[str]] = {}
    for name in recorded:
        if course.columns[name].screen:
            labelled.setdefault(course.columns[name].screen, []).append(name)
    found = {label: names[-1:] for label, names in labelled.items()}
    if len(labelled) == 1:
        found = labelled
    chosen = [name for names in found.values() for name in names]
    losses = [name for name in recorded if course.columns[name].chart == "loss"]
    return (chosen or losses or recorded)[:MAX_CHARTS]


def _split(course: Course) -> dict[str, list[Experiment]]:
    """All experiments together, or, where they are too many for colours, those of each model."""
    experiments = list(course.neighbours.experiments)
    models = {each.row.identity["model"] for each in experiments}
    if len(experiments) <= MAX_LINES:
        return {models.pop() if len(models) == 1 else "": experiments}
    parts: dict[str, list[Experiment]] = {}
    for each in experiments:
        parts.setdefault(each.row.identity["model"], []).append(each)
    return {
        f"{model}{f', {start + 1} to {start + len(some)}' if len(members) > MAX_LINES else ''}": some
        for model, members in parts.items()
        for start in range(0, len(members), MAX_LINES)
        if (some := members[start : start + MAX_LINES])
    }


def _parts(course: Course, column: str) -> dict[str, list[Curve]]:
    found = {
        name: [curve for _, curve in course.lines(some, column)] for name, some in _split(course).items()
    }
    return {name: curves for name, curves in found.items() if curves}


def _draw(
    course: Course, parts: Mapping[str, Sequence[Curve]], key: str, title: str, *, y_from_zero: bool = False
) -> Iterator[Markup]:
    charts = {
        name: Chart(
            f"{key}-{number}",
            f"{title}{f': {name}' if name else ''}",
            _describe(curves, course.place),
            course.place,
            curves,
        )
        for number, (name, curves) in enumerate(parts.items())
        if any(len(curve.points) > 1 for curve in curves)  # a dot alone is no course
    }
    if not charts:
        return
    axes = axes_over(list(charts.values()), y_from_zero=y_from_zero)
    for name, chart in charts.items():
        heading, _, rest = title.partition(" of ")
        beside = ", ".join(filter(None, (name, rest if y_from_zero else "")))
        caption = element("figcaption", element("b", heading), f" {beside}" if beside else "")
        yield element("figure", caption, draw_chart(chart, axes), legend(chart, axes), class_="panel")


def _describe(curves: Sequence[Curve], place: str) -> str:
    """Where every line begins and ends, for those who do not see it."""
    told = [
        f"{curve.label}{', backward' if curve.is_dashed else ''}: from {curve.points[0][1]:.3g} to "
        f"{curve.points[-1][1]:.3g} at {place} {curve.points[-1][0]:g}"
        for curve in curves
    ]
    return "; ".join(told)
