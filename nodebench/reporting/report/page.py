"""The page as a whole: one file of HTML with its style, script, figures and data inside."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from nodebench.counted import counted
from nodebench.reporting.layout import Table
from nodebench.reporting.report.comparisons import compare_with_paper, other_findings
from nodebench.reporting.report.costs import cost_charts
from nodebench.reporting.report.curves import evaluation_charts, learning_charts, read_course
from nodebench.reporting.report.data import as_data, table_columns, table_rows
from nodebench.reporting.report.details import environments, experiment_list
from nodebench.reporting.report.drawings import InlineFigure, title_of
from nodebench.reporting.report.experiments import Neighbours, find_neighbours
from nodebench.reporting.report.markup import Child, Markup, element, embedded_json
from nodebench.reporting.report.summary import (
    all_scores,
    beside_the_paper,
    finding,
    key_to_strips,
    lede,
    unfinished,
    what_was_run,
)
from nodebench.reporting.report.tables import runs_table, table_markup
from nodebench.reporting.runs import Run

_ASSETS = files("nodebench.reporting.report") / "assets"


@dataclass(frozen=True)
class Contents:
    """What a page is made of: runs found under `root`; tables and figures that they have data for, by name; and for
    each group the command that makes it again. `again` is the command that makes the page.
    """

    title: str
    root: Path
    runs: Sequence[Run]
    tables: Mapping[str, Table] = field(default_factory=dict)
    figures: Sequence[InlineFigure] = ()
    commands: Mapping[str, str] = field(default_factory=dict)
    again: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page, with a heading of its own; one without children is left out."""

    key: str
    title: str
    intro: str
    children: Sequence[Child]


