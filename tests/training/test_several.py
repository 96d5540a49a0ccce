"""Several processes train one net as one does; each launch is two processes of several.py, over gloo."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from nodebench.ranks import Place, Share, drawn, of_batch, place_here
from nodebench.training.meetings import has_ended

SCRIPT = Path(__file__).with_name("several.py")


def environments(number: int) -> list[dict[str, str]]:
    """What torchrun would tell each process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": str(number), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = ({"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(number))
    return [{**os.environ, **shared, **rank} for rank in ranks]


def launch(number: int, *arguments: object) -> None:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    running = [
        subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) for env in environments(number)
    ]
    errors = [process.communicate(timeout=600)[1] for process in running]
    assert [process.returncode for process in running] == [0] * number, "\n".join(errors)


def assert_as_alone(found: dict, num_steps: int) -> None:
    for name, by in found.items():
        together, alone = by["together"], by["alone"]
        assert len(together["losses"]) == num_steps
        if name.startswith("own steps"):
            assert together["losses"] == pytest.approx(alone["losses"], rel=1e-2), name
            assert all(
                most >= mean for most, (mean, _) in zip(together["most"], together["counts"], strict=True)
            )
            continue
        assert together["counts"] == alone["counts"], name
        for part in ("losses", "weights"):
            mine, one = (torch.tensor(of[part], dtype=torch.float64) for of in (together, alone))
            assert (mine - one).norm() <= 1e-5 * one.norm(), (name, part)
        sums, alone_sums = together["means"]["sums"], alone["means"]["sums"]
        assert together["means"]["num_samples"] == alone["means"]["num_samples"], name
        for column, value in alone_sums.items():
            assert sums[column] == pytest.approx(value, rel=1e-4), (name, column)
        assert sums.keys() - alone_sums.keys() == {"nfe_forward_max", "nfe_backward_max"}


def test_two_processes_come_to_the_numbers_of_one(tmp_path):
    launch(2, "numbers", tmp_path, 4)
    assert_as_alone(json.loads((tmp_path / "numbers.json").read_text()), 4)


@pytest.mark.slow
def test_three_processes_come_to_the_numbers_of_one_after_fifty_steps(tmp_path):
    launch(3, "numbers", tmp_path, 50)
    assert_as_alone(json.loads((tmp_path / "numbers.json").read_text()), 50)


def test_a_place_is_known_by_all_that_torchrun_says():
    told = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "1"}
    assert place_here(told) == Place(5, 1, 8)
    assert place_here({**told, "WORLD_SIZE": "1", "RANK": "0"}) is None
    for name in told:
        assert place_here({key: value for key, value in told.items() if key != name}) is None


@pytest.mark.parametrize("dim", [0, 1])
def test_what_is_drawn_for_a_share_is_its_rows_of_what_is_drawn_for_the_batch(dim):
    def draw(num_rows: int) -> torch.Tensor:
        shape = (num_rows, 3) if dim == 0 else (3, num_rows)
        return torch.randn(shape, generator=torch.Generator().manual_seed(0))

    whole = drawn(draw, 10, dim)
    parts = []
    for start, stop in ((0, 3), (3, 10)):
        with of_batch(Share(start, stop, 10)):
            parts.append(drawn(draw, stop - start, dim))
    assert torch.equal(torch.cat(parts, dim), whole)
    assert torch.equal(drawn(draw, 10, dim), whole)


class Work:
    """A collective whose waits end as listed: None is done, a text what is raised; and whether it is complete."""

    def __init__(self, *waits: str | None, is_complete: bool) -> None:
        self.waits, self.is_complete = list(waits), is_complete

    def wait(self, timeout: object = None) -> None:
        if (error := self.waits.pop(0)) is not None:
            raise RuntimeError(error)

    def is_completed(self) -> bool:
        return self.is_complete


def test_a_collective_that_ends_just_when_the_wait_is_over_is_no_failure():
    cpu = torch.device("cpu")
    assert has_ended(Work(None, is_complete=True), cpu)
    assert not has_ended(Work("timed out", is_complete=False), cpu)
    assert has_ended(Work("timed out", None, is_complete=True), cpu)
    with pytest.raises(RuntimeError, match="closed by peer"):
        has_ended(Work("closed by peer", "closed by peer", is_complete=True), cpu)


