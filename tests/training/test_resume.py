"""A run that was stopped, in whatever way, ends in the numbers of one that was not."""

from __future__ import annotations

import errno
import io
import json
import math
import os
import re
import signal
import subprocess
import sys

import pytest
import torch

from nodebench.records import jsonl, metrics, storage
from nodebench.signals import ENDING
from nodebench.training import (
    RunFolderError,
    checkpoints,
    load_trained_weights,
    loop,
    run_folder,
)
from nodebench.training.protocols import NonFiniteValuesError


class Killed(BaseException):
    """Stands for SIGKILL in this process: nothing of the trainer reacts to it."""


def stop_at(place, number, reaction):
    """A callback for ToyTask that reacts the first time it comes to a place."""
    pending = [True]

    def on(current_place, current_number):
        if (current_place, current_number) == (place, number) and pending:
            pending.clear()
            reaction()

    return on


def interrupt(number=signal.SIGINT):
    return lambda: os.kill(os.getpid(), number)


def kill():
    raise Killed


@pytest.mark.parametrize("step", [0, 1, 7, 9, 10, 15, 22])
def test_interrupted_in_any_step_and_continued_equals_unbroken(
    toy, tmp_path, unbroken, assert_same_numbers, step
):
    path = tmp_path / "run"
    outcome = toy.toy_run(path, toy.ToyTask(on=stop_at("batch", step, interrupt())))
    assert outcome.status == "interrupted"
    assert outcome.summary["step"] == step + 1
    assert toy.toy_run(path).status == "finished"
    assert_same_numbers(path, unbroken)


@pytest.mark.parametrize("split", ["val", "test"])
def test_interrupted_while_evaluating_stops_at_once_and_continues_with_the_evaluation(
    toy, tmp_path, unbroken, assert_same_numbers, split
):
    path = tmp_path / "run"
    task = toy.ToyTask(on=stop_at(split, 0, interrupt()))
    assert toy.toy_run(path, task).status == "interrupted"
    records = (path / "metrics.jsonl").read_text().splitlines() if split == "test" else []
    assert len(records) == (3 if split == "test" else 0)
    again = toy.ToyTask()
    toy.toy_run(path, again)
    assert len(task.trained_steps) + len(again.trained_steps) == toy.NUM_STEPS
    assert_same_numbers(path, unbroken)


@pytest.mark.parametrize("number", [signal.SIGINT, *ENDING])
def test_signal_is_named_and_the_handlers_before_are_restored(toy, tmp_path, number):
    before = signal.getsignal(number)
    outcome = toy.toy_run(tmp_path / "run", toy.ToyTask(on=stop_at("batch", 3, interrupt(number))))
    assert outcome.signal == number
    assert outcome.summary["status"] == "interrupted"
    assert number.name in outcome.summary["reason"]
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == outcome.summary
    assert signal.getsignal(number) is before


def test_second_ctrl_c_stops_without_waiting_for_the_step(toy, tmp_path):
    def twice():
        interrupt()()
        interrupt()()

    with pytest.raises(KeyboardInterrupt):
        toy.toy_run(tmp_path / "run", toy.ToyTask(on=stop_at("batch", 3, twice)))


@pytest.mark.parametrize("number", ENDING)
def test_signal_that_is_sent_twice_still_finishes_the_step_and_says_how_to_stop_at_once(
    toy, tmp_path, capfd, number
):
    def twice():
        interrupt(number)()
        interrupt(number)()

    outcome = toy.toy_run(tmp_path / "run", toy.ToyTask(on=stop_at("batch", 3, twice)))
    assert (outcome.status, outcome.summary["step"]) == ("interrupted", 4)
    assert (
        f"{number.name}: finishing the step in hand, then saving; Ctrl-C stops at once\n"
        in capfd.readouterr().err
    )