def make_page(contents: Contents) -> str:
    """The page: the same runs, tables and figures give the same text, on any machine and on any day."""
    found = find_neighbours(contents.runs)
    columns = table_columns(found)
    rows = table_rows(found, columns)
    table = runs_table(columns, rows)
    sections = [section for section in _sections(contents, found, table) if any(section.children)]
    style, script = ((_ASSETS / name).read_text(encoding="utf-8") for name in ("style.css", "script.js"))
    data = embedded_json(as_data(columns, rows))
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=_policy(script)),
        element("meta", name="generator", content="nodebench report"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", contents.title),
        element("style", Markup(style)),
    )
    body = element(
        "body",
        element("a", "To the runs", href="#runs", class_="skip"),
        _bar(sections),
        element("main", _summary(contents, found), [_section(section) for section in sections]),
        _footer(contents),
        element("script", data, type="application/json", id="runs-data"),
        element("script", Markup(script)),
    )
    return without_place(f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n", contents.root)


def without_place(page: str, root: Path) -> str:
    """The page with the folder's name alone where an absolute path would tell of the machine that it was made on."""
    if not (root.is_absolute() and root.name):
        return page
    writers = (lambda text: embedded_json(text)[1:-1], lambda text: element("b", text)[3:-4])
    for write in writers:
        place, name = write(str(root)), write(root.name).replace("\\", r"\\")
        # Not within longer words, which base64 may be.
        page = re.sub(rf"(?<![\w/.+=-]){re.escape(place)}(?![\w+=-])", name, page)
    return page


def _policy(script: str) -> str:
    """Nothing is fetched, and no script but the page's own is run, whatever else stands in the page."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _bar(sections: Sequence[Section]) -> Markup:
    links = [("summary", "Summary"), *((section.key, section.title) for section in sections)]
    items = [element("li", element("a", title, href=f"#{key}")) for key, title in links]
    theme = element(
        "button",
        "Dark",
        type="button",
        id="theme",
        hidden=True,
        aria_label="dark colours",
        aria_pressed="false",
    )
    return element("nav", element("div", element("ul", items), theme), aria_label="sections")


def _summary(contents: Contents, found: Sequence[Neighbours]) -> Markup:
    """The first screen."""
    blocks = compare_with_paper(contents.tables)
    paper = beside_the_paper(blocks)
    beside: list[Child] = [element("h2", "What was found")]
    scores = list(all_scores(found))
    if blocks:
        beside += [key_to_strips(has_paper=True), paper]
    elif scores:
        has_intervals = any(each.interval is not None for some in found for each in some.experiments)
        key = key_to_strips(has_paper=False) if has_intervals else None
        beside += [key, element("div", scores, class_="multiples")]
    if words := [element("li", sentence) for sentence in other_findings(contents.tables)]:
        beside.append(element("ul", words, class_="words"))
    return element(
        "section",
        element(
            "header",
            element("h1", contents.title),
            element("p", f"{lede(found)} {finding(blocks, found)}", class_="lede"),
        ),
        unfinished(contents.runs),
        element("div", element("h2", "What was run"), what_was_run(found), class_="asked"),
        element("div", beside, class_="found") if beside[1:] else None,
        id="summary",
        aria_label="Summary",
    )


def _sections(contents: Contents, found: Sequence[Neighbours], table: Markup) -> Iterable[Section]:
    courses = [read_course(each) for each in found]
    learning = [(course.neighbours.name, list(learning_charts(course))) for course in courses]
    evaluations = [chart for course in courses for chart in evaluation_charts(course)]
    problems = [problem for course in courses for problem in course.problems]
    if compare_with_paper(contents.tables):
        yield Section(
            *("scores", "Scores"),
            "What the experiments of a task have on each data set: mean over seeds, and half its 95 % interval.",
            [element("div", list(all_scores(found)), class_="multiples")],
        )
    yield Section(
        *("runs", "Runs"),
        "One row for all seeds of an experiment. A name leads to its settings, its runs and the command that makes it "
        "again.",
        [
            _controls(),
            element(
                "div",
                table,
                class_="scroll runs",
                tabindex="0",
                role="region",
                aria_label="table of runs",
            ),
        ],
    )
    yield Section(
        *("curves", "Learning"),
        "Scores while training. A line is the mean over seeds, its band reaches from the lowest to the highest seed; "
        "one that comes in from above began higher.",
        [*_panels(learning), _problems(problems)],
    )
    yield Section(
        *("evaluations", "Evaluations"),
        "Evaluations of the vector field in a training batch: solid forward, dashed backward, counted apart.",
        [element("div", evaluations, class_="panels")] if evaluations else [],
    )
    costs = list(cost_charts(found))
    yield Section(
        *("cost", "Speed"),
        "What a training step took where it ran, and the score that came of it, with its 95 % interval.",
        [element("div", costs, class_="panels")] if costs else [],
    )
    yield Section(
        *("figures", "Figures"),
        "The figures and tables of the paper that there is data for, drawn from these runs.",
        [
            *(_figure(figure, contents) for figure in contents.figures),
            *(table_markup(name, table) for name, table in contents.tables.items()),
        ],
    )
    yield Section(
        *("experiments", "Experiments"),
        "Where the settings of each differ from its neighbours', its runs, and the command that makes it again.",
        list(experiment_list(found, contents.commands)),
    )
    yield Section(*("environment", "Environment"), "", [environments(contents.runs)] if contents.runs else [])


def _section(section: Section) -> Markup:
    intro = element("p", section.intro, class_="intro") if section.intro else None
    heading = element("h2", section.title, id=f"{section.key}-heading")
    return element(
        "section", heading, intro, section.children, id=section.key, aria_labelledby=f"{section.key}-heading"
    )


def _panels(parts: Sequence[tuple[str, Sequence[Markup]]]) -> Iterable[Markup]:
    """The charts of each group of experiments below its name."""
    for name, panels in parts:
        if panels:
            yield element("h3", name)
            yield element("div", panels, class_="panels")


def _problems(problems: Sequence[str]) -> Markup | None:
    if not problems:
        return None
    title = f"{counted(len(problems), 'remark')} on what could not be used"
    return element(
        "details", element("summary", title), element("ul", [element("li", each) for each in problems])
    )


def _figure(figure: InlineFigure, contents: Contents) -> Markup:
    title = title_of(figure)
    notes = [element("li", note) for note in figure.notes]
    below = (
        element("details", element("summary", "Notes"), element("ul", notes), class_="notes")
        if notes
        else None
    )
    picture = element("div", figure.svg, class_="scroll", tabindex="0", role="region", aria_label=title)
    return element(
        "figure",
        element("h3", title),
        picture,
        element("figcaption", figure.about),
        below,
        id=f"figure-{figure.name}",
        class_="paper",
    )


def _controls() -> Markup:
    """What the table answers to; hidden until the script is there that answers."""

    def labelled(words: str, control: Markup) -> Markup:
        return element("label", element("span", words), control)

    return element(
        "div",
        labelled(
            "Filter",
            element("input", type="search", id="filter", placeholder="odenet 1e-3", autocomplete="off"),
        ),
        labelled("Status", element("select", id="status")),
        labelled("A row is", element("select", id="kind")),
        labelled("Group by", element("select", id="group")),
        element(
            "details", element("summary", "Columns"), element("fieldset", id="columns"), class_="columns"
        ),
        element("p", id="shown", role="status"),
        class_="controls",
        id="controls",
        hidden=True,
    )


def _footer(contents: Contents) -> Markup:
    again = [" by ", element("code", contents.again)] if contents.again else []
    return element(
        "footer",
        element("p", "Made from run folders", again, ". Nothing in this page is fetched from elsewhere."),
    )
