"""Counts of a training step: every solve in it and none beside it, in nets with several blocks and several solves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nodebench.data import ImageData, ImageSet
from nodebench.models.ode_block import ODEBlock
from nodebench.ode.settings import SolverSettings
from nodebench.tasks.classification import Classification
from nodebench.tasks.measuring import counting
from nodebench.training import RunFolder, TrainingSettings, train
from nodebench.training.protocols import SolveCounts

RK4 = SolverSettings(method="rk4", dt=0.5)
EULER = SolverSettings(method="euler", dt=0.25)


class Decay(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.tensor(-1.0))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.rate * y


class Net(nn.Module):
    """Two blocks between linear layers, 8 and 4 evaluations a solve; the second one solves `num_solves` times."""

    def __init__(self, gradient: str = "adjoint", num_solves: int = 1) -> None:
        super().__init__()
        self.first = ODEBlock(Decay(), RK4, gradient)
        self.second = ODEBlock(Decay(), EULER, gradient)
        self.num_solves = num_solves
        self.head = nn.Linear(28 * 28, 10)

    def forward(self, images: Tensor) -> Tensor:
        y = self.first(images.flatten(1))
        for _ in range(self.num_solves):
            y = self.second(y)
        logits: Tensor = self.head(y)
        return logits


def image_set(num: int) -> ImageSet:
    return ImageSet(torch.full((num, 1, 28, 28), 7, dtype=torch.uint8), torch.arange(num) % 10)


def make_task() -> Classification:
    return Classification(
        ImageData("grey", image_set(6), image_set(3), image_set(501), 10, "none", 2), 0, "cpu"
    )


def train_step(net: nn.Module) -> None:
    net(torch.ones(2, 1, 28, 28)).sum().backward()


@pytest.mark.parametrize("gradient", ["direct", "checkpointed", "adjoint"])
def test_a_net_with_two_blocks_is_counted_over_both(gradient: str) -> None:
    net = Net(gradient)
    with counting(net) as counts:
        train_step(net)
    backward, steps = (0 if gradient == "direct" else 8 + 4), (2 + 4 if gradient == "adjoint" else 0)
    assert counts() == SolveCounts(8 + 4, backward, 2 + 4, 0, steps, 0)


@pytest.mark.parametrize("gradient", ["direct", "checkpointed", "adjoint"])
def test_a_block_that_solves_several_times_is_counted_each_time(gradient: str) -> None:
    net = Net(gradient, num_solves=3)
    with counting(net) as counts:
        train_step(net)
    counted = counts()
    assert counted is not None
    assert counted.nfe_forward == 8 + 3 * 4
    assert counted.nfe_backward == (0 if gradient == "direct" else 8 + 3 * 4)


def test_a_block_in_two_places_of_a_net_is_one_block() -> None:
    block = ODEBlock(Decay(), RK4, "direct")
    net = nn.Sequential(block, nn.ReLU(), block)
    with counting(net) as counts:
        net(torch.ones(3))
    assert counts() == SolveCounts(2 * 8, 0, 2 * 2, 0, 0, 0)


def test_steps_that_one_solver_does_not_tell_are_known_of_no_net() -> None:
    net = Net()
    net.second.solver = SolverSettings(method="lsoda")
    with counting(net) as counts:
        train_step(net)
    counted = counts()
    assert counted is not None
    assert (counted.num_rejected_forward, counted.num_rejected_backward) == (None, None)
    assert counted.nfe_forward > 8
    assert counted.nfe_backward > 8


def test_counts_are_those_so_far_and_of_their_own_step_alone() -> None:
    net = Net()
    train_step(net)
    with counting(net) as counts:
        assert counts() == SolveCounts(0, 0, 0, 0, 0, 0)
        loss = net(torch.ones(2, 1, 28, 28)).sum()
        assert counts() == SolveCounts(12, 0, 6, 0, 0, 0)
        loss.backward()
    train_step(net)
    assert counts() == SolveCounts(12, 12, 6, 0, 6, 0)


def test_a_net_without_an_ode_has_no_counts() -> None:
    with counting(nn.Linear(2, 2)) as counts:
        assert counts() is None


def test_evaluations_are_a_mean_over_batches_of_every_solve() -> None:
    assert make_task().evaluate(Net(num_solves=2), "test")["nfe_eval"] == 8 + 2 * 4


@pytest.mark.parametrize("ema_decay", [None, 0.5])
def test_no_evaluation_and_no_memory_measurement_is_counted_in_a_training_step(
    tmp_path: Path, ema_decay: float | None
) -> None:
    settings = TrainingSettings(num_steps=7, ema_decay=ema_decay, show_progress=False)
    with RunFolder(tmp_path / "run", config_text="", hparams={}) as run:
        train(make_task(), Net(num_solves=2), lambda params: torch.optim.SGD(params, lr=0.1), settings, run)
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [record["kind"] for record in records] == ["epoch", "epoch", "epoch", "final"]
    for record in records:
        assert (record["nfe_forward"], record["nfe_backward"], record["nfe_eval"]) == (16, 16, 16)
        assert (record["num_accepted_forward"], record["num_accepted_backward"]) == (10, 10)
