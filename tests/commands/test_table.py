from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nodebench.cli import main


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """A folder with one finished run."""
    folder = tmp_path / "outputs" / "classification" / "digits-mlp-0a1b2c3d" / "seed0"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(
        "{task: {}, data: {name: digits}, model: {name: mlp}, training: {}, optimizer: {}, seed: 0}"
    )
    (folder / "summary.json").write_text(json.dumps({"status": "finished", "error_test": 1.25}))
    return tmp_path / "outputs"


def test_the_table_of_a_folder_is_printed(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table", "model,error_test", "--runs", str(outputs)]) == 0
    header, _, row, *_ = capsys.readouterr().out.splitlines()
    assert header.split() == ["model", "error_test"]
    assert row.split() == ["mlp", "[1]", "1.25"]


def test_the_table_is_written_to_a_file_that_is_named(
    outputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "table.md"
    assert main(["table", "--runs", str(outputs), "--format", "markdown", "--out", str(path)]) == 0
    assert path.read_text().startswith("| model")
    assert capsys.readouterr().out == f"wrote {path}\n"
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["table.md"]


@pytest.mark.parametrize(
    "command",
    [["table"], ["table", "table1"], ["report"], ["plot", "fig3"], ["plot", "fig5"], ["plot", "curves"]],
)
def test_without_runs_it_is_said_whether_the_folder_is_there_and_how_to_make_one(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, begins in {
        "absent": "there is no folder `{}`: ",
        "a_file": "`{}` is not a folder; name one with --runs\n",  # no run that is made would be in it
        "empty": "no runs under `{}`: ",
    }.items():
        place = tmp_path / name
        if name == "empty":
            place.mkdir()
        elif name == "a_file":
            place.touch()
        assert main([*command, "--runs", str(place)]) == 2
        message = capsys.readouterr().err
        assert message.startswith(f"nodebench: {begins.format(place)}")
        assert ("nodebench train" in message) == (name != "a_file")


def test_reproduce_says_when_the_folder_for_its_runs_is_new_or_no_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["reproduce", "fig5", "--dry-run", "--runs"]
    assert main([*command, str(tmp_path / "new")]) == 0
    assert f"\nthere is no folder `{tmp_path / 'new'}` yet\n" in capsys.readouterr().out
    assert main([*command, str(tmp_path)]) == 0
    assert "there is no folder" not in capsys.readouterr().out
    (tmp_path / "a_file").touch()
    assert main([*command, str(tmp_path / "a_file")]) == 2
    assert f"--runs {tmp_path / 'a_file'} is not a folder" in capsys.readouterr().err


def test_an_unknown_column_exits_2_with_the_nearest_name(
    outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["table", "eror_test", "--runs", str(outputs)]) == 2
    assert "`error_test`" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_named(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = outputs / "missing" / "table.md"
    assert main(["table", "--runs", str(outputs), "--out", str(missing)]) == 2
    assert str(missing) in capsys.readouterr().err


def test_where_a_table_goes_is_looked_at_before_it_is_made(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("nodebench.commands.table.runs_under", lambda _: pytest.fail("a table is made"))
    (outputs / "file").touch()
    out = outputs / "file" / "table.md"
    assert main(["table", "--runs", str(outputs), "--out", str(out)]) == 2
    assert f"cannot write to `{out}`: Not a directory" in capsys.readouterr().err


@pytest.mark.parametrize("out", [".", "/"])
def test_a_place_that_names_no_file_is_said(
    outputs: Path, out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["table", "model,error_test", "--runs", str(outputs), "--out", out]) == 2
    assert "it names no file" in capsys.readouterr().err


def test_a_folder_in_the_way_is_named_and_nothing_is_left_beside_it(
    outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["table", "--runs", str(outputs), "--out", str(outputs)]) == 2
    assert f"cannot write to `{outputs}`: it names no file" in capsys.readouterr().err
    assert list(outputs.parent.iterdir()) == [outputs]


def test_a_table_with_a_name_is_printed(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table", "table1", "--runs", str(outputs)]) == 0
    printed = capsys.readouterr().out
    assert "MLP on digits" in printed
    assert "1.25" in printed


def test_a_table_with_a_name_that_no_run_belongs_to_names_the_command(
    outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, command in (("swap", "nodebench evaluate RUN --swap"), ("gradients", "nodebench measure RUN")):
        assert main(["table", name, "--runs", str(outputs)]) == 2
        message = capsys.readouterr().err
        assert f"nothing for {name} under `{outputs}`" in message
        assert command in message


def test_a_folders_name_steers_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table", "--runs", str(tmp_path / "\x1b[2Jnone")]) == 2
    message = capsys.readouterr().err
    assert "\x1b" not in message
    assert r"\x1b[2Jnone" in message


def test_a_misspelled_name_lists_the_tables(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table", "tabel1", "--runs", str(outputs)]) == 2
    assert "Tables with a name: gradients, per_image, swap, table1" in capsys.readouterr().err


def test_a_table_with_a_name_imports_no_torch(outputs: Path) -> None:
    code = (
        f"import sys; from nodebench.cli import main; main(['table', 'table1', '--runs', {str(outputs)!r}]); "
        "print(sorted({'torch', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
