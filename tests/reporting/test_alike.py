"""Many runs that ended for one reason are told once."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from nodebench.commands.endings import Ending, report
from nodebench.reporting import find_runs, result_table
from nodebench.reporting.alike import FEW, grouped

WriteRun = Callable[..., Path]


def reasons(*told: str, status: str = "failed") -> list[tuple[str, int]]:
    """What is shown for runs in folders a-0/seed0, a-1/seed1, ... with these reasons, and for how many."""
    endings = [
        (number, Path(f"runs/a-{number}/seed{number}"), status, words) for number, words in enumerate(told)
    ]
    return [(alike.reason, len(alike.members)) for alike in grouped(endings)]


def test_reasons_that_differ_in_numbers_are_one_and_show_the_numbers_that_they_share() -> None:
    told = reasons(
        "max_nfe=100 reached at t=0.5 of 1, dt = 1e-05",
        "no memory",
        "max_nfe=100 reached at t=0.25 of 1, dt = -2e-06",
        "max_nfe=100 reached",
    )
    assert told == [
        ("max_nfe=100 reached at t=… of 1, dt = …", 2),
        ("no memory", 1),
        ("max_nfe=100 reached", 1),
    ]


def test_reasons_that_name_their_own_run_are_one() -> None:
    told = reasons(*(f"Bug: 3 (traceback in `runs/a-{n}/seed{n}/log.txt`)" for n in range(2)))
    assert told == [("Bug: 3 (traceback in `…/log.txt`)", 2)]


def test_numbers_within_words_tell_reasons_apart() -> None:
    assert reasons("dopri5 failed", "dopri8 failed") == [("dopri5 failed", 1), ("dopri8 failed", 1)]


def test_runs_of_another_status_are_not_alike() -> None:
    endings = [(None, Path("a/seed0"), status, "why") for status in ("failed", "diverged")]
    assert [alike.status for alike in grouped(endings)] == ["failed", "diverged"]


class TestTables:
    @pytest.fixture
    def failing(self, tmp_path: Path, write_run: WriteRun) -> Callable[[int], Path]:
        def write(number: int) -> Path:
            for n in range(number):
                name = f"mnist-odenet-dopri5-1e-3-adjoint-{n:08x}"
                write_run(name, status="failed", reason=f"StepSizeError: no step at t = 0.{n + 1}")
            write_run("mnist-mlp-0a1b2c3d")
            return tmp_path

        return write

    def test_many_that_failed_alike_are_one_note(self, failing: Callable[[int], Path]) -> None:
        table = result_table(find_runs(failing(30)))
        (note,) = [line for line in table.splitlines() if "not counted" in line]
        assert "not counted: 30 runs that are failed: StepSizeError: no step at t = …; the first is " in note
        assert "adjoint-00000000/seed0" in note

    def test_a_few_are_named_one_by_one(self, failing: Callable[[int], Path]) -> None:
        table = result_table(find_runs(failing(FEW)))
        assert table.count("not counted: mnist-odenet") == FEW

    def test_csv_names_each(self, failing: Callable[[int], Path]) -> None:
        rows = list(csv.DictReader(result_table(find_runs(failing(30)), style="csv").splitlines()))
        assert sum("/seed0 is failed: StepSizeError" in row["notes"] for row in rows) == 30


def test_the_report_of_a_sweep_tells_many_that_failed_alike_in_a_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    folders = [Path(f"outputs/run{n}/seed0") for n in range(30)]
    endings = [Ending("failed", f"no step at t = 0.{n + 1}") for n in range(28)]
    assert report(folders, [*endings, Ending("finished"), Ending("diverged", "NaN")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("failed    28 runs: no step at t = …; the first is outputs/run0/seed0")
    assert lines[1] == "diverged  outputs/run29/seed0: NaN"
