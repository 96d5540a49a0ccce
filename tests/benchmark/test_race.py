from __future__ import annotations

import pytest
import torch

from nodebench.benchmark.contestants import Contestant, Measured
from nodebench.benchmark.race import iqr, race

NOTHING = torch.zeros(1)


def contestant(
    name: str, turns: list[str], times: list[float], backward_ms: float | None = None
) -> Contestant:
    left = iter(times)

    def run() -> Measured:
        turns.append(name)
        return Measured(next(left), backward_ms, 7, None if backward_ms is None else 3, NOTHING, None)

    return Contestant(name, "library", "field", "direct", run)


def test_contestants_take_turns_after_one_warm_up_each() -> None:
    turns: list[str] = []
    race([contestant(name, turns, [1.0] * 4) for name in "ABC"], num_rounds=3)
    assert "".join(turns) == "ABC" * 4


def test_the_warm_up_is_kept_apart_from_the_medians() -> None:
    (result,) = race([contestant("A", [], [1000.0, 3.0, 1.0, 2.0], backward_ms=10.0)], num_rounds=3)
    assert result.time_first_ms == 1010.0
    assert result.time_forward_ms == 2.0
    assert result.time_backward_ms == 10.0
    assert result.time_ms == 12.0
    assert result.time_iqr_ms == pytest.approx(1.0)
    assert result.last.nfe_forward == 7


def test_without_a_backward_pass_the_time_is_that_of_the_forward_one() -> None:
    (result,) = race([contestant("A", [], [9.0, 4.0, 6.0])], num_rounds=2)
    assert result.time_backward_ms is None
    assert result.time_ms == 5.0


def test_every_warm_up_and_every_round_is_told() -> None:
    lines: list[str] = []
    race([contestant("A", [], [1.0] * 3)], num_rounds=2, tell=lines.append)
    assert lines == ["warming up 1 of 1, A", "round 1 of 2", "round 2 of 2"]


def test_a_race_without_rounds_is_refused() -> None:
    with pytest.raises(ValueError, match="`num_rounds` is 0"):
        race([contestant("A", [], [1.0])], num_rounds=0)


@pytest.mark.parametrize(("values", "expected"), [([5.0], 0.0), ([1, 2, 3, 4, 5], 2.0), ([4, 1, 3, 2], 1.5)])
def test_the_interquartile_range(values: list[float], expected: float) -> None:
    assert iqr(values) == pytest.approx(expected)
