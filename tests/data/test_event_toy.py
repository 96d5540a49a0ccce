from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from nodebench.data import DataError, EventSequences, EventSet
from nodebench.data.event_sequences import padded
from nodebench.data.event_toy import VARIANTS, event_toy, thinned

GRID = torch.linspace(0.0, 10.0, 4001, dtype=torch.float64)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_toy_events_are_the_same_every_time_and_others_in_every_split(variant: str) -> None:
    toy, again = (event_toy(variant, num_train=50, num_test=50) for _ in range(2))
    toy.check()
    for name, split in toy.splits.items():
        assert torch.equal(split.times, again.splits[name].times)
        assert torch.equal(split.lengths, again.splits[name].lengths)
    assert not torch.equal(toy.train.lengths, toy.test.lengths)
    assert (len(toy.train), len(toy.splits["val"]), len(toy.test)) == (50, 200, 50)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_mean_number_of_events_is_the_integral_of_the_rate(variant: str) -> None:
    test = event_toy(variant).test
    assert test.rate is not None
    expected = torch.trapezoid(test.rate(GRID.expand(len(test), -1)), GRID)
    # The variance of a Poisson variable is its mean.
    stderr = float(expected.sum().sqrt())
    assert abs(test.num_events - float(expected.sum())) < 4 * stderr
    halves = [(test.is_event & (test.times < 5)).sum(), (test.is_event & (test.times >= 5)).sum()]
    for half, where in zip(halves, (GRID <= 5, GRID >= 5), strict=True):
        of_half = torch.trapezoid(test.rate(GRID.expand(len(test), -1))[:, where], GRID[where]).sum()
        assert abs(int(half) - float(of_half)) < 4 * float(of_half.sqrt())


def test_the_sine_is_one_rate_for_all_and_the_spirals_have_their_own() -> None:
    sine, spiral = (event_toy(variant, num_train=5, num_test=5).train for variant in VARIANTS)
    assert sine.rate is not None
    assert spiral.rate is not None
    times = torch.tensor([[0.0, math.pi / 2 / 1.2566]], dtype=torch.float64)
    torch.testing.assert_close(sine.rate(times), torch.tensor([[5.0, 9.0]], dtype=torch.float64))
    rates = spiral.rate(GRID.expand(5, -1))
    assert len(torch.unique(rates[:, 0])) == 5
    # A spiral winds inwards: the last turn of log(rate / 5) is exp(-0.1 t) times the one before.
    coordinate = torch.log(rates / 5)
    turn = round(2 * math.pi / 1.2566 / 10 * 4000)
    ratio = coordinate[:, turn:] / coordinate[:, :-turn]
    torch.testing.assert_close(
        ratio.median(dim=1).values,
        torch.full((5,), math.exp(-0.1 * 5), dtype=torch.float64),
        rtol=1e-3,
        atol=0,
    )


def test_a_rate_that_vanishes_gives_no_events() -> None:
    def half(times: Tensor) -> Tensor:
        return torch.where(times < 1, 3.0, 0.0)

    times, lengths = thinned(half, 4.0, 200, 2.0, torch.Generator().manual_seed(0))
    assert float(times.max()) < 1
    assert abs(int(lengths.sum()) - 600) < 4 * math.sqrt(600)
    assert (times.diff(dim=1) >= 0)[(torch.arange(times.shape[1]) < lengths[:, None])[:, 1:]].all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"variant": "cosine"}, "`data.variant` is 'cosine'; allowed: sine, spiral"),
        ({"depth": 1.5}, "`data.depth` is 1.5; allowed: numbers from 0 to 1"),
        ({"phase": math.inf}, "`data.phase` is inf; allowed: finite numbers"),
        ({"min_radius": 2.0}, "`data.min_radius` is 2.0; allowed: numbers from 0 to 1.5"),
        ({"rate": 0}, "`data.rate` is 0; allowed: finite numbers above 0"),
        ({"rate": 1e6}, r"data.rate=1e\+06 and data.duration=10 make up to 18,000,000 events a sequence"),
        ({"num_test": 0}, "`data.num_test` is 0; allowed: whole numbers from 1 on"),
        ({"batch_size": 0}, "`data.batch_size` is 0"),
    ],
)
def test_settings_out_of_range_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        event_toy(**settings)


def set_of(*sequences: list[float]) -> EventSet:
    return EventSet(*padded([torch.tensor(times) for times in sequences]))


def sequences(train: EventSet, **changes: Any) -> EventSequences:
    right: dict[str, Any] = {
        "val": None,
        "test": set_of([0.5]),
        "t_start": 0.0,
        "t_end": 1.0,
        "batch_size": 2,
    }
    return EventSequences(name="mine", train=train, **{**right, **changes})


def test_sequences_without_events_and_events_at_one_moment_are_data() -> None:
    made = sequences(set_of([], [0.0, 0.25, 0.25, 1.0]))
    made.check()
    assert made.describe() == "2 training and 1 test sequences, 0 to 4 events each, from t=0 to 1"
    assert made.test_columns() == {"num_sequences": 1, "num_events": 1}


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (set_of([0.5, 0.25]), "its train split has events that are not in the order of time"),
        (set_of([0.5, 1.5]), "its train split has events outside the window from 0 to 1"),
        (set_of([], []), "its train split has no event"),
        (EventSet(torch.zeros(2, 3), torch.ones(2)), r"has times float32 of shape \(2, 3\); needed: float64"),
        (EventSet(torch.zeros(2, 3).double(), torch.tensor([1, 4])), r"lengths of shape \(2,\) for times"),
    ],
)
def test_sequences_built_from_the_wrong_things_say_so(train: EventSet, message: str) -> None:
    with pytest.raises(DataError, match=message):
        sequences(train).check()


def test_a_window_has_an_extent() -> None:
    with pytest.raises(DataError, match=r"from t_start=1\.0 to t_end=1\.0; it must end after it starts"):
        sequences(set_of([0.5]), t_start=1.0)
