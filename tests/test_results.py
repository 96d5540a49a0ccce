"""Committed tables are what the committed records say."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodebench.reporting import find_runs, result_table
from nodebench.reporting.named_tables import named_table
from nodebench.reporting.rendering import render

RESULTS = Path(__file__).parents[1] / "docs" / "results"


@pytest.mark.parametrize("table", sorted(RESULTS.glob("*/table.md")), ids=lambda path: path.parent.name)
def test_the_committed_records_make_the_committed_table(table: Path) -> None:
    committed = table.read_text(encoding="utf-8")
    columns = [cell.strip() for cell in committed.splitlines()[0].strip("|").split("|")]
    assert result_table(find_runs(table.parent / "runs"), columns, "markdown").strip() == committed.strip()


def test_the_committed_records_make_the_committed_table_1() -> None:
    folder = RESULTS / "table1"
    table = named_table("table1", find_runs(folder / "runs"), folder / "runs")
    for suffix, style in (("md", "markdown"), ("tex", "latex"), ("csv", "csv")):
        assert render(table, style) + "\n" == (folder / f"table1.{suffix}").read_text(encoding="utf-8")


def test_there_are_committed_results() -> None:
    assert list(RESULTS.glob("*/table.md")) != []
