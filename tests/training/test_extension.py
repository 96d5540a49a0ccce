"""A longer run that goes on with a shorter one ends in the numbers of one that was long from the start."""

from __future__ import annotations

import json
import os
import signal

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nodebench.training import RunFolder, RunFolderError
from nodebench.training.extension import extend

STEPS_AN_EPOCH = 10
CONSTANT = {"schedule": "constant"}


def extended(toy, path, source, num_steps, **settings):
    """A toy run in `path` that goes on with the one in `source`."""
    with RunFolder(path) as run:
        extend(run, source, num_steps, STEPS_AN_EPOCH)
    return toy.toy_run(path, num_steps=num_steps, **settings)


def interrupt_at(toy, step):
    def on(place, number):
        if (place, number) == ("batch", step):
            os.kill(os.getpid(), signal.SIGINT)

    return toy.ToyTask(on=on)


@pytest.mark.parametrize(
    "settings", [CONSTANT, {"schedule": "multistep", "milestones": (1, 3)}, {**CONSTANT, "ema_decay": None}]
)
def test_a_run_that_goes_on_with_a_shorter_one_equals_one_from_the_start(
    toy, tmp_path, assert_same_numbers, settings
):
    short, long, whole = (tmp_path / name for name in ("short", "long", "whole"))
    toy.toy_run(short, num_steps=20, **settings)
    assert extended(toy, long, short, 40, **settings).status == "finished"
    toy.toy_run(whole, num_steps=40, **settings)
    assert_same_numbers(long, whole)


def test_an_epoch_that_the_shorter_run_cut_short_is_trained_again(toy, tmp_path, assert_same_numbers):
    short, long, whole = (tmp_path / name for name in ("short", "long", "whole"))
    toy.toy_run(short, num_steps=23, **CONSTANT)
    extended(toy, long, short, 40, **CONSTANT)
    toy.toy_run(whole, num_steps=40, **CONSTANT)
    assert_same_numbers(long, whole)


def test_a_run_that_was_interrupted_can_be_gone_on_with(toy, tmp_path, assert_same_numbers):
    short, long, whole = (tmp_path / name for name in ("short", "long", "whole"))
    assert toy.toy_run(short, interrupt_at(toy, 13), num_steps=20, **CONSTANT).status == "interrupted"
    extended(toy, long, short, 30, **CONSTANT)
    toy.toy_run(whole, num_steps=30, **CONSTANT)
    assert_same_numbers(long, whole)


def test_the_shorter_run_stays_as_it_is_and_the_longer_one_says_where_it_comes_from(toy, tmp_path):
    short, long = tmp_path / "group-00000000" / "seed0", tmp_path / "long"
    toy.toy_run(short, num_steps=20, **CONSTANT)
    before = {path: path.read_bytes() for path in short.rglob("*") if path.is_file()}
    extended(toy, long, short, 40, **CONSTANT)
    assert {path: path.read_bytes() for path in short.rglob("*") if path.is_file()} == before
    environment = json.loads((long / "environment.json").read_text())
    assert environment["extends"] == {"run": "group-00000000/seed0", "step": 20}
    assert str(tmp_path) not in (long / "environment.json").read_text()


def test_a_longer_run_that_has_begun_is_not_begun_again(toy, tmp_path, assert_same_numbers):
    short, long, whole = (tmp_path / name for name in ("short", "long", "whole"))
    toy.toy_run(short, num_steps=20, **CONSTANT)
    with RunFolder(long) as run:
        extend(run, short, 40, STEPS_AN_EPOCH)
    toy.toy_run(long, interrupt_at(toy, 33), num_steps=40, **CONSTANT)
    newest = max((long / "checkpoints").glob("step-*.pt"))
    with RunFolder(long) as run:
        extend(run, short, 40, STEPS_AN_EPOCH)
    assert max((long / "checkpoints").glob("step-*.pt")) == newest
    toy.toy_run(long, num_steps=40, **CONSTANT)
    toy.toy_run(whole, num_steps=40, **CONSTANT)
    assert_same_numbers(long, whole)


def test_the_best_epoch_of_the_shorter_run_is_remembered(toy, tmp_path):
    class Worse(toy.ToyTask):
        best_by = "error_val"

        def evaluate(self, module, split, progress=None):
            columns = super().evaluate(module, split)
            return {**columns, "error_val": 5.0 + len(self.trained_steps)} if split == "val" else columns

    short, long = tmp_path / "short", tmp_path / "long"
    toy.toy_run(short, Worse(), num_steps=20, **CONSTANT)
    with RunFolder(long) as run:
        extend(run, short, 40, STEPS_AN_EPOCH)
    task = Worse()
    task.trained_steps = [0] * 20
    outcome = toy.toy_run(long, task, num_steps=40, **CONSTANT)
    assert outcome.summary["step_best"] == 10
    assert torch.load(long / "checkpoints" / "best.pt", weights_only=True)["step"] == 10


def test_a_longer_run_charts_what_the_shorter_one_recorded(toy, tmp_path):
    short, long = tmp_path / "short", tmp_path / "long"
    toy.toy_run(short, num_steps=20, **CONSTANT)
    extended(toy, long, short, 40, **CONSTANT)
    events = EventAccumulator(str(long)).Reload()
    assert [event.step for event in events.Scalars("error/val")] == [10, 20, 30, 40]


def test_without_a_checkpoint_there_is_nothing_to_go_on_with(toy, tmp_path):
    short = tmp_path / "short"
    toy.toy_run(short, num_steps=20, **CONSTANT)
    for path in (short / "checkpoints").iterdir():
        path.unlink()
    with RunFolder(tmp_path / "long") as run, pytest.raises(RunFolderError, match="no checkpoint to go on"):
        extend(run, short, 40, STEPS_AN_EPOCH)
