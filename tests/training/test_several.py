"""Several processes train one net as one does; each launch is two processes of several.py, over gloo."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nodebench.ranks import Place, Share, drawn, of_batch, place_here

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
