"""Sets of series: what they give of themselves, and what is said of one that is built wrongly."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from nodebench.data import DataError, SeriesSet, Trajectories

TRUE = torch.ones(2, 3, 1, dtype=torch.bool)


def two_series(**parts: Any) -> SeriesSet:
    """Two series in one coordinate, observed at times 0 and 1, asked at 2."""
    right: dict[str, Any] = {
        "times": torch.tensor([0.0, 1.0, 2.0]),
        "values": torch.arange(6.0).reshape(2, 3, 1),
        "is_there": TRUE,
        "observed": torch.tensor([True, True, False])[:, None].repeat(2, 1, 1),
        "is_horizon": torch.tensor([False, False, True]).repeat(2, 1),
    }
    return SeriesSet(**{**right, **parts})


def of(test: Any) -> Trajectories:
    return Trajectories("mine", two_series(), None, test, batch_size=2)


def test_series_as_they_should_be_pass() -> None:
    of(two_series()).check()
    own_times = torch.tensor([[0.0, 1.0, 2.0], [0.5, 1.0, 1.0]])
    is_there = torch.tensor([[True, True, True], [True, True, False]])[..., None]
    observed = is_there & ~two_series().is_horizon[..., None]
    of(two_series(times=own_times, is_there=is_there, observed=observed)).check()


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ({"values": torch.zeros(2, 3, 1).double()}, r"values float64 of shape \(2, 3, 1\); needed: float32"),
        ({"values": [[0.0]]}, "values a list; needed: float32 of shape"),
        ({"values": torch.zeros(2, 3, 2)}, r"values of shape \(2, 3, 2\); needed: series of 1 coordinate"),
        ({"values": torch.zeros(2, 1, 1)}, "at two times or more"),
        ({"times": torch.arange(4.0)}, r"times float32 of shape \(4,\); needed: .* \(3,\) or \(2, 3\)"),
        ({"times": torch.arange(3)}, r"times int64 of shape \(3,\); needed: float32"),
        ({"times": [0.0, 1.0, 2.0]}, "times a list; needed"),
        ({"observed": None}, r"observed a NoneType; needed: bool of shape \(2, 3, 1\)"),
        ({"observed": torch.ones(2, 3, 1)}, r"observed float32 of shape \(2, 3, 1\); needed: bool"),
        ({"is_horizon": TRUE}, r"is_horizon bool of shape \(2, 3, 1\); needed: bool of shape \(2, 3\)"),
        ({"clean": torch.zeros(2, 3)}, r"clean float32 of shape \(2, 3\); needed: float32 of shape"),
        ({"direction": torch.ones(3)}, r"direction float32 of shape \(3,\); needed: of shape \(2,\)"),
        ({"centre": torch.zeros(2)}, r"centre float32 of shape \(2,\); needed: float32 of shape \(2, 1\)"),
        ({"direction": torch.ones(2)}, "a direction for series of 1 coordinate; it is for the plane alone"),
        ({"values": torch.full((2, 3, 1), math.nan)}, "has values that are NaN or infinite"),
        ({"clean": torch.full((2, 3, 1), math.inf)}, "has clean that are NaN or infinite"),
        ({"times": torch.tensor([0.0, math.nan, 1.0])}, "has times that are NaN or infinite"),
        ({"times": torch.tensor([0.0, 2.0, 1.0])}, "has times that do not increase"),
        ({"times": torch.tensor([0.0, 1.0, 1.0])}, "has times that do not increase"),
        ({"times": torch.tensor([[0.0, 1.0, 2.0], [0.0, 1.0, 1.0]])}, "has times that do not increase"),
        ({"is_there": ~TRUE}, "observes values that are not there"),
        ({"observed": TRUE}, "or that are of the horizon"),
        ({"observed": ~TRUE}, "observes nothing of series 0"),
    ],
)
def test_what_is_wrong_with_a_split_is_one_sentence(parts: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DataError, match=rf"^its test split .*{sentence}"):
        of(two_series(**parts)).check()


def test_something_else_in_the_place_of_a_split_is_named() -> None:
    with pytest.raises(DataError, match="its train split is a Tensor; it must be a SeriesSet"):
        replace(of(two_series()), train=torch.zeros(2, 3, 1)).check()


def test_some_of_the_series_are_a_set_with_all_that_belongs_to_them() -> None:
    both = two_series(
        times=torch.tensor([[0.0, 1.0, 2.0], [0.0, 3.0, 4.0]]),
        clean=torch.ones(2, 3, 1) * torch.tensor([1.0, 2.0])[:, None, None],
        direction=torch.tensor([1, -1]),
        centre=torch.tensor([[5.0], [6.0]]),
    )
    second = both[torch.tensor([1])]
    assert len(second) == 1
    assert second.times.tolist() == [[0, 3, 4]]
    assert second.values.flatten().tolist() == [3, 4, 5]
    assert second.clean is not None
    assert second.clean.unique().tolist() == [2]
    assert second.direction is not None
    assert second.direction.tolist() == [-1]
    assert second.centre is not None
    assert second.centre.tolist() == [[6]]
    assert two_series()[slice(0, 1)].times.tolist() == [0, 1, 2]


def test_readings_are_what_is_observed_one_after_the_other() -> None:
    observed = torch.tensor([[[0, 0], [1, 0], [1, 1], [0, 0]], [[0, 1], [0, 0], [0, 0], [0, 0]]]).bool()
    values = torch.arange(16.0).reshape(2, 4, 2) + 1
    series = SeriesSet(
        torch.tensor([0.0, 0.5, 2.0, 3.0]), values, torch.ones_like(observed), observed, torch.zeros(2, 4) > 0
    )
    times, read, is_there, lengths = series.readings()
    assert lengths.tolist() == [2, 1]
    assert times.tolist() == [[0.5, 2], [0, 0]]
    assert read.tolist() == [[[3, 0], [5, 6]], [[0, 10], [0, 0]]]
    assert is_there.tolist() == [[[True, False], [True, True]], [[False, True], [False, False]]]
