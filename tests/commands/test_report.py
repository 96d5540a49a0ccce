from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nodebench.cli import main

CONFIG = (
    "{task: {name: classification}, data: {name: digits}, model: {name: mlp}, training: {}, optimizer: {}}"
)


def write_run(root: Path) -> None:
    folder = root / "classification" / "digits-mlp-0a1b2c3d" / "seed0"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "summary.json").write_text(json.dumps({"status": "finished", "error_test": 1.25}))


def test_the_page_is_written_and_named_with_its_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "outputs")
    assert main(["report"]) == 0
    assert re.fullmatch(r"wrote report.html: 1 run, \d+ KiB\n", capsys.readouterr().out)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert "<title>Runs under outputs</title>" in page
    assert "mlp on digits has error_test 1.25." in page


def test_place_and_title_are_those_that_are_named(tmp_path: Path) -> None:
    write_run(tmp_path / "elsewhere")
    out = tmp_path / "page.html"
    assert main(["report", "--runs", "elsewhere", "--out", str(out), "--title", "Digits & more"]) == 0
    assert "<h1>Digits &amp; more</h1>" in out.read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["page.html"]


def test_without_runs_it_is_said_and_no_page_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, begins in {
        "absent": "there is no folder",
        "a_file": "`a_file` is not a folder",
        "empty": "no runs",
    }.items():
        if name == "empty":
            (tmp_path / name).mkdir()
        elif name == "a_file":
            (tmp_path / name).touch()
        assert main(["report", "--runs", name]) == 2
        message = capsys.readouterr().err
        assert message.startswith(f"nodebench: {begins}")
        assert ("nodebench train" in message) == (name != "a_file")
    assert not (tmp_path / "report.html").exists()


def test_a_place_that_cannot_be_written_is_named_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "outputs")
    for place in ("not/there.html", "outputs"):
        assert main(["report", "--out", place]) == 2
        assert f"cannot write to `{place}`" in capsys.readouterr().err


def test_a_page_imports_no_torch(tmp_path: Path) -> None:
    write_run(tmp_path / "outputs")
    check = (
        "import sys; from nodebench.cli import main; main(['report']); "
        "print(sorted({'torch', 'matplotlib.pyplot'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"
