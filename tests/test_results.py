"""Committed tables are what the committed records say."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest

from nodebench.commands.recipes import recipes_of
from nodebench.commands.report import page_of
from nodebench.reporting import find_runs, result_table
from nodebench.reporting.figures import draw
from nodebench.reporting.named_tables import named_table
from nodebench.reporting.rendering import csv_text, render

RESULTS = Path(__file__).parents[1] / "docs" / "results"


@pytest.mark.parametrize("table", sorted(RESULTS.glob("*/table.md")), ids=lambda path: path.parent.name)
def test_the_committed_records_make_the_committed_table(table: Path) -> None:
    committed = table.read_text(encoding="utf-8")
    columns = [cell.strip() for cell in committed.splitlines()[0].strip("|").split("|")]
    assert result_table(find_runs(table.parent / "runs"), columns, "markdown").strip() == committed.strip()


def test_the_committed_images_make_the_committed_table() -> None:
    runs = RESULTS / "table1" / "runs"
    table = render(named_table("per_image", find_runs(runs), runs), "markdown")
    assert f"{table}\n" == (RESULTS / "per_image" / "per_image.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["table1", "table2"])
def test_the_committed_records_make_the_committed_table_of_the_paper(name: str) -> None:
    folder = RESULTS / name
    table = named_table(name, find_runs(folder / "runs"), folder / "runs")
    for suffix, style in (("md", "markdown"), ("tex", "latex"), ("csv", "csv")):
        assert render(table, style) + "\n" == (folder / f"{name}.{suffix}").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("figure", "records"),
    [("per_image", "table1"), ("fig7", "fig7"), ("fig8", "table2"), ("fig9", "table2"), ("fig10", "table2")],
)
def test_the_committed_records_make_the_committed_numbers_of_a_figure(figure: str, records: str) -> None:
    drawing = draw(figure, find_runs(RESULTS / records / "runs"))
    assert drawing.notes == []
    committed = pd.read_csv(RESULTS / figure / f"{figure}.csv")
    pd.testing.assert_frame_equal(pd.read_csv(StringIO(csv_text(drawing.data))), committed, rtol=1e-5)


@pytest.mark.parametrize("artefact", ["fig5", "fig7", "table1", "table2"])
def test_the_committed_records_are_of_the_recipe_that_reproduce_trains(artefact: str) -> None:
    runs = [run for run in find_runs(RESULTS / artefact / "runs") if run.setting("model.stem") != "res"]
    recipes = recipes_of(artefact, runs)
    assert {run.group for run in runs} <= {member.group for member in recipes.members}
    assert recipes.complaint(runs[0], "it") == ""


def without_pictures(page: str) -> str:
    """A page without what matplotlib draws, whose text differs from version to version."""
    return re.sub(r'<svg [^>]*class="drawn".*?</svg>', "", page, flags=re.DOTALL)


def test_the_committed_records_make_the_committed_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """What scripts/report.sh makes, but for the figures' own section, whose numbers the tests above hold."""
    committed = (RESULTS / "report.html").read_text(encoding="utf-8")
    monkeypatch.chdir(RESULTS.parents[1])
    root = Path("docs/results")
    page = page_of(find_runs(root), root, "nodebench: every committed run", with_figures=False)
    figures = re.compile(r'<figure id="figure-[^"]*" class="paper">.*?</figure>', re.DOTALL)
    assert figures.sub("", committed) == page
    assert len(committed.encode()) < 3_000_000


@pytest.mark.slow
def test_the_committed_records_make_the_committed_page_with_its_figures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    committed = (RESULTS / "report.html").read_text(encoding="utf-8")
    monkeypatch.chdir(RESULTS.parents[1])
    root = Path("docs/results")
    page = page_of(find_runs(root), root, "nodebench: every committed run")
    assert without_pictures(page) == without_pictures(committed)
    assert page.count('class="drawn"') == committed.count('class="drawn"') > 10


def test_there_are_committed_results() -> None:
    assert list(RESULTS.glob("*/table.md")) != []
