"""Output times in float32: gaps that were meant to be equal differ by rounding, and no step may follow from that."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ode_fields import decay
from torch import Tensor

from nodebench.ode import Solution, compat, odeint
from nodebench.ode.clock import make_clock
from nodebench.ode.drive.grid import uniform_grid

ENDS = [(0.0, 1.0), (1.0, 0.0), (-1.0, 1.0), (3.0, 7.0), (100.0, 99.0), (0.0, 0.3)]
MADE_BY = {
    "linspace": lambda t0, t1, n: torch.linspace(t0, t1, n + 1),
    "float64": lambda t0, t1, n: torch.linspace(t0, t1, n + 1, dtype=torch.float64).float(),
    "arange": lambda t0, t1, n: torch.arange(n + 1) * ((t1 - t0) / n) + t0,
}
Y0 = torch.ones(1, dtype=torch.float64)


def solve(ts: Any, **settings: Any) -> Solution:
    return odeint(decay, Y0, ts, **{"gradient": "direct", **settings})


@pytest.mark.parametrize("made_by", MADE_BY)
@pytest.mark.parametrize(("t0", "t1"), ENDS)
def test_a_step_that_divides_the_gaps_takes_as_many_steps_in_single_precision(
    t0: float, t1: float, made_by: str
) -> None:
    for num_gaps in range(1, 60):
        clock = make_clock(MADE_BY[made_by](t0, t1, num_gaps), Y0)
        for steps_a_gap in (1, 2, 5):
            grid = uniform_grid(clock, abs(t1 - t0) / num_gaps / steps_a_gap)
            assert len(grid) - 1 == num_gaps * steps_a_gap, (num_gaps, steps_a_gap)
            assert set(clock.ts) <= set(grid)


def test_steps_longer_than_dt_by_more_than_rounding_are_not_taken() -> None:
    single = make_clock(torch.tensor([0.0, 1.0, 2.0]), Y0)
    assert len(uniform_grid(single, 0.99999)) - 1 == 4
    double = make_clock([0.0, 1.0, 2.0], Y0)
    assert len(uniform_grid(double, 1 - 1e-7)) - 1 == 4  # what single precision rounds away, double does not
    late = make_clock(torch.tensor([1e6, 1e6 + 1]), Y0)
    assert len(uniform_grid(late, 0.1)) - 1 == 10  # the spacing of these times is 0.06


def test_times_in_a_list_tell_their_dtype_too() -> None:
    ts = torch.linspace(0, 1, 11)
    for times in (ts, list(ts), ts.numpy()):
        assert solve(times, method="euler", dt=0.1).stats.forward.num_accepted == 10


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("t0", "t1"), ENDS)
@pytest.mark.parametrize(("method", "cost"), [("explicit_adams", 1), ("implicit_adams", 2)])
def test_adams_goes_on_over_rounded_outputs(
    method: str, cost: int, t0: float, t1: float, dtype: torch.dtype
) -> None:
    for num_gaps in (10, 37):
        ts = torch.linspace(t0, t1, num_gaps + 1, dtype=dtype)
        counts = solve(ts, method=method, dt=abs(t1 - t0) / num_gaps, rtol=1.0, atol=1.0).stats.forward
        assert (counts.num_accepted, counts.nfe) == (num_gaps, 3 * 4 + (num_gaps - 3) * cost)


@pytest.mark.parametrize("steps_a_gap", [None, 1, 3])
@pytest.mark.parametrize(("t0", "t1"), ENDS)
@pytest.mark.parametrize(("method", "start", "cost"), [("explicit_adams", 9, 1), ("midpoint", 0, 2)])
def test_compat_takes_the_steps_of_double_precision(
    method: str, start: int, cost: int, t0: float, t1: float, steps_a_gap: int | None
) -> None:
    for num_gaps in (10, 37):
        calls: list[float] = []

        def f(t: Tensor, y: Tensor, calls: list[float] = calls) -> Tensor:
            calls.append(t.item())
            return -y

        options = None if steps_a_gap is None else {"step_size": abs(t1 - t0) / num_gaps / steps_a_gap}
        compat.odeint(f, Y0, torch.linspace(t0, t1, num_gaps + 1), method=method, options=options)
        assert len(calls) == start + num_gaps * (steps_a_gap or 1) * cost


def test_an_adaptive_solve_leaves_no_sliver_before_the_end() -> None:
    end = torch.tensor([0.0, 0.3])  # 0.3 is 1.2e-8 later in single precision
    counts = solve(end, first_step=0.1, max_step=0.1).stats.forward
    assert (counts.num_accepted, counts.num_rejected) == (3, 0)


@pytest.mark.parametrize("reverse", [False, True])
def test_dense_output_reaches_an_end_that_was_rounded(reverse: bool) -> None:
    ts = torch.tensor([0.0, 0.7])  # 0.7 is 1.2e-8 earlier in single precision
    solution = solve(ts.flip(0) if reverse else ts, dense_output=True)
    torch.testing.assert_close(solution.evaluate(0.7), solution.ys[0 if reverse else -1])
    with pytest.raises(ValueError, match="outside the solved interval"):
        solution.evaluate(0.701)
