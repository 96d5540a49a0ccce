"""The `nodebench` command as a user meets it: help without torch, exit codes, sentences in place of tracebacks."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nodebench import __version__, cli
from nodebench.records import COLUMNS
from nodebench.reporting.columns import default_columns


def in_child(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("arguments", [["--help"], [], ["trian"], ["list"], ["list", "solvers"]])
def test_help_list_and_typos_import_neither_torch_nor_hydra(arguments: list[str]) -> None:
    loaded = in_child(
        f"import sys; from nodebench.cli import main; main({arguments}); "
        "print('loaded:', sorted({'torch', 'hydra', 'numpy'} & set(sys.modules)))"
    )
    assert loaded.splitlines()[-1] == "loaded: []"


def test_help_of_a_command_does_not_import_torch() -> None:
    for command in cli.COMMANDS:
        loaded = in_child(
            "import sys\nfrom nodebench.cli import main\n"
            f"try: main(['{command}', '--help'])\nexcept SystemExit as end: assert end.code == 0\n"
            "print('loaded:', sorted({'torch'} & set(sys.modules)))"
        )
        assert loaded.splitlines()[-1] == "loaded: []", command


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_help_names_every_command_and_gives_examples(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    assert all(f"  {command}" in printed for command in cli.COMMANDS)
    assert "nodebench train -m model=odenet,rknet" in printed


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"nodebench {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "nodebench: unknown command `trian`. Did you mean `train`?\n"),
        (["train", "model=odnet"], "nodebench: unknown model `odnet`. Did you mean `odenet`?\n"),
        (["train", "+solver.tolerance=1"], "unknown key `solver.tolerance`. Did you mean `solver.tol`?\n"),
        (["train", "solver.tol=0"], "solver.tol=0 is not possible"),
        (["train", "-m", "seed=0,1", "modle=odenet"], "unknown key `modle`. Did you mean `model`?"),
        (["train", "-m", "seed=0,-1"], "seed=-1 is not possible"),
        (["train", "--config-dir", "nowhere"], "--config-dir nowhere is not a folder"),
        (["list", "solver-s"], "Did you mean `solvers`?"),
        (["evaluate", "nowhere"], "nowhere is no run folder"),
    ],
)
def test_a_users_mistake_is_one_sentence_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert "Traceback" not in printed.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--modle"], "unrecognized arguments: --modle; `nodebench train --help` says more"),
        (["evaluate"], "the following arguments are required: RUN"),
        (["plot", "fig5", "--out", ""], "--out: `` is no name of a file or folder"),
        (["plot", "fig5", "--out", "fig5.png"], "--out: `fig5.png` is the name of a file; name the folder"),
        (["bench", "cnf", "--out", "cnf.md"], "--out: `cnf.md` is the name of a file; name the folder"),
        (["table", "--runs", ""], "--runs: `` is no name of a file or folder"),
        (["reproduce", "fig5", "--recipe", "best"], "--recipe: invalid choice: 'best'"),
        (["bench", "--device", "tpu"], "--device: invalid choice: 'tpu'"),
    ],
)
def test_options_that_cannot_be_are_one_sentence_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1


def test_a_folder_that_is_gone_is_told_to_whoever_stands_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert cli.main(["table"]) == 2
    assert (
        capsys.readouterr().err
        == "nodebench: the folder that you are in is no longer there; go to another one\n"
    )


class TestWhenACommandBreaks:
    @pytest.fixture
    def broken(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
        monkeypatch.chdir(tmp_path)
        return tmp_path

    def breaks_with(self, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
        def run(_: list[str]) -> int:
            raise error

        monkeypatch.setattr("nodebench.commands.list.run", run)

    def test_a_bug_is_a_sentence_and_its_traceback_is_in_the_log(
        self, broken: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.breaks_with(ZeroDivisionError("division by zero"), monkeypatch)
        assert cli.main(["list", "output_dir=results"]) == 1
        printed = capsys.readouterr().err
        assert printed == (
            "nodebench: ZeroDivisionError: division by zero (full traceback in results/nodebench.log)\n"
        )
        log = (broken / "results" / "nodebench.log").read_text()
        assert "Traceback (most recent call last)" in log
        assert "raise error" in log

    def test_a_log_that_cannot_be_written_does_not_hide_the_traceback(
        self, broken: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (broken / "outputs").write_text("a file in the way")
        self.breaks_with(ZeroDivisionError("division by zero"), monkeypatch)
        assert cli.main(["list"]) == 1
        assert "Traceback (most recent call last)" in capsys.readouterr().err

    def test_ctrl_c_has_exit_code_130(
        self, broken: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.breaks_with(KeyboardInterrupt(), monkeypatch)
        assert cli.main(["list"]) == 130
        assert capsys.readouterr().err == "nodebench: stopped by Ctrl-C\n"


def signalled(name: str, before: str = "") -> int:
    code = (
        f"import os, signal, sys\nfrom nodebench import cli\nimport nodebench.commands.list as command\n{before}\n"
        f"command.run = lambda _: os.kill(os.getpid(), signal.{name}) or 0\nsys.exit(cli.main(['list']))"
    )
    return subprocess.run([sys.executable, "-c", code], check=False).returncode


@pytest.mark.usefixtures("signals_arrive")
@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_has_its_exit_code(name: str, code: int) -> None:
    assert signalled(name) == code


def test_under_nohup_a_hangup_is_ignored() -> None:
    assert signalled("SIGHUP", before="signal.signal(signal.SIGHUP, signal.SIG_IGN)") == 0


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["train", "--help"]])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_nobody_reads_is_no_bug(tmp_path: Path, arguments: list[str], unbuffered: str) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "nodebench", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    assert child.stdout is not None
    child.stdout.close()
    _, errors = child.communicate()
    assert errors == b""


def test_a_character_that_the_terminal_does_not_know_is_replaced() -> None:
    code = (
        "import sys\nfrom nodebench import cli\nimport nodebench.commands.list as command\n"
        "command.run = lambda _: print('1.0 \\xb1 0.2') or 0\nsys.exit(cli.main(['list']))"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=False)
    assert (done.returncode, done.stdout.split()) == (0, [b"1.0", b"?", b"0.2"])


@pytest.mark.parametrize(
    "command", [[], *([command] for command in cli.COMMANDS)], ids=lambda each: " ".join(each)
)
def test_help_fits_80_columns_and_breaks_no_word(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with contextlib.suppress(SystemExit):
        cli.main([*command, "--help"])
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    if command == ["table"]:
        assert set(default_columns(COLUMNS)) <= set(shown.replace(",", " ").replace(")", " ").split())


def test_a_warning_is_a_line_without_the_place_in_the_code() -> None:
    code = (
        "import sys, warnings\nfrom nodebench import cli\nimport nodebench.commands.list as command\n"
        "command.run = lambda _: warnings.warn('steps run eagerly') or 0\nsys.exit(cli.main(['list']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "warning: steps run eagerly\n")
