"""The best checkpoint by validation, and the run that stops when validation no longer improves."""

from __future__ import annotations

import json
import os
import signal

import pytest
import torch

from nodebench.training import RunFolderError, load_trained_weights
from nodebench.training.best import BestSoFar
from nodebench.training.checkpoints import BEST

STEPS_AN_EPOCH = 10


def scored(toy, scores, test=0.0, on=None):
    """A toy task whose error_val is the next of `scores` at each epoch, its error_test `test`."""

    class Scored(toy.ToyTask):
        best_by = "error_val"

        def evaluate(self, module, split, progress=None):
            columns = super().evaluate(module, split)
            if split == "val":
                number = len(self.trained_steps) // STEPS_AN_EPOCH + self.before
                return {**columns, "error_val": scores[number - 1]}
            return {**columns, f"error_{split}": test}

    task = Scored(**({} if on is None else {"on": on}))
    task.before = 0
    return task


def best_of(path):
    return torch.load(path / "checkpoints" / "best.pt", weights_only=True)


def records(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("scores", "epoch"), [([3.0, 1.0, 2.0], 2), ([3.0, 2.0, 1.0], 3), ([1.0, 1.0, 1.0], 1)]
)
def test_the_best_checkpoint_is_of_the_first_epoch_with_the_lowest_score(toy, tmp_path, scores, epoch):
    path = tmp_path / "run"
    outcome = toy.toy_run(path, scored(toy, scores), num_steps=30)
    assert best_of(path)["step"] == epoch * STEPS_AN_EPOCH
    assert outcome.summary["step_best"] == epoch * STEPS_AN_EPOCH
    assert outcome.summary["step"] == 30


def test_the_best_weights_are_those_that_were_evaluated_then(toy, tmp_path):
    short, long = tmp_path / "short", tmp_path / "long"
    same = {"schedule": "constant"}
    toy.toy_run(short, scored(toy, [1.0]), num_steps=10, **same)
    toy.toy_run(long, scored(toy, [1.0, 2.0, 2.0]), num_steps=30, **same)
    wanted, found = toy.toy_module(), toy.toy_module()
    load_trained_weights(short / "checkpoints", wanted)
    assert load_trained_weights(long / "checkpoints", found, BEST) == 10
    for name, weight in wanted.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], weight, rtol=0, atol=0)


@pytest.mark.parametrize("scores_test", [0.0, -100.0])
def test_what_the_test_set_says_chooses_nothing(toy, tmp_path, scores_test):
    path = tmp_path / "run"
    toy.toy_run(path, scored(toy, [3.0, 1.0, 2.0], test=scores_test), num_steps=30)
    assert best_of(path)["step"] == 20


def test_a_run_stops_when_so_many_epochs_have_not_improved(toy, tmp_path, capfd):
    path = tmp_path / "run"
    task = scored(toy, [5.0, 2.0, 3.0, 2.0, 1.0])
    outcome = toy.toy_run(path, task, num_steps=50, patience=2)
    assert outcome.status == "finished"
    assert (outcome.summary["step"], outcome.summary["step_best"]) == (40, 20)
    assert outcome.summary["num_steps"] == 50
    assert [record["kind"] for record in records(path)] == ["epoch"] * 4 + ["final"]
    said = " ".join(capfd.readouterr().err.split())
    assert (
        "stopped early: error_val has not fallen in 2 records, since step 20 (2); nodebench evaluate" in said
    )


def test_patience_that_does_not_run_out_changes_nothing(toy, tmp_path, unbroken, assert_same_numbers):
    path = tmp_path / "run"
    assert toy.toy_run(path, patience=3).summary["step"] == toy.NUM_STEPS
    assert_same_numbers(path, unbroken)


def test_a_run_that_has_stopped_early_is_finished_and_stays_so(toy, tmp_path):
    path = tmp_path / "run"
    toy.toy_run(path, scored(toy, [1.0, 2.0, 0.5]), num_steps=30, patience=1)
    (path / "summary.json").unlink()  # as if killed before it was written: the final record is made again
    outcome = toy.toy_run(path, scored(toy, [9.0]), num_steps=30, patience=1)
    assert (outcome.status, outcome.summary["step"]) == ("finished", 20)


def test_an_interrupted_run_counts_on_with_the_patience_it_had(toy, tmp_path):
    path = tmp_path / "run"

    def stop_in_third_epoch(place, number):
        if (place, number) == ("batch", 24):
            os.kill(os.getpid(), signal.SIGINT)

    first = scored(toy, [1.0, 2.0], on=stop_in_third_epoch)
    assert toy.toy_run(path, first, num_steps=50, patience=2).status == "interrupted"
    second = scored(toy, [1.0, 2.0, 3.0, 0.5])
    second.before = 3 - 5 // STEPS_AN_EPOCH  # five steps of the third epoch are left to it
    outcome = toy.toy_run(path, second, num_steps=50, patience=2)
    assert (outcome.summary["step"], outcome.summary["step_best"]) == (30, 10)


def test_a_task_that_holds_nothing_out_keeps_no_best_checkpoint(toy, tmp_path):
    task = toy.ToyTask()
    task.best_by = None
    outcome = toy.toy_run(tmp_path / "run", task)
    assert "step_best" not in outcome.summary
    assert not (tmp_path / "run" / "checkpoints" / "best.pt").exists()
    with pytest.raises(RunFolderError, match=r"has no best\.pt: nothing was held out"):
        load_trained_weights(tmp_path / "run" / "checkpoints", toy.toy_module(), BEST)


def test_a_damaged_best_checkpoint_is_said_and_nothing_else_is_taken_for_it(toy, tmp_path):
    toy.toy_run(tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "best.pt").write_bytes(b"nothing")
    with pytest.raises(RunFolderError, match=r"best\.pt` is damaged.*--checkpoint last"):
        load_trained_weights(tmp_path / "run" / "checkpoints", toy.toy_module(), BEST)


def test_a_checkpoint_from_before_the_best_was_kept_goes_on(toy, tmp_path, unbroken, assert_same_numbers):
    path = tmp_path / "run"

    def stop_in_second_epoch(place, number):
        if (place, number) == ("batch", 4):
            os.kill(os.getpid(), signal.SIGINT)

    toy.toy_run(path, toy.ToyTask(on=stop_in_second_epoch))
    checkpoint = max((path / "checkpoints").glob("step-*.pt"))
    content = torch.load(checkpoint, weights_only=True)
    del content["best"]
    torch.save(content, checkpoint)
    toy.toy_run(path)
    assert_same_numbers(path, unbroken)


def test_equal_scores_and_records_without_one_are_no_better():
    best = BestSoFar("error_val")
    assert best.is_beaten_by({"epoch": 1, "step": 10, "error_val": 2.0})
    assert not best.is_beaten_by({"epoch": 2, "step": 20, "error_val": 2.0})
    assert not best.is_beaten_by({"epoch": 3, "step": 30})
    assert (best.epoch, best.step) == (1, 10)
    assert not BestSoFar(None).is_beaten_by({"epoch": 1, "step": 10, "error_val": 2.0})
