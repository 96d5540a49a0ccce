"""A word about a step that takes long, on a clock of the test's own."""

from __future__ import annotations

import threading

import pytest

from nodebench.training.patience import Patience
from nodebench.training.protocols import SolveCounts


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def said():
    return []


def looking(patience, clock, times):
    for clock.now in times:
        patience.look()


def test_a_step_that_takes_long_is_spoken_of_less_and_less_often_with_its_evaluations(clock, said):
    counts = []
    patience = Patience(said.append, clock)
    patience.begin(3, lambda: SolveCounts(1000 * len(counts), 7))
    for clock.now in range(0, 50):
        counts.append(clock.now)
        patience.look()
    assert said == [
        "step 3 has taken 10 s so far: 11,000 evaluations forward, 7 backward",
        "step 3 has taken 20 s so far: 21,000 evaluations forward, 7 backward",
        "step 3 has taken 40 s so far: 41,000 evaluations forward, 7 backward",
    ]


def test_steps_that_all_take_long_are_no_news(clock, said):
    patience = Patience(said.append, clock)
    patience.begin(1, lambda: None)
    looking(patience, clock, [15])
    patience.end()
    said.clear()
    patience.begin(2, lambda: None)
    looking(patience, clock, [15 + 74, 15 + 75])
    assert said == ["step 2 has taken 75 s so far"]


def test_between_steps_there_is_nothing_to_say(clock, said):
    patience = Patience(said.append, clock)
    looking(patience, clock, [100])
    patience.begin(1, lambda: None)
    patience.end()
    looking(patience, clock, [500])
    assert said == []


def test_counts_that_cannot_be_had_do_not_stop_the_word(clock, said):
    def counts():
        raise RuntimeError("not in the middle of a step")

    patience = Patience(said.append, clock)
    patience.begin(1, counts)
    looking(patience, clock, [10])
    assert said == ["step 1 has taken 10 s so far"]


def test_the_thread_that_looks_ends_with_the_run(toy, tmp_path):
    names = []
    toy.toy_run(tmp_path, toy.ToyTask(on=lambda *_: names.extend(t.name for t in threading.enumerate())))
    assert "patience" in names
    assert "patience" not in [thread.name for thread in threading.enumerate()]
