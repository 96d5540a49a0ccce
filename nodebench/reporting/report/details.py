"""What the page says of each experiment: how it differs from its neighbours, its runs, and how to make it again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nodebench.counted import counted
from nodebench.records.jsonl import is_number
from nodebench.reporting.report.experiments import Experiment, Neighbours
from nodebench.reporting.report.markup import Child, Markup, element
from nodebench.reporting.runs import Run

_SHOWN_OF_ENVIRONMENT = ("python", "system", "device", "device_name", "num_threads")
_PACKAGES = ("torch", "numpy", "scipy", "torchvision")


def experiment_list(found: Sequence[Neighbours], commands: Mapping[str, str]) -> Iterator[Markup]:
    """A heading for neighbours, what all of them share, and a part that opens for each of them."""
    for neighbours in found:
        yield element("h3", neighbours.name)
        if len(neighbours.experiments) > 1 and neighbours.shared:
            title = f"{counted(len(neighbours.shared), 'setting')} of all {len(neighbours.experiments)} experiments"
            yield element("details", element("summary", title), _settings(neighbours.shared), class_="shared")
        for experiment in neighbours.experiments:
            command = commands.get(experiment.row.first.group)
            yield _experiment(experiment, neighbours, command)


def _experiment(experiment: Experiment, neighbours: Neighbours, command: str | None) -> Markup:
    row, score = experiment.row, experiment.score
    told = f"{score.name} {experiment.words}" if score else ""
    summary = element(
        "summary",
        element("b", experiment.label),
        element("span", told, class_="number"),
        element("span", row.text("status"), class_=f"status {_kind(row.text('status'))}"),
    )
    is_alone = len(neighbours.experiments) == 1
    own = (
        neighbours.shared if is_alone else {key: value for key, value in experiment.settings.items() if value}
    )
    title = "Settings" if is_alone else "Where it differs from its neighbours"
    parts: list[Child] = [element("h4", title), _settings(own) if own else element("p", "nowhere")]
    if row.notes:
        parts += [element("h4", "What limits it"), element("ul", [element("li", note) for note in row.notes])]
    parts += [element("h4", "Its runs"), _runs(experiment)]
    parts += [element("h4", "To make it again"), _command(command)]
    whole = element("pre", _lines(json.dumps(row.first.config, indent=1, default=str)), tabindex="0")
    parts.append(element("details", element("summary", "Its whole config"), whole))
    return element("details", summary, element("div", parts), class_="experiment", id=experiment.key)


def _lines(text: str) -> Iterator[Child]:
    """A text whose line breaks and indents stay."""
    for line in text.splitlines():
        rest = line.lstrip(" ")
        yield [Markup(" " * (len(line) - len(rest))), rest, Markup("\n")]


def _settings(settings: Mapping[str, str]) -> Markup:
    pairs = [
        element("div", element("dt", key), element("dd", value)) for key, value in sorted(settings.items())
    ]
    return element("dl", pairs, class_="settings")


def _runs(experiment: Experiment) -> Markup:
    score = experiment.score
    head = [
        element("th", name, scope="col")
        for name in ("seed", "status", score.name if score else "score", "made by")
    ]
    rows = []
    for run in experiment.row.runs:
        value = run.summary.get(score.name) if score else None
        number = f"{value:{score.format}}" if score and is_number(value) else ""
        status = f"{run.status}{f': {run.problem}' if run.problem else ''}"
        cells = (status, number, run.version)
        rows.append(
            element("tr", element("th", run.seed, scope="row"), [element("td", cell) for cell in cells])
        )
    table = element("table", element("thead", element("tr", head)), element("tbody", rows))
    return element("div", table, class_="scroll")


def _command(command: str | None) -> Markup:
    if command is None:
        return element(
            "p", "Its config tells too little to make a command of, or names files that are not here."
        )
    return element("pre", element("code", command), class_="command", tabindex="0")


def environments(runs: Sequence[Run]) -> Markup:
    """The distinct environments that the runs were made in, and how many runs each made."""
    found: dict[tuple[tuple[str, str], ...], int] = {}
    for run in runs:
        told = tuple(_environment(run).items())
        found[told] = found.get(told, 0) + 1
    names = list(dict.fromkeys(name for told in found for name, _ in told))
    head = element("tr", [element("th", name, scope="col") for name in (*names, "runs")])
    rows = []
    for told, number in sorted(found.items(), key=lambda item: -item[1]):
        values = dict(told)
        cells = [element("td", values.get(name, "")) for name in names]
        rows.append(element("tr", cells, element("td", str(number), class_="number")))
    caption = element("caption", "Where and by what the runs were made", class_="unseen")
    table = element("table", caption, element("thead", head), element("tbody", rows))
    return element("div", table, class_="scroll", tabindex="0", role="region", aria_label="environments")


def _environment(run: Run) -> dict[str, str]:
    environment: dict[str, Any] = run.environment
    packages = environment.get("packages")
    known = packages if isinstance(packages, dict) else {}
    told = {"nodebench": run.version}
    told |= {name: str(known[name]) for name in _PACKAGES if name in known}
    told |= {
        name.replace("_", " "): str(environment[name])
        for name in _SHOWN_OF_ENVIRONMENT
        if name in environment
    }
    return told or {"nodebench": ""}


def _kind(status: str) -> str:
    return "good" if status == "finished" else "bad"
