"""Tables with a name, as HTML with their numbered notes, and the page's own table of runs before its script is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from nodebench.reporting.layout import NothingToTabulateError, Table
from nodebench.reporting.measures import NotMeasuredError
from nodebench.reporting.named_tables import named_table, table_names
from nodebench.reporting.recipes import Recipes
from nodebench.reporting.report.data import TableColumn, TableRow
from nodebench.reporting.report.markup import Child, Markup, element
from nodebench.reporting.report.titles import title
from nodebench.reporting.runs import Run


def make_tables(
    runs: Sequence[Run], root: Path, recipes_of: Callable[[str, Sequence[Run]], Recipes]
) -> dict[str, Table]:
    """Every table with a name that these runs belong to."""
    found = {}
    for name in table_names():
        try:
            found[name] = named_table(name, runs, root, recipes_of(name, runs))
        except (NothingToTabulateError, NotMeasuredError):
            continue
    return found


def table_markup(name: str, table: Table) -> Markup:
    """The table without columns that are empty throughout, its notes below."""
    cells = [line.cells for line in table.lines]
    table = table.select(n for n in range(len(table.columns)) if n == 0 or any(line[n] for line in cells))
    numbers = table.numbered_notes
    head = [
        element("th", column.heading.replace("\n", " "), scope="col", class_=_class(column.is_number))
        for column in table.columns
    ]
    rows = []
    for line in table.lines:
        marks = ",".join(str(numbers[note]) for note in sorted(line.notes, key=lambda note: numbers[note]))
        first: list[Child] = [line.cells[0], element("sup", marks) if marks else None]
        cells = [element("th", first, scope="row")]
        cells += [
            element("td", cell, class_=_class(column.is_number))
            for cell, column in zip(line.cells[1:], table.columns[1:], strict=True)
        ]
        rows.append(element("tr", cells))
    called = title(name)
    markup = element(
        "table", element("caption", called), element("thead", element("tr", head)), element("tbody", rows)
    )
    told_below = [
        *(
            [f"Units: {units}."]
            if (units := ", ".join(dict.fromkeys(c.unit for c in table.columns if c.unit)))
            else []
        ),
        *table.legend,
    ]
    below: list[Child] = [element("p", sentence) for sentence in told_below]
    if numbers:
        below.append(element("ol", [element("li", note) for note in numbers]))
    return element(
        "div",
        element("div", markup, class_="scroll", tabindex="0", role="region", aria_label=called),
        element("details", element("summary", "Notes"), below, class_="notes"),
        class_="named",
        id=f"table-{name}",
    )


def runs_table(columns: Sequence[TableColumn], rows: Sequence[TableRow]) -> Markup:
    """The experiments in the columns that are shown unasked, for print and for readers without scripts."""
    kept = [
        number
        for number, column in enumerate(columns)
        if column.is_shown and any(row.cells[number] for row in rows)
    ]
    head = [
        element("th", columns[number].heading, scope="col", class_=_class(columns[number].is_number))
        for number in kept
    ]
    body = [
        element(
            "tr",
            [
                element("td", row.cells[number], class_=_class(columns[number].is_number))
                if place
                else element(
                    "th", element("a", row.cells[number] or "unknown", href=f"#{row.anchor}"), scope="row"
                )
                for place, number in enumerate(kept)
            ],
        )
        for row in rows
        if row.kind == "experiment"
    ]
    caption = element("caption", "Experiments and runs", class_="unseen")
    return element(
        "table", caption, element("thead", element("tr", head)), element("tbody", body), id="runs-table"
    )


def _class(is_number: bool) -> str | None:
    return "number" if is_number else None
