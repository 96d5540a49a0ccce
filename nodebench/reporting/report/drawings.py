"""The figures of `nodebench plot` as SVG within the page: real text, the page's colours, ids that are its own."""

from __future__ import annotations

import importlib
import inspect
import io
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from nodebench.reporting import figures
from nodebench.reporting.figures import Drawing, NothingToDrawError, draw, figure_names
from nodebench.reporting.measures import NotMeasuredError
from nodebench.reporting.recipes import Recipes
from nodebench.reporting.report.inlining import inlined
from nodebench.reporting.report.markup import Markup, element
from nodebench.reporting.report.titles import title
from nodebench.reporting.runs import Run

_OF_THE_PAGE = ("curves",)  # what the page draws itself


@dataclass(frozen=True)
class InlineFigure:
    """A figure of the paper: its name, what it shows, the SVG, and sentences on what a reader should know."""

    name: str
    about: str
    svg: Markup
    notes: tuple[str, ...]


def draw_figures(
    runs: Sequence[Run], recipes_of: Callable[[str, Sequence[Run]], Recipes]
) -> list[InlineFigure]:
    """Every figure that these runs have data for, in the order of the paper, then those beside it."""
    found = []
    for name in sorted(set(figure_names()) - {*_OF_THE_PAGE}, key=_order):
        try:
            drawing = draw(name, runs, recipes_of(name, runs))
        except (NothingToDrawError, NotMeasuredError):
            continue
        found.append(InlineFigure(name, _about(name), inline_svg(name, drawing), tuple(drawing.notes)))
    return found


def inline_svg(name: str, drawing: Drawing) -> Markup:
    """The drawing as an SVG element, with a title and a description, and without size, date and fonts of its own."""
    import matplotlib

    from nodebench.reporting.figures.drawing.style import house_style

    file = io.StringIO()
    with house_style(), matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        drawing.figure.savefig(file, format="svg", metadata={"Date": None})
    text = inlined(file.getvalue(), name)
    named = element("title", title(name), id=f"{name}-title") + element(
        "desc", _about(name), id=f"{name}-desc"
    )
    attributes = f'role="img" class="drawn" aria-labelledby="{name}-title {name}-desc"'
    return Markup(text.replace(">", f" {attributes}>{named}", 1))


def _order(name: str) -> tuple[int, str]:
    number = name.removeprefix("fig")
    return (int(number), "") if number.isdecimal() else (99, name)


def title_of(figure: InlineFigure) -> str:
    """`Figure 3`, `Speed and accuracy`."""
    return title(figure.name)


def _about(name: str) -> str:
    """What the function that draws it says of it, without what it raises."""
    function = getattr(importlib.import_module(f"{figures.__name__}.{name}"), name)
    text = " ".join((inspect.getdoc(function) or "").split())
    return " ".join(_sentences(text))


def _sentences(text: str) -> Iterable[str]:
    return (
        sentence for sentence in re.split(r"(?<=\.) (?=[A-Z])", text) if not sentence.startswith("Raises ")
    )
