"""`nodebench train` from the command line to the run folder, on two batches of the embedded digits."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from nodebench import cli
from nodebench.config.compose import compose
from nodebench.config.identity import run_folder
from nodebench.reporting import find_runs


def train(*arguments: str) -> int:
    return cli.main(["train", *arguments])


def folder_of(*overrides: str) -> Path:
    return run_folder(compose(overrides).config)


def summary(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return content


def test_where_a_run_goes_is_looked_at_before_data_and_net_are_built(
    smoke: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("nodebench.commands.session.assemble", lambda *_: pytest.fail("it is built"))
    Path("file").write_text("in the way")
    for sweeping in ([], ["-m"]):
        assert cli.main(["train", *sweeping, *smoke, "output_dir=file/below"]) == 2
        assert "cannot be written (Not a directory); make the folder writable, or" in capsys.readouterr().err


def test_a_net_of_ones_own_without_parameters_is_told_with_its_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty_net.py").write_text("from torch import nn\n\nclass Net(nn.Module): pass\n")
    Path("model").mkdir()
    Path("model/mine.yaml").write_text("_target_: empty_net.Net\n")
    monkeypatch.syspath_prepend(Path.cwd())
    arguments = ["train", "data=digits", "model=mine", "training=smoke", "--config-dir", "."]
    assert cli.main(arguments) == 2
    assert "optimizer=adamw cannot be made for model=mine: " in capsys.readouterr().err


def test_a_run_leaves_its_folder_and_prints_plan_table_and_what_next(
    smoke: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(*smoke) == 0
    printed = capsys.readouterr().out
    folder = folder_of(*smoke)
    assert f"run       {folder}\n" in printed
    assert "net       odenet, 208,266 parameters, gradient adjoint\n" in printed
    assert "solver    dopri5, tol 1\n" in printed
    assert "2 steps of 8 images" in printed
    assert "error_test" in printed
    assert f"\nshow      nodebench show {folder}\n" in printed
    assert "tensorboard --logdir outputs" in printed
    assert "nodebench table --runs outputs" in printed
    assert summary(folder)["status"] == "finished"
    assert yaml.safe_load((folder / "config.yaml").read_text())["solver"]["tol"] == 1


def test_the_commands_that_are_printed_can_be_copied_whatever_the_folder_is_called(
    smoke: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = ("model=mlp", *smoke[:-1], "output_dir='o ut'")
    assert train(*overrides) == 0
    curves, table = capsys.readouterr().out.splitlines()[-2:]
    assert shlex.split(curves)[1:] == ["tensorboard", "--logdir", "o ut"]
    assert shlex.split(table)[1:] == ["nodebench", "table", "--runs", "o ut"]
    assert cli.main(["plot", "fig3", "--runs", "o ut"]) == 2
    (run,) = find_runs(Path("o ut"))
    assert shlex.split(f"nodebench measure {run.argument}")[2] == str(run.folder)


def test_a_finished_run_is_shown_and_not_trained_again_unless_forced(
    smoke: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    train("model=mlp", *smoke[:-1])
    folder = folder_of("model=mlp", *smoke[:-1])
    first = (folder / "metrics.jsonl").stat().st_mtime_ns
    capsys.readouterr()

    assert train("model=mlp", *smoke[:-1]) == 0
    printed = capsys.readouterr()
    assert "already finished" in printed.err
    assert "training.force=true" in printed.err
    assert "error_test" in printed.out
    assert (folder / "metrics.jsonl").stat().st_mtime_ns == first

    assert train("model=mlp", *smoke[:-1], "training.force=true") == 0
    assert (folder / "metrics.jsonl").stat().st_mtime_ns > first


def test_the_initial_weights_follow_from_the_seed_and_not_from_what_ran_before(
    smoke: tuple[str, ...],
) -> None:
    for output_dir in ("one", "other"):
        assert train("model=mlp", *smoke[:-1], f"output_dir={output_dir}") == 0
    one, other = (
        summary(folder_of("model=mlp", *smoke[:-1], f"output_dir={name}")) for name in ("one", "other")
    )
    assert one["loss_train"] == other["loss_train"]
    assert one["error_test"] == other["error_test"]


def test_dropping_the_solver_of_a_net_without_an_ode_is_said_in_one_line(
    smoke: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("model=mlp", *smoke) == 0
    printed = capsys.readouterr().out
    assert "note      mlp has no ODE, so what was said about the solver is dropped\n" in printed
    assert "\nsolver " not in printed


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data=digits", "data.batch_size=5000"], "`data.batch_size` is 5000"),
        (["data=digits", "data.val_size=5000"], "`data.val_size` is 5000"),
        (["data.root=a_file"], "`data.root` is a file"),
        (["data=digits", "model.stem=cnv"], "cnv"),
    ],
)
def test_what_only_the_data_or_the_net_can_tell_is_a_sentence_too(
    overrides: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("a_file").touch()
    assert train(*overrides) == 2
    assert message in capsys.readouterr().err
    assert not Path("outputs").exists()


def test_a_bug_while_training_is_a_sentence_and_its_traceback_is_in_the_runs_log(
    smoke: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("nodebench.tasks.classification.Classification.loss", broken)
    overrides = ("model=mlp", *smoke[:-1])
    assert train(*overrides) == 1
    folder = folder_of(*overrides)
    errors = capsys.readouterr().err
    assert "the run is failed: ZeroDivisionError: division by zero" in errors
    assert f"full traceback in {folder / 'log.txt'}" in errors
    assert "Traceback" not in errors
    assert "Traceback (most recent call last)" in (folder / "log.txt").read_text()
    assert summary(folder)["status"] == "failed"


def test_a_run_that_memory_is_not_enough_for_names_the_keys_to_lower(
    smoke: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("nodebench.tasks.classification.Classification.loss", exhausted)
    assert train("model=mlp", *smoke[:-1]) == 1
    assert "the run is failed: out of memory with data.batch_size=8; lower it" in capsys.readouterr().err


def test_a_solve_that_fails_is_a_failed_run_with_its_reason(
    smoke: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(*smoke[:-1], "solver.max_steps=1", "solver.tol=1e-4") == 1
    assert "solver.max_steps=1 reached at t=" in capsys.readouterr().err
    assert summary(folder_of(*smoke[:-1], "solver.max_steps=1", "solver.tol=1e-4"))["status"] == "failed"


def test_a_run_that_spent_its_budget_goes_on_with_a_larger_one(
    smoke: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    usual = (*smoke[:-1], "solver.tol=1e-4")
    assert train(*usual, "solver.max_steps=1") == 1
    assert "With a larger solver.max_steps this run goes on" in capsys.readouterr().err

    assert train(*usual, "solver.max_steps=1000", "solver.max_nfe=100000") == 0

    (folder,) = [path.parent for path in Path().rglob("summary.json")]
    assert folder == folder_of(*usual)
    assert yaml.safe_load((folder / "config.yaml").read_text())["solver"]["max_steps"] == 1000
    assert train(*usual, "output_dir=at_once") == 0
    (at_once,) = Path("at_once").rglob("summary.json")
    assert summary(at_once.parent)["loss_train"] == summary(folder)["loss_train"]


class TestTheBudgetThatNobodySet:
    @pytest.fixture(autouse=True)
    def of_three_evaluations(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("nodebench.commands.session.MAX_NFE_IN_TRAINING", 3)

    def test_it_ends_a_solve_that_would_take_for_ever_and_is_named(
        self, smoke: tuple[str, ...], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert train(*smoke) == 1
        assert "max_nfe=3 is what solver.max_nfe=null allows a solve in training" in capsys.readouterr().err
        assert "max_nfe=3 reached" in summary(folder_of(*smoke))["reason"]
        assert yaml.safe_load((folder_of(*smoke) / "config.yaml").read_text())["solver"]["max_nfe"] is None

    @pytest.mark.parametrize("own", [("solver.max_nfe=1000",), ("solver=rk4", "solver.dt=0.5")])
    def test_a_budget_or_a_step_of_ones_own_stands(
        self, smoke: tuple[str, ...], own: tuple[str, ...]
    ) -> None:
        assert train(*smoke[:-1], *(() if "solver=rk4" in own else smoke[-1:]), *own) == 0


def test_a_folder_that_cannot_be_written_is_named(
    smoke: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("taken").touch()
    assert train(*smoke, "output_dir=taken") == 2
    errors = capsys.readouterr().err
    assert "taken" in errors
    assert "output_dir=" in errors


@pytest.mark.usefixtures("signals_arrive")
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_an_interrupted_run_exits_with_the_signals_code_and_continues(
    smoke: tuple[str, ...], number: signal.Signals
) -> None:
    overrides = [*smoke, "model=mlp", "training.num_steps=2000", "training.checkpoint_every_s=0.1"]
    child = subprocess.Popen(
        [sys.executable, "-m", "nodebench", "train", *overrides], env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    checkpoints = folder_of(*overrides) / "checkpoints"
    deadline = time.monotonic() + 120
    while not list(checkpoints.glob("*.pt")) and time.monotonic() < deadline:
        time.sleep(0.05)
    child.send_signal(number)
    assert child.wait(timeout=60) == 128 + number
    assert summary(folder_of(*overrides))["status"] == "interrupted"
    assert train(*overrides) == 0
    assert summary(folder_of(*overrides))["status"] == "finished"


def test_own_code_that_changed_is_told_when_the_run_is_shown_and_evaluated(
    smoke: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = tmp_path / "own_nets_of_the_test.py"
    code.write_text("from nodebench.models.classifiers import MLP\n\n\nclass Net(MLP):\n    pass\n")
    (tmp_path / "own" / "model").mkdir(parents=True)
    (tmp_path / "own" / "model" / "mine.yaml").write_text("_target_: own_nets_of_the_test.Net\n")
    monkeypatch.syspath_prepend(tmp_path)
    command = [
        *(text for text in smoke if not text.startswith("solver")),
        "model=mine",
        "--config-dir",
        "own",
    ]
    assert train(*command) == 0
    (folder,) = Path("outputs").glob("**/seed0")
    assert train(*command) == 0
    assert cli.main(["evaluate", str(folder), "--config-dir", "own"]) == 0
    assert "the code behind" not in capsys.readouterr().err

    code.write_text(f"{code.read_text()}    other = 1\n")
    assert train(*command) == 0
    assert "already finished" in (told := capsys.readouterr().err)
    assert "the code behind model=mine has changed since" in told
    assert cli.main(["evaluate", str(folder), "--config-dir", "own"]) == 0
    assert "the code behind model=mine has changed since" in capsys.readouterr().err


def test_patience_needs_a_validation_split(
    smoke: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["train", *smoke, "training.patience=2", "data.val_size=0"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "training.patience=2 stops by the validation split, and of data=digits nothing is held out" in said
    assert "drop it or give data.val_size above 0" in said
    assert not list(Path("outputs").rglob("config.yaml"))
