"""What the loops promise about where they step, where they evaluate, and when they stop."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
import torch
from torch import Tensor

from nodebench.ode import Solution, SolverError, odeint
from nodebench.ode.clock import Clock
from nodebench.ode.counts import Counts
from nodebench.ode.drive.control import StepControl
from nodebench.ode.drive.controllers import CONTROLLERS
from nodebench.ode.drive.solver import AdaptiveSolver, Start, solve_in_parts
from nodebench.ode.field import CountedField
from nodebench.ode.methods.explicit import ExplicitRungeKutta
from nodebench.ode.methods.tableaus import load_tableaus
from nodebench.ode.norms import Accuracy

ADAPTIVE = sorted(name for name, tableau in load_tableaus().items() if tableau.has_error_estimate)
ONE = torch.ones(1, dtype=torch.float64)


def solve(f: Any, ts: Any, y0: Tensor = ONE, **options: Any) -> Solution:
    return odeint(f, y0, ts, gradient="direct", record_steps=True, **options)


def swing(t: Tensor, y: Tensor) -> Tensor:
    """A field that needs steps of very different sizes."""
    return -50 * torch.cos(t) * (y - torch.sin(8 * t))


def sizes(solution: Solution) -> list[float]:
    return [dt for _, dt in solution.stats.forward.steps]


def test_every_step_starts_where_the_last_one_ended() -> None:
    solution = solve(swing, [0.0, 0.7, 2.0], rtol=1e-6, atol=1e-6)
    steps = solution.stats.forward.steps
    assert solution.stats.forward.num_rejected > 0
    assert steps[0][0] == 0.0
    assert all(
        t + dt == pytest.approx(following, abs=1e-15) for (t, dt), (following, _) in itertools.pairwise(steps)
    )
    assert sum(steps[-1]) == pytest.approx(2.0, abs=1e-15)


def test_a_rejected_step_is_tried_again_from_the_same_place_with_its_first_stage_kept(
    record: Any, scripted: Any
) -> None:
    f = record(lambda t, y: torch.zeros_like(y))
    norms = iter([2.0, 3.0, 0.5, 0.5])  # two rejections, then two acceptances
    control = StepControl(
        Accuracy(norm=lambda x: torch.tensor(next(norms), dtype=torch.float64)),
        scripted([0.5, 0.25, 7.0, 1.0]),
        first_step=0.8,
    )
    counts = Counts(steps=[])
    solver = AdaptiveSolver(ExplicitRungeKutta(load_tableaus()["bosh3"]), control)
    result = solver.solve(Start(CountedField(f, (), counts), ONE, Clock((0.0, 0.3))))
    assert result.error is None
    # 0.3 (clipped from 0.8) and 0.15 are rejected, 0.0375 is accepted, and the next one is clipped to the end.
    assert counts.steps == [(0.0, pytest.approx(0.0375)), (pytest.approx(0.0375), pytest.approx(0.2625))]
    assert (counts.num_accepted, counts.num_rejected) == (2, 2)
    assert f.times.count(0.0) == 1
    starts = [0.0, 0.15, 0.225, 0.3, 0.075, 0.1125, 0.15, 0.01875, 0.028125, 0.0375]
    assert f.times[:10] == pytest.approx(starts)


@pytest.mark.parametrize("first_step", [None, 0.03])
def test_a_solve_whose_state_jumps_at_outputs_is_that_of_one_solve_after_another(
    first_step: float | None,
) -> None:
    control = StepControl(
        Accuracy(1e-5, 1e-5), CONTROLLERS["pid"], first_step=first_step, jump_ts=(0.5, 0.7), step_ts=(0.9,)
    )
    solver = AdaptiveSolver(ExplicitRungeKutta(load_tableaus()["dopri5"]), control)
    ends, counts = [], []

    def jump(i: int, y: Tensor) -> Tensor:
        ends.append(y)
        return y + i

    for solve_all in (solver.solve, lambda start: solve_in_parts(solver.solve, start)):
        counted = Counts(steps=[])
        clock = Clock((0.0, 0.001, 0.5, 0.6, 2.0))
        result = solve_all(Start(CountedField(swing, (), counted), ONE, clock, enter=jump))
        assert result.error is None
        ends += result.outputs
        counts.append(counted)
    assert counts[0] == counts[1]
    assert counts[0].num_rejected > 0
    assert len(ends) == 2 * 4
    assert all(torch.equal(one, other) for one, other in zip(ends[:4], ends[4:], strict=True))


def test_a_state_that_overflows_is_not_exact_where_another_takes_its_place() -> None:
    control = StepControl(first_step=1.0, max_step=1.0)
    solver = AdaptiveSolver(ExplicitRungeKutta(load_tableaus()["dopri5"]), control)
    largest = torch.tensor([1.7e308], dtype=torch.float64)
    field = CountedField(lambda t, y: torch.full_like(y, 1e308), (), Counts())
    result = solver.solve(Start(field, largest, Clock((0.0, 1.0, 2.0)), enter=lambda i, y: ONE))
    assert isinstance(result.error, SolverError)


def test_several_outputs_inside_one_step_cost_no_evaluation_and_agree_with_landing_on_them() -> None:
    ts = [0.0, 0.01, 0.02, 0.03, 0.04, 1.0]
    many = solve(lambda t, y: -y, ts, first_step=0.5, rtol=1e-4, atol=1e-4)
    few = solve(lambda t, y: -y, [0.0, 1.0], first_step=0.5, rtol=1e-4, atol=1e-4)
    assert many.stats.forward == few.stats.forward
    assert many.ys[-1] == few.ys[-1]
    torch.testing.assert_close(
        many.ys[:, 0], torch.exp(-torch.tensor(ts, dtype=torch.float64)), rtol=1e-3, atol=0
    )


@pytest.mark.parametrize("method", ["adaptive_heun", "fehlberg2"])
def test_hermite_outputs_of_a_method_that_is_not_fsal_use_the_next_first_stage(method: str) -> None:
    plain = solve(swing, [0.0, 1.0], method=method)
    more = solve(swing, [0.0, *torch.linspace(0.01, 0.99, 9).tolist(), 1.0], method=method)
    assert sizes(more) == sizes(plain)
    # Only an output in the last step, behind which there is no step, needs one evaluation of its own.
    assert more.stats.forward.nfe - plain.stats.forward.nfe in (0, 1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("method", [*ADAPTIVE, "heun", "rk4", "midpoint"])
def test_no_evaluation_leaves_the_interval(method: str, dtype: torch.dtype, record: Any) -> None:
    options = {} if method in ADAPTIVE else {"dt": 0.3}
    draw = random.Random(0)
    for _ in range(12):
        ts = torch.tensor([draw.random(), 3 * draw.random()], dtype=dtype)
        f = record(lambda t, y: -y)
        solve(f, ts, ONE.to(dtype), method=method, **options)
        assert min(ts) <= min(f.times)
        assert max(f.times) <= max(ts)


def test_a_field_that_ends_with_the_interval_is_solved_to_its_end() -> None:
    # sqrt(t1 - t) is NaN a hair behind t1.
    for t1 in (0.9601638140176373, 0.7697274550444321, 1.0):
        ts = [0.080445818, t1]
        ys = solve(lambda t, y, end=t1: torch.sqrt(end - t) * torch.ones_like(y), ts, rtol=1e-6, atol=1e-6).ys
        assert ys[-1].item() == pytest.approx(1 + 2 / 3 * (t1 - ts[0]) ** 1.5, rel=1e-4)


def test_the_last_step_is_clipped_to_the_last_output(record: Any) -> None:
    f = record(lambda t, y: -y)
    solution = solve(f, [0.0, 0.35], first_step=0.1, max_step=0.1)
    assert sizes(solution) == pytest.approx([0.1, 0.1, 0.1, 0.05])
    assert f.times[-1] == 0.35


def test_a_sliver_left_by_rounding_does_not_become_a_step() -> None:
    solution = solve(lambda t, y: -y, [0.0, 1.0], first_step=0.1, max_step=0.1, rtol=1e-3, atol=1e-3)
    assert len(sizes(solution)) == 10


def test_a_step_clipped_to_almost_nothing_does_not_hold_back_the_next_one() -> None:
    options = {"first_step": 0.1, "max_step": 0.1}
    solution = solve(lambda t, y: -y, [0.0, 1.0], step_ts=(0.5, 0.5 + 1e-9), **options)
    assert sizes(solution) == pytest.approx([0.1] * 5 + [1e-9] + [0.1] * 5, rel=1e-6)


@pytest.mark.parametrize("ts", [(0.0, 2.0), (2.0, 0.0)])
def test_steps_end_on_step_ts_in_both_directions_and_elsewhere_they_are_ignored(ts: Any) -> None:
    solution = solve(lambda t, y: -y, ts, step_ts=(1.3, 0.4, 7.0, -1.0))
    ends = {t + dt for t, dt in solution.stats.forward.steps}
    assert {0.4, 1.3} <= {round(t, 12) for t in ends}
    assert all(0 <= t <= 2 for t in ends)


def jumping(t: Tensor, y: Tensor) -> Tensor:
    return torch.where(t < 0.5, torch.ones_like(y), torch.full_like(y, -5.0)) * (1 + 0 * y)


@pytest.mark.parametrize("method", ADAPTIVE)
@pytest.mark.parametrize("ts", [(0.0, 1.0), (1.0, 0.0)])
def test_a_jump_that_is_named_costs_no_rejection_and_no_accuracy(ts: Any, method: str) -> None:
    y0 = torch.zeros(1, dtype=torch.float64)
    solution = solve(jumping, ts, y0, method=method, jump_ts=(0.5,), rtol=1e-9, atol=1e-9)
    assert solution.stats.forward.num_rejected == 0
    assert solution.ys[-1].item() == pytest.approx(-2.0 if ts[1] == 1.0 else 2.0, abs=1e-12)
    unnamed = solve(jumping, ts, y0, method=method, rtol=1e-9, atol=1e-9)
    assert unnamed.stats.forward.num_rejected > 5


def test_the_field_is_evaluated_anew_behind_a_jump_and_only_there(record: Any) -> None:
    plain, named = record(lambda t, y: -y), record(lambda t, y: -y)
    stepped = solve(plain, [0.0, 1.0], step_ts=(0.5,))
    jumped = solve(named, [0.0, 1.0], jump_ts=(0.5,))
    assert jumped.stats.forward.num_accepted == stepped.stats.forward.num_accepted
    assert jumped.stats.forward.nfe == stepped.stats.forward.nfe + 1
    assert 0.5 not in named.times
    assert any(0.5 < t < 0.5 + 1e-15 for t in named.times)
    assert any(0.5 - 1e-15 < t < 0.5 for t in named.times)


@pytest.mark.parametrize("ts", [(0.5, 1.0), (0.5, 0.0)])
def test_a_jump_at_the_initial_time_is_seen_from_inside_the_interval(ts: Any) -> None:
    def open_jump(t: Tensor, y: Tensor) -> Tensor:  # right-continuous neither way: 100 at the jump itself
        return torch.where(t == 0.5, 100.0, torch.where(t > 0.5, 1.0, 2.0)) * torch.ones_like(y)

    solution = solve(open_jump, ts, torch.zeros(1, dtype=torch.float64), jump_ts=(0.5,))
    assert solution.stats.forward.num_rejected == 0
    assert solution.ys[-1].item() == pytest.approx(0.5 if ts[1] == 1.0 else -1.0, abs=1e-12)


@pytest.mark.parametrize("method", ADAPTIVE)
def test_dense_output_keeps_to_its_side_of_a_jump(method: str) -> None:
    y0 = torch.zeros(1, dtype=torch.float64)
    solution = solve(jumping, [0.0, 1.0], y0, method=method, jump_ts=(0.5,), dense_output=True)
    for t in torch.linspace(0, 1, 21).tolist():
        assert solution.evaluate(t).item() == pytest.approx(t if t < 0.5 else 3 - 5 * t, abs=1e-12)


def test_steps_are_never_longer_than_max_step() -> None:
    solution = solve(lambda t, y: 0 * y, [0.0, 2.0], first_step=1.0, max_step=0.15)
    assert max(sizes(solution)) <= 0.15 * (1 + 1e-12)
    assert len(sizes(solution)) == 14


@pytest.mark.parametrize("min_step", [0.1, 0.07, 1 / 3])
def test_steps_at_min_step_are_taken_whatever_their_error_and_counted_as_forced(min_step: float) -> None:
    solution = solve(swing, [0.0, 2.0], rtol=1e-10, atol=1e-10, min_step=min_step)
    counts = solution.stats.forward
    assert counts.num_forced == counts.num_accepted
    assert min(sizes(solution)[:-1]) >= min_step * (1 - 1e-12)
    assert counts.num_accepted <= 2 / min_step + 1
    easy = solve(lambda t, y: -y, [0.0, 2.0], min_step=min_step / 10)
    assert easy.stats.forward.num_forced == 0


def test_max_steps_counts_rejected_steps_too_and_is_never_exceeded() -> None:
    total = solve(swing, [0.0, 2.0]).stats.forward
    assert total.num_rejected > 0
    for max_steps in range(1, total.num_steps + 3):
        solution = solve(swing, [0.0, 2.0], max_steps=max_steps, raise_on_failure=False)
        assert solution.stats.forward.num_steps == min(max_steps, total.num_steps)
        assert (solution.status.value == "success") == (max_steps >= total.num_steps)


@pytest.mark.parametrize("method", ADAPTIVE)
@pytest.mark.parametrize(
    "options",
    [{}, {"jump_ts": (0.5, 1.0)}, {"first_step": 0.01}, {"dt": 0.25}, {"dt": 0.25, "dense_output": True}],
)
def test_max_nfe_is_never_exceeded_and_suffices_when_it_is_what_the_solve_needs(
    method: str, options: Any
) -> None:
    ts = [0.0, 0.3, 0.9, 1.2] if "dt" not in options else [0.0, 1.2]

    def f(t: Tensor, y: Tensor) -> Tensor:
        return -y * torch.where(t < 0.5, 1.0, 2.0)

    total = solve(f, ts, method=method, rtol=1e-2, atol=1e-2, **options).stats.forward.nfe
    slack = int(bool(options.get("dense_output")) and not load_tableaus()[method].is_fsal)
    for max_nfe in range(1, total + 3):
        solution = solve(
            f, ts, method=method, rtol=1e-2, atol=1e-2, max_nfe=max_nfe, raise_on_failure=False, **options
        )
        # The slope at the very end, which only Hermite's dense output wants, is evaluated behind the solve.
        assert solution.stats.forward.nfe <= max_nfe + slack
        assert (solution.status.value == "success") == (max_nfe >= total - slack)


@pytest.mark.parametrize("start", [1.7e9, -1.7e9, 1e14])
def test_a_state_at_rest_is_solved_at_times_far_from_zero(start: float) -> None:
    y0 = torch.ones(2, dtype=torch.float64)
    for ts in ([start, start + 8], [start + 8, start]):
        assert torch.equal(solve(lambda t, y: y - 1, ts, y0).ys[-1], y0)


@pytest.mark.parametrize("method", ADAPTIVE)
def test_fixed_steps_on_the_adaptive_grid_give_the_adaptive_solution(coupled: Any, method: str) -> None:
    adaptive = solve(coupled.f, [0.0, 1.0], coupled.y0, method=method, rtol=1e-5, atol=1e-5)
    grid = [0.0, *(t + dt for t, dt in adaptive.stats.forward.steps)]
    fixed = solve(coupled.f, grid, coupled.y0, method=method, dt=10.0)
    torch.testing.assert_close(fixed.ys[-1], adaptive.ys[-1], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("method", sorted(load_tableaus()))
def test_fixed_steps_divide_each_gap_evenly_into_the_fewest_steps(method: str) -> None:
    solution = solve(lambda t, y: -y, [0.0, 0.3, 1.3], method=method, dt=0.25)
    assert sizes(solution) == pytest.approx([0.15] * 2 + [0.25] * 4)
    assert (solution.stats.forward.num_accepted, solution.stats.forward.num_rejected) == (6, 0)


@pytest.mark.parametrize("ts", [(0.0, 0.3), (0.3, 0.0)])
def test_a_fixed_step_longer_than_the_interval_is_one_step(ts: Any) -> None:
    assert sizes(solve(lambda t, y: -y, ts, method="rk4", dt=5.0)) == pytest.approx([ts[1] - ts[0]])


def test_steps_that_divide_the_interval_are_not_one_more_by_rounding() -> None:
    for n in (3, 7, 10, 49, 1000):
        assert len(sizes(solve(lambda t, y: -y, [0.0, 1.0], method="euler", dt=1 / n))) == n


def test_solving_without_a_graph_gives_the_same_values_and_counts(coupled: Any) -> None:
    y0 = coupled.y0.requires_grad_()
    with_graph = solve(coupled.f, [0.0, 0.5, 1.0], y0)
    with torch.no_grad():
        without = solve(coupled.f, [0.0, 0.5, 1.0], y0)
    assert with_graph.ys.requires_grad
    assert not without.ys.requires_grad
    assert with_graph.stats.forward.nfe == without.stats.forward.nfe
    torch.testing.assert_close(without.ys, with_graph.ys, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("gradient", ["direct", "checkpointed", "adjoint"])
def test_the_initial_state_is_not_changed_and_a_field_may_return_its_state(gradient: str) -> None:
    y0 = torch.tensor([1.0, 2.0], dtype=torch.float64)
    ys = odeint(lambda t, y: y, y0, [0.0, 1.0], gradient=gradient, rtol=1e-9, atol=1e-9).ys
    assert y0.tolist() == [1.0, 2.0]
    assert ys[-1].tolist() == pytest.approx([2.718281828, 5.436563657], rel=1e-8)
