"""The first screen of the page: what was run, and what was found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from nodebench.counted import counted
from nodebench.reporting.report.comparisons import HIGHER, LOWER, ONE_SEED, WITHIN, Block, Comparison
from nodebench.reporting.report.experiments import Experiment, Neighbours
from nodebench.reporting.report.markup import Markup, element
from nodebench.reporting.report.strips import Mark, draw_key, draw_scale, draw_strip, scale_of
from nodebench.reporting.runs import Run

_MAX_NAMED = 8  # runs that did not finish, named at the top


def lede(found: Sequence[Neighbours]) -> str:
    """How many runs of how many experiments, and how they ended."""
    runs = [run for each in found for run in each.runs]
    experiments = sum(len(each.experiments) for each in found)
    statuses = Counter(run.status for run in runs)
    ended = (
        f"all {next(iter(statuses))}"
        if len(statuses) == 1 and len(runs) > 1
        else ", ".join(
            f"{number} {status}" if len(runs) > 1 else status for status, number in statuses.most_common()
        )
    )
    return f"{counted(len(runs), 'run')} of {counted(experiments, 'experiment')}, {ended}."


def finding(blocks: Sequence[Block], found: Sequence[Neighbours]) -> str:
    """What was found, in a sentence: against the paper where there are its numbers, else the score of what there is."""
    comparisons = [each for block in blocks for each in block.comparisons]
    if len(comparisons) == 1:
        (one,) = comparisons
        style = one.papers_style
        return f"{one.name} has {one.ours}, in the paper {one.paper:{style}}: {one.verdict}."
    if comparisons:
        verdicts = Counter(each.verdict for each in comparisons)
        words = {
            WITHIN: "{} within our 95 % interval",
            LOWER: "{} above ours",
            HIGHER: "{} below ours",
            ONE_SEED: "{} beside a single seed of ours",
        }
        told = [words[verdict].format(verdicts[verdict]) for verdict in words if verdicts[verdict]]
        return f"Of the paper's {counted(len(comparisons), 'number')}: {', '.join(told)}."
    scored = [each for neighbours in found for each in neighbours.experiments if each.mean is not None]
    if not scored:
        return "No run has a score yet."
    if len(scored) == 1:
        return f"{_told(scored[0])}."
    return f"{len(scored)} experiments have a score; their means and intervals stand below."


def _told(experiment: Experiment) -> str:
    score = experiment.score
    assert score is not None
    return f"{experiment.label} on {experiment.data} has {score.name} {experiment.words}"


def what_was_run(found: Sequence[Neighbours]) -> Markup:
    """Of each task its data sets, its models, how many experiments and runs, and how many did not finish."""
    tasks = dict.fromkeys(each.task for each in found)
    items = [_task(task, [each for each in found if each.task == task]) for task in tasks]
    return element("dl", items, class_="tasks")


def _task(task: str, found: Sequence[Neighbours]) -> Markup:
    experiments = [each for neighbours in found for each in neighbours.experiments]
    models = dict.fromkeys(each.row.identity["model"] for each in experiments)
    data = ", ".join(dict.fromkeys(each.data for each in found if each.data))
    runs = [run for each in found for run in each.runs]
    unfinished = sum(not run.is_finished for run in runs)
    more = f", {unfinished} not finished" if unfinished else ""
    numbers = f"{counted(len(experiments), 'experiment')}, {counted(len(runs), 'run')}{more}"
    return element(
        "div",
        element(
            "dt", element("b", task.replace("_", " ") or "unknown task"), f" on {data}" if data else None
        ),
        element("dd", ", ".join(filter(None, models))),
        element("dd", numbers, class_="quiet"),
    )


def beside_the_paper(blocks: Sequence[Block]) -> list[Markup]:
    """Our means and intervals beside the paper's numbers: a table and its picture in one."""
    return [_block(block) for block in blocks]


def _block(block: Block) -> Markup:
    scale = scale_of(each.mark for each in block.comparisons)
    assert scale is not None
    head = element(
        "tr",
        element("th", element("span", "row", class_="unseen"), scope="col"),
        element("th", draw_scale(scale), class_="strip-cell", aria_hidden="true"),
        *(element("th", name, scope="col", class_="number") for name in ("ours", "seeds", "paper")),
        element("th", element("span", "verdict", class_="unseen"), scope="col"),
    )
    rows = [_comparison_row(each, draw_strip(each.mark, scale)) for each in block.comparisons]
    table = element("table", element("caption", block.title), element("thead", head), element("tbody", rows))
    return element(
        "div",
        element("div", table, class_="scroll"),
        element("p", block.remark, class_="note"),
        class_="block",
    )


def _comparison_row(comparison: Comparison, strip: Markup) -> Markup:
    return element(
        "tr",
        element("th", comparison.name, scope="row"),
        element("td", strip, class_="strip-cell", aria_hidden="true"),
        element("td", comparison.ours, class_="number"),
        element("td", str(comparison.seeds), class_="number quiet"),
        element("td", f"{comparison.paper:{comparison.papers_style}}", class_="number"),
        element("td", comparison.verdict, class_="verdict"),
    )


def key_to_strips(*, has_paper: bool) -> Markup:
    """What the marks mean."""
    parts = [element("span", draw_key(Mark(0.5, 0.4)), "ours: mean over seeds, 95 % interval (Student's t)")]
    if has_paper:
        parts.append(element("span", draw_key(Mark(None, None, 0.5)), "the paper's number"))
    return element("p", parts, class_="key", aria_hidden="true")


def all_scores(found: Sequence[Neighbours]) -> Iterator[Markup]:
    """A small table for every task and data set whose experiments have a score: one scale, one strip an experiment."""
    for neighbours in found:
        score = neighbours.score
        scored = [each for each in neighbours.experiments if each.mean is not None and each.score == score]
        scale = scale_of(Mark(each.mean, each.interval) for each in scored)
        if score is None or scale is None:
            continue
        rows = [
            element(
                "tr",
                element("th", element("a", each.label, href=f"#{each.key}"), scope="row"),
                element(
                    "td",
                    draw_strip(Mark(each.mean, each.interval), scale),
                    class_="strip-cell",
                    aria_hidden="true",
                ),
                element("td", each.words, class_="number"),
            )
            for each in scored
        ]
        head = element(
            "tr",
            element("th", element("span", "experiment", class_="unseen"), scope="col"),
            element("th", draw_scale(scale), class_="strip-cell", aria_hidden="true"),
            element("th", score.name, scope="col", class_="number"),
        )
        unit = f", {score.unit}" if score.unit else ""
        caption = element("caption", neighbours.name, element("span", unit, class_="quiet"))
        yield element(
            "div",
            element("table", caption, element("thead", head), element("tbody", rows)),
            class_="scroll multiple",
        )


def unfinished(runs: Sequence[Run]) -> Markup | None:
    """The runs that did not finish, with their reasons; None where all did."""
    left = [run for run in runs if not run.is_finished]
    if not left:
        return None
    items = [
        element(
            "li",
            element("strong", f"{run.group}/{run.folder.name}"),
            f" is {run.status}",
            f": {run.problem}" if run.problem else "",
        )
        for run in left[:_MAX_NAMED]
    ]
    if len(left) > _MAX_NAMED:
        items.append(element("li", f"and {len(left) - _MAX_NAMED} more, in the table of runs"))
    title = (
        f"{counted(len(left), 'run')} did not finish; no number here counts {'them' if left[1:] else 'it'}"
    )
    return element("div", element("h2", title), element("ul", items), class_="warning")
