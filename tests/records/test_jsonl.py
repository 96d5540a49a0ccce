from __future__ import annotations

from pathlib import Path

from nodebench.records.jsonl import is_number, read_records
from nodebench.reporting.paper import FIG3, TABLE1


def test_readable_records_are_returned_and_every_other_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"epoch": 1}\nnot json\n[1]\n\n{"epoch": 2}\n{"epoch": 3')
    records, problems = read_records(path)
    assert records == [{"epoch": 1}, {"epoch": 2}]
    assert [problem.partition(": ")[2] for problem in problems] == [
        "line 2 is not a record and is left out",
        "line 3 is not a record and is left out",
        "the last line is cut off and is left out",
    ]


def test_what_no_run_can_have_measured_is_no_number() -> None:
    for value in (10**400, 1e300, float("nan"), float("inf"), True, "1", None, [1.0]):
        assert not is_number(value)
    assert is_number(-3)
    assert is_number(1e-300)


def test_a_file_that_is_not_there_has_no_records(tmp_path: Path) -> None:
    assert read_records(tmp_path / "none.jsonl") == ([], [])


def test_the_papers_published_counts_are_its_true_ones_with_the_slip() -> None:
    for middle in FIG3.values():
        published = middle.nfe_forward + middle.nfe_backward + 1
        assert abs(published - middle.nfe_forward_published) <= 1


def test_the_papers_rows_with_an_order_are_those_with_a_depth() -> None:
    assert {name for name, row in TABLE1.items() if row.memory} == {"resnet", "rknet", "odenet"}