def test_signal_that_is_ignored_stays_ignored(toy, tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        hung_up = toy.ToyTask(on=stop_at("batch", 3, interrupt(signal.SIGHUP)))
        assert toy.toy_run(tmp_path / "run", hung_up).status == "finished"
    finally:
        signal.signal(signal.SIGHUP, before)


def test_terminal_that_is_gone_does_not_keep_a_run_from_saving(toy, tmp_path, monkeypatch):
    class Gone(io.StringIO):
        def write(self, text):
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(sys, "stderr", Gone())
    hung_up = toy.ToyTask(on=stop_at("batch", 13, interrupt(signal.SIGHUP)))
    outcome = toy.toy_run(tmp_path / "run", hung_up, show_progress=True)
    assert (outcome.status, outcome.signal) == ("interrupted", signal.SIGHUP)
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["step"] == 14


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("write", range(1, 14))
def test_killed_around_any_write_and_continued_equals_unbroken(
    toy, tmp_path, unbroken, assert_same_numbers, monkeypatch, write, moment
):
    writes = 0

    def counted(original):
        def write_or_die(target, content):
            nonlocal writes
            writes += 1
            if writes != write or moment == "after":
                original(target, content)
            if writes == write:
                raise Killed

        return write_or_die

    with monkeypatch.context() as patch:
        for module, name in (
            (run_folder, "write_atomically"),
            (run_folder, "append_durably"),
            (jsonl, "write_atomically"),
            (metrics, "append_durably"),
            (checkpoints, "write_atomically"),
        ):
            patch.setattr(module, name, counted(getattr(storage, name)))
        with pytest.raises(Killed):
            toy.toy_run(tmp_path / "run")
    toy.toy_run(tmp_path / "run")
    assert_same_numbers(tmp_path / "run", unbroken)


@pytest.mark.slow
def test_real_process_killed_at_random_moments_until_it_finishes_equals_unbroken(
    toy, tmp_path, assert_same_numbers
):
    done = subprocess.run(
        [sys.executable, toy.__file__, str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0
    assert_same_numbers(tmp_path / "killed", tmp_path / "unbroken")


def test_time_between_checkpoints_bounds_what_a_kill_loses(toy, tmp_path):
    with pytest.raises(Killed):
        toy.toy_run(tmp_path / "run", toy.ToyTask(on=stop_at("batch", 7, kill)), checkpoint_every_s=1e-9)
    again = toy.ToyTask()
    toy.toy_run(tmp_path / "run", again, checkpoint_every_s=1e-9)
    assert len(again.trained_steps) == toy.NUM_STEPS - 7


def test_half_a_line_in_metrics_is_cut_off(toy, tmp_path, unbroken, assert_same_numbers):
    path = tmp_path / "run"
    toy.toy_run(path, toy.ToyTask(on=stop_at("batch", 15, interrupt())))
    with open(path / "metrics.jsonl", "a") as file:
        file.write('{"kind": "epoch", "epo')
    toy.toy_run(path)
    assert_same_numbers(path, unbroken)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_damaged_last_checkpoint_falls_back_to_the_one_before(
    toy, tmp_path, unbroken, assert_same_numbers, capsys, damage
):
    path = tmp_path / "run"
    toy.toy_run(path, toy.ToyTask(on=stop_at("batch", 15, interrupt())))
    last = max((path / "checkpoints").iterdir())
    content = bytearray(last.read_bytes())
    if damage == "flipped":
        content[content.find(b"archive/data/0") + 100] ^= 1
    last.write_bytes({"truncated": content[: len(content) // 2], "flipped": content, "empty": b""}[damage])
    again = toy.ToyTask()
    toy.toy_run(path, again)
    assert f"{last.name} is damaged" in capsys.readouterr().err
    assert len(again.trained_steps) == toy.NUM_STEPS - 10
    assert_same_numbers(path, unbroken)


def test_damaged_everything_starts_from_the_beginning(toy, tmp_path, unbroken, assert_same_numbers, capsys):
    path = tmp_path / "run"
    toy.toy_run(path, toy.ToyTask(on=stop_at("batch", 15, interrupt())))
    for checkpoint in (path / "checkpoints").iterdir():
        checkpoint.write_bytes(b"nothing")
    again = toy.ToyTask()
    toy.toy_run(path, again)
    assert "training starts from the beginning" in capsys.readouterr().err
    assert len(again.trained_steps) == toy.NUM_STEPS
    assert_same_numbers(path, unbroken)


def test_checkpoint_ahead_of_metrics_is_passed_over(toy, tmp_path, unbroken, assert_same_numbers, capsys):
    path = tmp_path / "run"
    toy.toy_run(path, toy.ToyTask(on=stop_at("batch", 15, interrupt())))
    (path / "metrics.jsonl").write_text("")
    toy.toy_run(path)
    assert "newer than metrics.jsonl" in capsys.readouterr().err
    assert_same_numbers(path, unbroken)


def test_last_two_checkpoints_and_the_best_are_kept(unbroken):
    assert sorted(file.name for file in (unbroken / "checkpoints").iterdir()) == [
        "best.pt",
        "step-000000020.pt",
        "step-000000023.pt",
    ]


class Payload:
    def __reduce__(self):
        return (os.system, ("true",))


def test_checkpoint_with_a_pickled_object_is_refused(tmp_path):
    torch.save({"model": {}, "step": Payload()}, tmp_path / "step-000000001.pt")
    with pytest.raises(checkpoints.DamagedCheckpointError, match="not tensors or plain values"):
        checkpoints.read_checkpoint(tmp_path / "step-000000001.pt")


def test_checkpoint_of_another_length_or_model_is_refused_by_name(toy, tmp_path):
    path = tmp_path / "run"
    toy.toy_run(path, toy.ToyTask(on=stop_at("batch", 5, interrupt())))
    with pytest.raises(RunFolderError, match="of a run of 23 steps, not of 40"):
        toy.toy_run(path, num_steps=40)
    with pytest.raises(RunFolderError, match="another model or optimizer"):
        toy.toy_run(path, module=torch.nn.Linear(4, 1))


@pytest.mark.parametrize(
    ("name", "value"), [("step", "3"), ("model", []), ("averaged", 1), ("metrics_length", None)]
)
def test_checkpoint_of_somebody_elses_making_is_refused(tmp_path, name, value):
    content = {"step": 1, "model": {}, "averaged": None, "num_steps": 2, "metrics_length": 0, name: value}
    torch.save(content, tmp_path / "step-000000001.pt")
    with pytest.raises(checkpoints.DamagedCheckpointError, match=f"its `{name}` is a {type(value).__name__}"):
        checkpoints.read_checkpoint(tmp_path / "step-000000001.pt")


def test_copies_beside_the_checkpoints_are_left_alone(toy, tmp_path, unbroken, assert_same_numbers):
    path = tmp_path / "run"
    toy.toy_run(path, toy.ToyTask(on=stop_at("batch", 15, interrupt())))
    kept = path / "step-best.pt"
    max((path / "checkpoints").iterdir()).rename(kept)
    kept.rename(path / "checkpoints" / kept.name)
    toy.toy_run(path)
    assert sorted(file.name for file in (path / "checkpoints").iterdir()) == [
        "best.pt",
        "step-000000020.pt",
        "step-000000023.pt",
        "step-best.pt",
    ]
    (path / "checkpoints" / kept.name).unlink()
    assert_same_numbers(path, unbroken)


def test_what_is_said_of_damaged_checkpoints_falls_back_only_to_one_that_is_there(toy, tmp_path):
    toy.toy_run(tmp_path)
    for path in (tmp_path / "checkpoints").iterdir():
        path.write_bytes(b"nothing")
    with pytest.raises(RunFolderError) as refused:
        load_trained_weights(tmp_path / "checkpoints", toy.toy_module())
    assert re.search(
        r"step-000000023\.pt is damaged \(.+\); falling back to the one before\. "
        r"checkpoint step-000000020\.pt is damaged \(.+\); there is none before it$",
        str(refused.value),
    )


def test_weights_from_before_a_damaged_checkpoint_are_not_loaded_in_silence(toy, tmp_path, capsys):
    toy.toy_run(tmp_path)
    (tmp_path / "checkpoints" / "step-000000023.pt").write_bytes(b"nothing")
    capsys.readouterr()
    assert load_trained_weights(tmp_path / "checkpoints", toy.toy_module()) == 20
    assert "step-000000023.pt is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda key, weight: None, r"weights are missing \(.+\); train the run again"),
        (
            lambda key, weight: {f"{key}_": weight},
            r"weights are missing \(.+\), \d are not this model's \(.+_\)",
        ),
        (lambda key, weight: {key: weight.repeat(2)}, r"its .+ is \(.+\) and not \(.+\)"),
        (lambda key, weight: {key: "text"}, "its .+ is a str"),
        (lambda key, weight: {3: weight}, "weights are missing"),
    ],
)
def test_weights_of_another_model_are_refused_in_a_sentence(toy, unbroken, tmp_path, change, message):
    newest = max((unbroken / "checkpoints").iterdir())
    content = torch.load(newest, weights_only=True)
    for key, weight in list(content["averaged"].items()):
        if key.endswith("bias"):
            del content["averaged"][key]
            content["averaged"] |= change(key, weight) or {}
    torch.save(content, tmp_path / newest.name)
    with pytest.raises(RunFolderError, match=message) as refused:
        load_trained_weights(tmp_path, toy.toy_module())
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_weights_that_are_not_finite_are_no_trained_weights(toy, unbroken, tmp_path, value):
    newest = max((unbroken / "checkpoints").iterdir())
    content = torch.load(newest, weights_only=True)
    content["averaged"]["module.4.weight"][0, 3] = value
    torch.save(content, tmp_path / newest.name)
    with pytest.raises(
        NonFiniteValuesError, match=r"step 23 in .*: 4\.weight is NaN or infinite in 1 of 8 entries"
    ):
        load_trained_weights(tmp_path, toy.toy_module())


def test_averaged_weights_are_those_that_load_trained_weights_gives(toy, unbroken):
    module = toy.toy_module()
    assert load_trained_weights(unbroken / "checkpoints", module) == toy.NUM_STEPS
    summary = json.loads((unbroken / "summary.json").read_text())
    assert toy.ToyTask().evaluate(module, "test")["error_test"] == summary["error_test"]


def test_evaluation_and_memory_step_do_not_change_the_training(toy, tmp_path, monkeypatch, unbroken):
    monkeypatch.setattr(loop, "memory_of_step", lambda task, module, step, device: {})
    monkeypatch.setattr(toy.ToyTask, "evaluate", lambda self, module, split, progress: {})
    toy.toy_run(tmp_path / "run")
    for part in ("model", "averaged"):
        with_them, without = (
            torch.load(folder / "checkpoints" / "step-000000023.pt", weights_only=True)[part]
            for folder in (unbroken, tmp_path / "run")
        )
        assert all(torch.equal(with_them[name], without[name]) for name in with_them)


@pytest.mark.parametrize("schedule", ["constant", "multistep", "one_cycle"])
def test_every_schedule_continues_where_it_was(toy, tmp_path, assert_same_numbers, schedule):
    settings = {"schedule": schedule, "milestones": (1, 2), "ema_decay": None}
    toy.toy_run(tmp_path / "whole", **settings)
    toy.toy_run(tmp_path / "parts", toy.ToyTask(on=stop_at("batch", 12, interrupt())), **settings)
    toy.toy_run(tmp_path / "parts", **settings)
    assert_same_numbers(tmp_path / "parts", tmp_path / "whole")
