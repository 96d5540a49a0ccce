"""Runs that are preempted: who has the signal once they are saved, and what training.force means to a requeued job."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

from nodebench import cli
from nodebench.commands import session
from nodebench.commands.endings import train_member
from nodebench.config.compose import Composed, compose
from nodebench.config.identity import run_folder
from nodebench.training import Outcome


def folder_of(*overrides: str) -> Path:
    return run_folder(compose(list(overrides)).config)


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training ends by SIGUSR2, saved."""

    def train_run(composed: Composed, config_dir: str | None = None) -> Outcome:
        return Outcome("interrupted", {}, "SIGUSR2 at step 3 of 9", signal.SIGUSR2)

    monkeypatch.setattr(session, "train_run", train_run)


class TestWhoHeedsTheSignal:
    @pytest.fixture(autouse=True)
    def restored(self, interrupted: None) -> Iterator[None]:
        before = signal.getsignal(signal.SIGUSR2)
        yield
        signal.signal(signal.SIGUSR2, before)

    def test_has_it_once_the_run_is_saved(self, smoke: tuple[str, ...]) -> None:
        def requeue(number: int, frame: FrameType | None) -> None:
            raise SystemExit(144)

        signal.signal(signal.SIGUSR2, requeue)
        with pytest.raises(SystemExit) as ended:
            train_member(compose(list(smoke)))
        assert ended.value.code == 144

    def test_says_in_the_members_row_why_it_does_not_requeue(self, smoke: tuple[str, ...]) -> None:
        def refuse(number: int, frame: FrameType | None) -> None:
            raise RuntimeError("Job not requeued because: timed-out too many times.")

        signal.signal(signal.SIGUSR2, refuse)
        ending = train_member(compose(list(smoke)))
        assert ending.status == "interrupted"
        assert ending.reason == (
            "SIGUSR2 at step 3 of 9; Job not requeued because: timed-out too many times."
        )

    def test_may_be_nobody_as_in_a_launchers_worker(self, smoke: tuple[str, ...]) -> None:
        signal.signal(signal.SIGUSR2, signal.SIG_DFL)
        assert train_member(compose(list(smoke))) == ("interrupted", "SIGUSR2 at step 3 of 9")


class TestForceInAJob:
    @pytest.fixture
    def forced(self, smoke: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """The overrides of a run that job 17 of Slurm has begun by force and finished."""
        monkeypatch.setenv("SLURM_JOB_ID", "17")
        monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
        overrides = [*smoke, "model=mlp", "training.force=true"]
        assert cli.main(["train", *overrides]) == 0
        return overrides

    def test_a_requeue_goes_on_with_what_the_job_has_begun(
        self, forced: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (folder_of(*forced) / "summary.json").unlink()
        monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
        assert cli.main(["train", *forced]) == 0
        printed = capsys.readouterr()
        assert "note      this job began it anew before it was requeued" in printed.out
        assert "continuing from step 2 of 2" in printed.err
        monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
        assert cli.main(["train", *forced]) == 0
        assert "already finished" in capsys.readouterr().err

    def test_a_sweeps_finished_members_are_not_trained_again_by_its_requeue(
        self, forced: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
        assert cli.main(["train", "-m", *forced, "seed=0,1"]) == 0
        assert capsys.readouterr().err.count("already finished") == 1

    def test_a_second_command_starts_over_in_the_job_and_outside(
        self, forced: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        weights = folder_of(*forced) / "checkpoints" / "best.pt"
        for number in ("17", "", "18"):  # "" as outside of a job
            before = weights.stat().st_mtime_ns
            monkeypatch.setenv("SLURM_JOB_ID", number)
            assert cli.main(["train", *forced]) == 0
            assert weights.stat().st_mtime_ns > before
        assert "already finished" not in capsys.readouterr().err


@pytest.mark.slow
def test_a_job_of_submitit_that_is_preempted_saves_is_requeued_and_goes_on(smoke: tuple[str, ...]) -> None:
    pytest.importorskip("submitit")
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    overrides = [*smoke, "model=mlp", "training.num_steps=2000", "training.force=true"]
    command = [sys.executable, "-m", "nodebench", "train", "-m", *overrides, "hydra/launcher=submitit_local"]
    sweep = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    folder, step, process = folder_of(*overrides), 0, 0
    deadline = time.monotonic() + 300
    while not step and time.monotonic() < deadline:
        time.sleep(0.2)
        if (folder / "heartbeat.json").exists():
            beat = json.loads((folder / "heartbeat.json").read_text())
            step, process = beat["step"], beat["process"]
    os.kill(process, signal.SIGUSR2)
    assert sweep.wait(timeout=300) == 0
    log = (folder / "log.txt").read_text()
    assert "interrupted by SIGUSR2" in log
    assert "continuing from step" in log
    assert json.loads((folder / "summary.json").read_text())["status"] == "finished"
