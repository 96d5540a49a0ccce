"""Evaluations are counted one by one, forward and backward apart."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from nodebench.ode import Counts, SolveStats, odeint
from nodebench.ode.field import CountedField, time_tensor
from nodebench.ode.methods.tableaus import load_tableaus

ONE = torch.ones(1, dtype=torch.float64)

# Evaluations a step; a reused first stage (FSAL) is not one.
COSTS = {
    "euler": 1,
    "midpoint": 2,
    "heun": 2,
    "ralston": 2,
    "adaptive_heun": 2,
    "heun3": 3,
    "bosh3": 3,
    "fehlberg2": 3,
    "rk4": 4,
    "rk4_38": 4,
    "dopri5": 6,
    "tsit5": 6,
    "dopri8": 13,
}


def test_every_method_of_the_folder_has_its_cost_stated_here() -> None:
    assert set(COSTS) == set(load_tableaus())


@pytest.mark.parametrize("gradient", ["direct", "checkpointed", "adjoint"])
@pytest.mark.parametrize("method", sorted(COSTS))
def test_fixed_steps_cost_their_stages_exactly(method: str, gradient: str, growth: Any, record: Any) -> None:
    f = growth()
    calls = record(f.forward)
    f.forward = calls
    solution = odeint(
        f, torch.ones(2, dtype=torch.float64), [0.0, 0.5, 1.0], method=method, dt=0.1, gradient=gradient
    )
    assert solution.stats.forward == Counts(nfe=10 * COSTS[method], num_accepted=10, num_rejected=0)
    assert len(calls.times) == 10 * COSTS[method]
    assert solution.stats.backward == Counts()
    solution.ys.sum().backward()
    backward = {"direct": 0, "checkpointed": 10 * COSTS[method], "adjoint": 10 * COSTS[method]}[gradient]
    assert solution.stats.backward.nfe == backward
    assert len(calls.times) == 10 * COSTS[method] + backward
    assert solution.stats.forward.nfe == 10 * COSTS[method]


@pytest.mark.parametrize(
    ("method", "start", "attempt"), [("bosh3", 2, 3), ("dopri5", 2, 6), ("tsit5", 2, 6), ("dopri8", 2, 13)]
)
def test_adaptive_fsal_steps_cost_two_to_start_and_a_reused_stage_less_each(
    method: str, start: int, attempt: int, record: Any
) -> None:
    f = record(lambda t, y: -50 * (y - torch.sin(5 * t)))
    y0 = torch.ones(2, dtype=torch.float64)
    counts = odeint(f, y0, [0.0, 1.0], method=method, rtol=1e-6, atol=1e-6, gradient="direct").stats.forward
    assert counts.num_rejected > 0
    assert counts.nfe == len(f.times) == start + attempt * counts.num_steps
    given = odeint(f, y0, [0.0, 1.0], method=method, first_step=0.1, gradient="direct").stats.forward
    assert given.nfe == 1 + attempt * given.num_steps


@pytest.mark.parametrize(("method", "stages"), [("adaptive_heun", 2), ("fehlberg2", 3)])
def test_a_method_that_is_not_fsal_evaluates_its_first_stage_at_every_new_point(
    method: str, stages: int
) -> None:
    y0 = torch.ones(2, dtype=torch.float64)
    counts = odeint(
        lambda t, y: -50 * (y - torch.sin(5 * t)), y0, [0.0, 1.0], method=method, gradient="direct"
    ).stats.forward
    assert counts.num_rejected > 0
    # Two to start; the last accepted step needs no next first stage.
    assert counts.nfe == 2 + (stages - 1) * counts.num_steps + counts.num_accepted - 1


def test_the_backward_counts_of_the_adjoint_are_those_of_the_augmented_solve(
    growth: Any, record: Any
) -> None:
    f = growth()
    calls = record(f.forward)
    f.forward = calls
    y0 = torch.ones(2, dtype=torch.float64)
    solution = odeint(f, y0, [0.0, 1.0], gradient="adjoint", rtol=1e-6, atol=1e-6, record_steps=True)
    forward_calls = len(calls.times)
    solution.ys[-1].sum().backward()
    backward = solution.stats.backward
    assert solution.stats.forward.nfe == forward_calls
    assert backward.nfe == len(calls.times) - forward_calls == 2 + 6 * backward.num_steps
    assert sum(dt for _, dt in backward.steps) == pytest.approx(-1.0)
    assert backward.num_accepted == len(backward.steps)


def test_the_initial_step_rule_is_asked_once_in_a_backward_solve_over_many_outputs(growth: Any) -> None:
    ts = torch.linspace(0, 1, 5, dtype=torch.float64)
    solution = odeint(growth(), torch.ones(2, dtype=torch.float64), ts, gradient="adjoint")
    solution.ys.sum().backward()
    backward = solution.stats.backward
    # Each of the four intervals starts with one evaluation at the stored state; one of them has the rule's trial.
    assert backward.nfe == 4 + 1 + 6 * backward.num_steps


def test_gradients_of_times_cost_one_backward_evaluation_each(growth: Any) -> None:
    counts = []
    for wanted in (False, True):
        ts = torch.linspace(0, 1, 5, dtype=torch.float64).requires_grad_(wanted)
        solution = odeint(growth(), torch.ones(2, dtype=torch.float64), ts, gradient="adjoint")
        solution.ys.sum().backward()
        counts.append(solution.stats.backward.nfe)
    assert counts[1] == counts[0] + 5


def test_steps_are_recorded_only_on_request() -> None:
    y0 = torch.ones(1)
    assert odeint(lambda t, y: -y, y0, [0.0, 1.0]).stats.forward.steps is None
    solution = odeint(lambda t, y: -y, y0, [0.0, 1.0], record_steps=True)
    assert len(solution.stats.forward.steps) == solution.stats.forward.num_accepted
    assert solution.stats.backward.steps == []


@pytest.mark.parametrize("gradient", ["direct", "checkpointed", "adjoint"])
def test_counts_can_be_watched_while_a_solve_runs(gradient: str) -> None:
    stats, seen = SolveStats(), []

    def f(t: Tensor, y: Tensor) -> Tensor:
        seen.append((stats.forward.nfe, stats.backward.nfe))
        return -y

    y0 = torch.ones(1, requires_grad=True)
    solution = odeint(f, y0, [0.0, 1.0], gradient=gradient, params=(), stats=stats)
    solution.ys[-1].sum().backward()
    assert solution.stats is stats
    forward = [count for count, backward in seen if backward == 0]
    assert forward[: stats.forward.nfe] == list(range(stats.forward.nfe))
    assert (max(backward for _, backward in seen) > 0) == (gradient != "direct")


def test_two_solves_count_apart() -> None:
    first, second = (odeint(lambda t, y: -y, torch.ones(1), [0.0, 1.0]).stats for _ in range(2))
    assert first is not second
    assert first == second
    assert SolveStats().forward is not SolveStats().forward


def test_counts_of_solves_add_up_and_what_one_does_not_tell_is_not_known() -> None:
    one, other = Counts(10, 3, 1, 1, 2, steps=[(0.0, 0.5)]), Counts(4, 2, 0, 1, 1)
    assert one + other == other + one == Counts(14, 5, 1, 2, 3)
    assert sum([one, other], Counts()) == one + other
    assert (one, other) == (Counts(10, 3, 1, 1, 2, steps=[(0.0, 0.5)]), Counts(4, 2, 0, 1, 1))
    assert one + Counts(4, None, None) == Counts(4, None, None) + one == Counts(14, None, None, 1, 2)
    assert (one + Counts(4, 2, None)).num_accepted == 5


@pytest.mark.parametrize(
    ("dtype", "real"),
    [(torch.float32, torch.float32), (torch.float64, torch.float64), (torch.complex64, torch.float32)],
)
def test_time_reaches_the_field_as_a_0d_tensor_of_the_states_real_dtype(
    dtype: torch.dtype, real: torch.dtype
) -> None:
    seen = set()

    def f(t: Tensor, y: Tensor) -> Tensor:
        seen.add((t.dtype, t.shape, t.device))
        return -y

    y0 = torch.ones(3, dtype=dtype)
    for ts in ([0.0, 0.5, 1.0], torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64, requires_grad=True)):
        odeint(f, y0, ts, gradient="direct")
    assert seen == {(real, torch.Size([]), y0.device)}


def test_a_time_tensor_keeps_its_graph() -> None:
    t = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    assert time_tensor(t, torch.ones(1)).requires_grad


class SharedField:
    """dy/dt = cos(t) y with cos evaluated once for all the stages of a step."""

    def __init__(self) -> None:
        self.num_shared = 0
        self.num_stages = 0

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        self.num_stages += 1
        return torch.cos(t) * y

    def at_times(self, ts: Tensor) -> list[Any]:
        self.num_shared += 1
        factors = torch.cos(ts)

        def stage(i: int) -> Any:
            def evaluate(y: Tensor) -> Tensor:
                self.num_stages += 1
                return factors[i] * y

            return evaluate

        return [stage(i) for i in range(len(ts))]


@pytest.mark.parametrize("method", ["dopri5", "bosh3", "fehlberg2", "dopri8"])
def test_a_field_of_stages_is_called_once_a_step_and_each_stage_counts(method: str) -> None:
    f = SharedField()
    solution = odeint(f, torch.ones(2, dtype=torch.float64), [0.0, 2.0], method=method, gradient="direct")
    plain = odeint(
        lambda t, y: torch.cos(t) * y,
        torch.ones(2, dtype=torch.float64),
        [0.0, 2.0],
        method=method,
        gradient="direct",
    )
    counts = solution.stats.forward
    assert counts == plain.stats.forward
    assert counts.nfe == f.num_stages
    assert f.num_shared == counts.num_steps + 1  # one for the trial of the initial-step rule
    torch.testing.assert_close(solution.ys, plain.ys, rtol=1e-14, atol=0)


def test_a_field_of_stages_must_have_one_for_each_time() -> None:
    class OneStage(SharedField):
        def at_times(self, ts: Tensor) -> list[Any]:
            return super().at_times(ts)[:1]

    with pytest.raises(ValueError, match="`at_times` returned 1 callables for 3 times"), torch.no_grad():
        odeint(OneStage(), torch.ones(2), [0.0, 1.0], method="rk4", dt=0.5)


def test_a_field_that_fails_its_check_names_both_shapes_and_dtypes() -> None:
    f = CountedField(lambda t, y: torch.ones(3), (), Counts())
    with pytest.raises(
        ValueError, match=r"returned \(3,\) torch.float32 for a state of \(2,\) torch.float32"
    ):
        f(0.0, torch.ones(2))


@pytest.mark.parametrize("gradient", ["direct", "checkpointed", "adjoint"])
@pytest.mark.parametrize("state", [ONE, (ONE, ONE)])
def test_a_field_that_changes_its_state_is_an_error(state: Any, gradient: str) -> None:
    def f(t: Tensor, y: Any) -> Any:
        (y if isinstance(y, Tensor) else y[1]).mul_(2)
        return y

    with pytest.raises(ValueError, match="the vector field changed its state in place"):
        odeint(f, state, [0.0, 1.0], gradient=gradient)


METHODS_WITH_STEPS: list[tuple[str, dict[str, float]]] = [
    ("dopri5", {}), ("fehlberg2", {}), ("rk4", {"dt": 0.1}), ("explicit_adams", {"dt": 0.1}),
    ("implicit_adams", {"dt": 0.1}),
]  # fmt: skip


@pytest.mark.parametrize("no_grad", [True, False])
@pytest.mark.parametrize(("method", "options"), METHODS_WITH_STEPS)
def test_a_field_may_return_the_same_memory_at_every_call(method: str, options: Any, no_grad: bool) -> None:
    memory = torch.empty_like(ONE)

    def f(t: Tensor, y: Tensor) -> Tensor:
        return torch.neg(y, out=memory)

    with torch.set_grad_enabled(not no_grad):
        ys = odeint(f, ONE, [0.0, 0.4, 1.0], method=method, gradient="direct", **options).ys
        plain = odeint(lambda t, y: -y, ONE, [0.0, 0.4, 1.0], method=method, gradient="direct", **options).ys
    torch.testing.assert_close(ys, plain, rtol=1e-14, atol=0)
