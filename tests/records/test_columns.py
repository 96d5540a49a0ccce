"""Columns of records: what one says of itself, and what nodebench's own say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nodebench.records import COLUMNS, YES_NO, Column, Columns, Shown
from nodebench.records.summary import own_columns

RESULTS = Path(__file__).parents[2] / "docs" / "results"


def test_every_column_of_the_committed_runs_is_declared() -> None:
    summaries = [json.loads(path.read_text()) for path in sorted(RESULTS.rglob("summary.json"))]
    assert len(summaries) > 3
    assert [column.name for summary in summaries for column in own_columns(summary)] == []


def test_a_column_that_is_declared_twice_is_refused_unless_alike() -> None:
    assert list(Columns([Column("margin"), Column("margin")])) == [Column("margin")]
    with pytest.raises(ValueError, match="column `error_test` is declared twice, differently"):
        COLUMNS.and_own([Column("error_test", ".4f")])


@pytest.mark.parametrize("name", ["", "top 5", "error,test", "1st"])
def test_a_name_that_could_not_be_asked_for_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="it must be one word such as `margin_test`"):
        Column(name)


@pytest.mark.parametrize("format", ["2f", ".2", ".100f", "d", "s", ">30.2f", "{}"])
def test_a_format_that_prints_no_number_is_refused(format: str) -> None:
    with pytest.raises(ValueError, match=r"it must be one for numbers such as '\.2f', or YES_NO"):
        Column("margin", format)


@pytest.mark.parametrize("column", [Column("a"), Column("b", YES_NO, "units", True, rank=3), *COLUMNS])
def test_what_a_run_writes_of_a_column_is_read_as_it_was(column: Column) -> None:
    read = Column.from_json(column.name, json.loads(json.dumps(column.to_json())))
    assert read.to_json() == column.to_json()


def test_a_declaration_that_no_run_writes_is_refused() -> None:
    written = Column("margin").to_json()
    for wrong in ({}, {**written, "rank": "1"}, {**written, "more": 1}, {**written, "shown": 7}):
        with pytest.raises(ValueError, match="column `margin` is not declared as a run does"):
            Column.from_json("margin", wrong)


def test_where_a_column_is_shown_unasked_is_its_own_say() -> None:
    columns = Columns([Column("a"), Column("b", shown=Shown.TABLE), Column("c", shown=Shown.NOWHERE)])
    assert [column.name for column in columns.shown(Shown.TABLE)] == ["a", "b"]
    assert [column.name for column in columns.shown(Shown.HPARAMS)] == ["a"]
