"""Signals aimed at every line of a run: whatever they meet, the run continues to the numbers of an unbroken one."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections import Counter

import pytest
import torch

from nodebench import records
from nodebench.training import loop
from nodebench.training.interruption import InterruptGuard

PACKAGES = tuple(os.path.dirname(module.__file__) + os.sep for module in (loop, records))
# A signal between opening a file and entering its `with` leaves the closing to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed file:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)

IN_A_RECORD = {
    *(
        "_record_epoch",
        "_pictures",
        "interruptible",
        "append",
        "end_epoch",
        "_save",
        "_finish",
        "_conclude",
    ),
}


@pytest.fixture
def run_two_epochs(toy, monkeypatch):
    """A toy run of two epochs of one step, without git, fsync and the profiler, which take most of its time."""
    environment = loop.describe_environment(torch.device("cpu"))
    monkeypatch.setattr(loop, "describe_environment", lambda *_: environment)
    monkeypatch.setattr(loop, "memory_of_step", lambda task, module, step, device: {})
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)

    class TwoEpochs(toy.ToyTask):
        steps_per_epoch = 1

    def run(path, on=lambda place, number: None):
        return toy.toy_run(path, TwoEpochs(on=on), num_steps=2, show_progress=False)

    return run


def traced(run, react):
    """Call `run`, and `react` to every line of the trainer that comes while the guard holds the signals."""

    def trace(frame, event, _):
        code = frame.f_code
        if not code.co_filename.startswith(PACKAGES):
            return None
        holder = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
        if event == "line" and isinstance(holder, InterruptGuard):
            react((code.co_filename, code.co_name, frame.f_lineno))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        return run()
    finally:
        sys.settrace(before)


def shoot_at(target, visit, numbers):
    """A reaction that raises the signals when a line is come to for the visit-th time."""
    visits = 0

    def react(line):
        nonlocal visits
        visits += line == target
        if line == target and visits == visit:
            for number in numbers:
                signal.raise_signal(number)

    return react


@pytest.mark.parametrize(
    ("functions", "numbers"),
    [
        (IN_A_RECORD, [signal.SIGTERM]),
        pytest.param(None, [signal.SIGTERM], marks=pytest.mark.slow),
        pytest.param(None, [signal.SIGINT, signal.SIGINT], marks=pytest.mark.slow),
    ],
)
def test_signals_at_any_line_leave_a_run_that_continues_to_the_same_numbers(
    run_two_epochs, tmp_path, assert_same_numbers, functions, numbers
):
    path, unbroken = tmp_path / "run", tmp_path / "unbroken"
    visits = Counter()
    traced(lambda: run_two_epochs(unbroken), lambda line: visits.update([line]))
    aimed = [line for line in visits if functions is None or line[1] in functions]
    endings = Counter()
    for line in aimed:
        try:
            ending = traced(lambda: run_two_epochs(path), shoot_at(line, visits[line], numbers)).status
        except KeyboardInterrupt:
            ending = "stopped at once"
        endings[ending] += 1
        assert run_two_epochs(path).status == "finished", line
        try:
            assert_same_numbers(path, unbroken)
        except AssertionError as error:
            raise AssertionError(f"{numbers} at {line}") from error
        shutil.rmtree(path)
    assert endings["interrupted" if len(numbers) == 1 else "stopped at once"] > 10


def test_second_ctrl_c_while_stopping_loses_no_more_than_a_kill(
    run_two_epochs, tmp_path, assert_same_numbers
):
    path, unbroken = tmp_path / "run", tmp_path / "unbroken"
    run_two_epochs(unbroken)

    def ctrl_c(place, number):
        if (place, number) == ("batch", 1):
            signal.raise_signal(signal.SIGINT)

    visits = Counter()
    traced(lambda: run_two_epochs(path, ctrl_c), lambda line: visits.update([line]))
    shutil.rmtree(path)
    for line in (
        line for line in visits if line[1] in ("_interrupted", "save_checkpoint", "write_atomically")
    ):
        with pytest.raises(KeyboardInterrupt):
            traced(lambda: run_two_epochs(path, ctrl_c), shoot_at(line, visits[line], [signal.SIGINT]))
        run_two_epochs(path)
        assert_same_numbers(path, unbroken)
        shutil.rmtree(path)