def command(folder: Path, *overrides: str) -> list[str]:
    return [
        *(sys.executable, "-m", "nodebench", "train", "task=density", "data=two_moons", "model=cnf"),
        *("model.width=4", "data.batch_size=16", "solver.tol=1e-2", "training.checkpoint_every_s=0.2"),
        *(f"output_dir={folder}", *overrides),
    ]


def start(folder: Path, *overrides: str, number: int = 2) -> list[subprocess.Popen]:
    return [
        subprocess.Popen(
            command(folder, *overrides), env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for env in environments(number)
    ]


def end(running: list[subprocess.Popen]) -> tuple[list[int], list[str]]:
    """Exit codes, and what each said on stderr; none may hang."""
    errors = [process.communicate(timeout=120)[1] for process in running]
    return [process.returncode for process in running], errors


def wait_for_checkpoint(folder: Path, running: list[subprocess.Popen]) -> Path:
    """The run's folder, once it has a checkpoint."""
    began = time.monotonic()
    while not (found := list(folder.glob("*/*/seed0/checkpoints/step-*.pt"))):
        assert all(process.poll() is None for process in running)
        assert time.monotonic() - began < 300
        time.sleep(0.05)
    return found[0].parents[1]


def test_a_killed_process_ends_the_others_with_a_status_and_the_first_alone_writes(tmp_path):
    running = start(tmp_path, "training.num_steps=1000000")
    run = wait_for_checkpoint(tmp_path, running)
    running[1].kill()
    codes, errors = end(running)
    assert codes == [1, -signal.SIGKILL]
    assert "continues from the last checkpoint" in errors[0]
    assert errors[1] == ""
    summary = json.loads((run / "summary.json").read_text())
    assert summary["status"] == "interrupted"
    assert "another process was lost" in summary["reason"]
    assert summary["num_processes"] == 2
    assert json.loads((run / "environment.json").read_text())["num_processes"] == 2


@pytest.mark.slow
def test_a_signal_to_one_process_saves_the_run_which_goes_on_bit_for_bit(tmp_path):
    steps = "training.num_steps=150"
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    assert end(start(whole, steps))[0] == [0, 0]
    running = start(torn, steps)
    run = wait_for_checkpoint(torn, running)
    running[1].send_signal(signal.SIGTERM)
    assert end(running)[0] == [128 + signal.SIGTERM, 0]
    stopped = json.loads((run / "summary.json").read_text())
    assert stopped["reason"] == f"SIGTERM at step {stopped['step']} of 150"
    assert (run / "checkpoints" / f"step-{stopped['step']:09d}.pt").is_file()
    assert end(start(torn, steps))[0] == [0, 0]
    (one,), (other,) = (
        [torch.load(file, weights_only=True)["model"] for file in folder.glob("*/*/*/*/step-000000150.pt")]
        for folder in (whole, torn)
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_another_number_of_processes_is_warned_of(tmp_path):
    running = start(tmp_path, "training.num_steps=1000000")
    run = wait_for_checkpoint(tmp_path, running)
    running[0].send_signal(signal.SIGTERM)
    assert end(running)[0][0] == 128 + signal.SIGTERM
    alone = subprocess.Popen(
        command(tmp_path, "training.num_steps=1000000"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while "num_processes was 2 and is 1" not in (run / "log.txt").read_text():
        assert alone.poll() is None
        time.sleep(0.1)
    alone.terminate()
    assert alone.communicate(timeout=120)[0] is not None


@pytest.mark.slow
def test_torchrun_starts_all_again_where_one_was_killed(tmp_path):
    nodebench = command(tmp_path, "training.num_steps=150")[1:]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "1"]
    running = [
        subprocess.Popen([*torchrun, *nodebench], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    ]
    run = wait_for_checkpoint(tmp_path, running)
    os.kill(json.loads((run / "lock").read_text())["process"], signal.SIGKILL)
    (code,), (errors,) = end(running)
    assert code == 0, errors
    assert "continuing from step" in errors
    assert json.loads((run / "summary.json").read_text())["status"] == "finished"
