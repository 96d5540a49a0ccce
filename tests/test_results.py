"""Committed tables are what the committed records say."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodebench.commands.recipes import recipes_of
from nodebench.reporting import find_runs, result_table
from nodebench.reporting.named_tables import named_table
from nodebench.reporting.rendering import render

RESULTS = Path(__file__).parents[1] / "docs" / "results"


@pytest.mark.parametrize("table", sorted(RESULTS.glob("*/table.md")), ids=lambda path: path.parent.name)
def test_the_committed_records_make_the_committed_table(table: Path) -> None:
    committed = table.read_text(encoding="utf-8")
    columns = [cell.strip() for cell in committed.splitlines()[0].strip("|").split("|")]
    assert result_table(find_runs(table.parent / "runs"), columns, "markdown").strip() == committed.strip()


@pytest.mark.parametrize("name", ["table1", "table2"])
def test_the_committed_records_make_the_committed_table_of_the_paper(name: str) -> None:
    folder = RESULTS / name
    table = named_table(name, find_runs(folder / "runs"), folder / "runs")
    for suffix, style in (("md", "markdown"), ("tex", "latex"), ("csv", "csv")):
        assert render(table, style) + "\n" == (folder / f"{name}.{suffix}").read_text(encoding="utf-8")


@pytest.mark.parametrize("artefact", ["fig5", "table1", "table2"])
def test_the_committed_records_are_of_the_recipe_that_reproduce_trains(artefact: str) -> None:
    runs = [run for run in find_runs(RESULTS / artefact / "runs") if run.setting("model.stem") != "res"]
    recipes = recipes_of(artefact, runs)
    assert {run.group for run in runs} <= {member.group for member in recipes.members}
    assert recipes.complaint(runs[0], "it") == ""


def test_there_are_committed_results() -> None:
    assert list(RESULTS.glob("*/table.md")) != []
