"""Members as jobs of a launcher of Hydra's: a lost job is a row, and only what is missing is submitted."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from nodebench import cli
from nodebench.commands import submitted
from nodebench.commands.endings import Ending
from nodebench.commands.run_log import RunLog, kept_in_log
from nodebench.config.errors import FailedError
from nodebench.config.launch import launch
from nodebench.records import jobs


def sweep_of(smoke: tuple[str, ...], launcher: str = "submitit_slurm") -> int:
    return cli.main(["train", "-m", *smoke, "model=mlp", "seed=0,1,2,3", f"hydra/launcher={launcher}"])


def test_a_job_that_is_lost_is_a_row_and_the_same_command_submits_what_is_missing(
    smoke: tuple[str, ...],
    leave_run: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = {"version": "0.1.0", "git_commit": None, "git_dirty": None}

    def left(seed: int, **summary: Any) -> None:
        (folder,) = {leave_run(*smoke[:-1], "model=mlp", f"seed={seed}", **code, **summary)}
        assert folder.name == f"seed{seed}"

    asked: list[list[str]] = []

    def play(
        members: Sequence[list[str]],
        run_member: object,
        overrides: object,
        config_dir: object,
        tell_result: Callable[[Any], None],
    ) -> list[Any]:
        asked.append([next(text for text in member if text.startswith("seed=")) for member in members])
        results: list[Any] = [Ending("finished"), RuntimeError("no\noutput"), RuntimeError("no output")]
        left(1, step=1)
        left(3, status="interrupted", reason="SIGTERM at step 1 of 2")
        for result in results:
            tell_result(result)
        return results

    left(0)
    monkeypatch.setattr(submitted, "launch", play)
    assert sweep_of(smoke) == 1
    assert asked == [["seed=1", "seed=2", "seed=3"]]
    printed = capsys.readouterr().out
    assert "done      1 of them are finished" in printed
    assert "finished  seed=1; 1 of 3 done\n" in printed
    assert "ended     seed=2; 2 of 3 done\n" in printed
    assert "2 finished, 1 failed, 1 interrupted" in printed  # the table's row
    assert "seed2: its job ended without a result, as when it is killed or its node fails: no" in printed
    assert "seed3: SIGTERM at step 1 of 2" in printed


def test_a_launcher_that_fails_on_the_way_leaves_a_table_and_one_that_cannot_begin_leaves_nothing(
    smoke: tuple[str, ...],
    leave_run: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> list[Any]:
        if begins:
            leave_run(*smoke[:-1], "model=mlp", "seed=0", version="0.1.0", git_commit=None, git_dirty=None)
        raise FailedError("hydra/launcher=ray failed: a worker crashed")

    monkeypatch.setattr(submitted, "launch", fail)
    begins = False
    assert sweep_of(smoke) == 1
    assert "nodebench: hydra/launcher=ray failed: a worker crashed\n" in capsys.readouterr().err
    assert not list(Path("outputs").rglob("summary.json"))
    begins = True
    assert sweep_of(smoke) == 1
    printed = capsys.readouterr().out
    assert "\nhydra/launcher=ray failed: a worker crashed\n" in printed
    assert "1 finished, 3 failed" in printed


def test_jobs_on_this_machine_share_its_cores_and_the_environment_is_as_it_was(
    smoke: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, int] = {}

    def play(members: Sequence[list[str]], *_: object) -> list[Any]:
        seen[launcher] = jobs.jobs_here()
        return [Ending("finished")] * len(members)

    monkeypatch.delenv(jobs.JOBS, raising=False)
    monkeypatch.setattr(submitted, "launch", play)
    for launcher in ("submitit_local", "submitit_slurm"):
        sweep_of(smoke, launcher)
        assert jobs.jobs_here() == 0
    assert seen == {"submitit_local": 4, "submitit_slurm": 0}


def test_what_a_job_prints_goes_to_its_runs_log(
    smoke: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(jobs.JOBS, "1")
    assert submitted.run_in_job(["model=mlp", *smoke[:-1]]) == Ending("finished")
    (log,) = Path("outputs").rglob("log.txt")
    assert log.read_text().count("step 2/2: loss") == 1
    (environment_file,) = Path("outputs").rglob("environment.json")
    assert "jobs" not in json.loads(environment_file.read_text())


def test_lines_wait_for_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with kept_in_log(folder):
        print("first")
        folder.mkdir()
        print("sec", end="")
        print("ond")
    assert [line[20:] for line in (folder / "log.txt").read_text().splitlines()] == ["first", "second"]
    log = RunLog(folder)
    log.write("third\n\n")
    assert log.last == "third"


def test_a_job_of_submitit_that_is_killed_is_an_error_and_the_others_have_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="needs nodebench[submitit]")

    def run_member(overrides: list[str]) -> str:
        import os
        import signal

        if overrides == ["seed=0"]:
            os.kill(os.getpid(), signal.SIGKILL)
        return overrides[0]

    told: list[Any] = []
    first, second = launch(
        [["seed=0"], ["seed=1"]], run_member, ["hydra/launcher=submitit_local"], tell_result=told.append
    )
    assert isinstance(first, Exception)
    assert second == "seed=1"
    assert told == [first, second]
