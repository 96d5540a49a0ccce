from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nodebench.benchmark import libraries
from nodebench.benchmark.comparison import Effort, Setup
from nodebench.benchmark.report import Report
from nodebench.benchmark.workloads import vdp
from nodebench.cli import main
from nodebench.commands import bench
from nodebench.commands.bench_page import fitted


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vdp, "QUICK", (3, 0.1, Effort(1)))


@pytest.mark.usefixtures("tiny")
def test_the_page_is_printed_and_written_with_its_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "vdp", "vdp", "--quick", "--out", str(tmp_path / "o")]) == 0
    printed = capsys.readouterr()
    folder = tmp_path / "o" / "vdp"
    page = (folder / "vdp.md").read_text()
    assert page in printed.out
    assert printed.out.count("# bench vdp") == 1
    assert printed.err == ""
    assert f"wrote {folder / 'vdp.csv'}" in printed.out
    rows = list(csv.DictReader((folder / "vdp.csv").read_text().splitlines()))
    assert {row["library"] for row in rows} >= {"bare", "nodebench"}
    assert str(tmp_path) not in page


def test_a_workload_brings_its_parts_and_each_is_run_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    def run_workload(name: str, setup: Setup) -> Report:
        ran.append(name)
        return Report(name, "", {})

    monkeypatch.setattr(bench, "run_workload", run_workload)
    assert main(["bench", "scaling", "vdp", "scaling_flows", "--out", str(tmp_path)]) == 0
    assert ran == ["scaling", "scaling_flows", "vdp"]


@pytest.mark.usefixtures("tiny")
def test_on_a_terminal_progress_is_one_line_of_its_width_of_which_nothing_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("COLUMNS", "40")
    assert main(["bench", "vdp", "--quick", "--out", str(tmp_path)]) == 0
    lines = screen.getvalue().split("\r\x1b[K")
    assert any("warming up 1 of" in line for line in lines)
    assert max(map(len, lines)) == 39
    assert lines[-1] == ""


def test_on_a_terminal_the_page_has_its_width_and_says_what_has_no_room() -> None:
    words = "A race of many words, " * 8
    table = "| library   |   time_ms |   time_iqr_ms |\n|:----------|----------:|--------------:|\n"
    rows = "".join(f"| library {number} |   {number}.25 |   0.{number} |\n" for number in range(3))
    page = f"# bench\n\n{words}\n\n{table}{rows}"
    assert fitted(page, None) == page
    shown = fitted(page, 20)
    assert max(map(len, shown.splitlines())) <= 20
    assert [line.split() for line in shown.splitlines() if re.match("library [0-9]", line)] == [
        ["library", str(number), f"{number}.25"] for number in range(3)
    ]
    assert "want of room: time_iqr_ms" in " ".join(shown.split())


@pytest.mark.usefixtures("tiny")
def test_results_go_to_outputs_unless_told_otherwise() -> None:
    assert main(["bench", "vdp", "--quick"]) == 0
    assert Path("outputs/bench/vdp/vdp.md").is_file()


@pytest.mark.usefixtures("tiny")
def test_missing_baselines_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(libraries, "find_spec", lambda name: None)
    assert main(["bench", "vdp", "--quick"]) == 0
    printed = capsys.readouterr().out
    assert "torchdiffeq is not installed and is left out" in printed
    assert "torchode is not installed and is left out" in printed
    assert "diffrax is not installed and is left out" in printed


def test_an_unknown_workload_exits_2_with_the_nearest_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "odnet"]) == 2
    assert "unknown workload `odnet`. Did you mean `odenet`?" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "vdp", "--device", "cuda"]) == 2
    assert "torch sees no CUDA device" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["o", "o/below/it"])
def test_a_file_in_the_way_is_named_before_anything_is_raced(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("nodebench.commands.bench.run_workload", lambda *_: pytest.fail("a race"))
    (tmp_path / "o").write_text("in the way")
    assert main(["bench", "vdp", "--quick", "--out", str(tmp_path / place)]) == 2
    assert f"cannot write to `{tmp_path / place}`: Not a directory; choose another place with --out" in (
        capsys.readouterr().err
    )


def test_a_typo_is_told_without_torch() -> None:
    code = (
        "import sys; from nodebench.cli import main; main(['bench', 'odnet']); "
        "print(sorted({'torch', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
