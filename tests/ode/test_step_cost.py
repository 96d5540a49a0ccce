"""What a step costs beside its evaluations: operations handed to torch, bytes allocated, functions called. No clock."""

from __future__ import annotations

import sys
from collections import Counter
from types import FrameType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from nodebench.ode import odeint

STEPS = (4, 9)  # the difference between two solves leaves out what is done once


class Halving(nn.Module):
    """One operation an evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.tensor(-0.5))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return y * self.rate


class Operations(TorchDispatchMode):
    """Counts what reaches torch's dispatcher, by name; views cost nothing on a device and are left out."""

    VIEWS = ("view", "detach", "t.", "select", "slice", "_unsafe_view", "expand", "split", "reshape", "alias")

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.new_bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func).removeprefix("aten.")
        result = func(*args, **(kwargs or {}))
        if not name.startswith(self.VIEWS):
            self.counts[name] += 1
            in_place = name.split(".")[0].endswith("_")
            self.new_bytes += result.nbytes if isinstance(result, Tensor) and not in_place else 0
        return result


def solve(num_steps: int, gradient: str, shape: tuple[int, ...] = (8,)) -> Tensor:
    """A loss after `num_steps` accepted steps of one size, whose error is far below the tolerance."""
    size = {"first_step": 0.01, "max_step": 0.01}
    y0 = torch.ones(shape).requires_grad_(gradient != "forward")
    mode = {"gradient": "direct" if gradient == "forward" else gradient, "adjoint_norm": "state"}
    solution = odeint(Halving(), y0, [0.0, 0.01 * num_steps], rtol=1e-3, atol=1e-3, **size, **mode)  # type: ignore[arg-type]
    assert solution.stats.forward.num_accepted == num_steps
    assert solution.stats.forward.num_rejected == 0
    return solution.ys[-1].sum()


def cost_a_step(gradient: str, backward: bool, shape: tuple[int, ...] = (8,)) -> tuple[float, float]:
    """Operations and new bytes of one more step."""
    totals = []
    for num_steps in STEPS:
        if backward:
            loss = solve(num_steps, gradient, shape)
            with Operations() as operations:
                loss.backward()
        else:
            with torch.set_grad_enabled(gradient != "forward"), Operations() as operations:
                solve(num_steps, gradient, shape)
        totals.append((operations.counts.total(), operations.new_bytes))
    (few, few_bytes), (many, many_bytes) = totals
    added = STEPS[1] - STEPS[0]
    return (many - few) / added, (many_bytes - few_bytes) / added


# Forwards without a graph: of each of six stages its time, sum, evaluation and copy into the buffer, and a copy of the
# last one to the first: 25. The error and its norm: ten, and one wait.
@pytest.mark.parametrize(
    ("gradient", "forward", "backward"),
    [("forward", 36, None), ("direct", 47, 64), ("checkpointed", 36, 96), ("adjoint", 36, 66)],
)
def test_a_step_hands_no_more_operations_to_torch(gradient: str, forward: int, backward: int | None) -> None:
    assert cost_a_step(gradient, backward=False)[0] <= forward
    if backward is not None:
        assert cost_a_step(gradient, backward=True)[0] <= backward


@pytest.mark.parametrize("gradient", ["direct", "checkpointed"])
@pytest.mark.parametrize("method", ["dopri5", "dopri8", "tsit5"])
def test_more_outputs_inside_the_same_steps_are_no_more_operations(method: str, gradient: str) -> None:
    totals = []
    for num_outputs in (11, 11, 101):  # what is made once for a method is made in the first
        with Operations() as operations:
            solution = odeint(
                Halving(),
                torch.ones(8, requires_grad=True),
                torch.linspace(0, 3, num_outputs),
                method=method,
                gradient=gradient,
                first_step=1.0,
                max_step=1.0,
            )
            solution.ys.square().sum().backward()
        assert solution.stats.forward.num_accepted == 3
        totals.append(operations.counts.total())
    assert totals[1] == totals[2]


def num_calls(num_steps: int, gradient: str) -> int:
    """Functions of Python and of C called by a solve: what it costs where the field is small.

    Three more where other tests ran before in this process.
    """
    num = 0

    def count(frame: FrameType, event: str, arg: object) -> None:
        nonlocal num
        num += event in ("call", "c_call")

    before = sys.getprofile()
    with torch.set_grad_enabled(gradient != "forward"):
        solve(num_steps, gradient)  # what is looked up once is looked up here
        sys.setprofile(count)
        try:
            solve(num_steps, gradient)
        finally:
            sys.setprofile(before)
    return num


@pytest.mark.parametrize(
    ("gradient", "of_a_step", "of_a_solve"), [("forward", 195, 352), ("direct", 282, 331)]
)
def test_a_step_and_a_solve_call_few_functions(gradient: str, of_a_step: int, of_a_solve: int) -> None:
    few, many = (num_calls(num_steps, gradient) for num_steps in STEPS)
    a_step = (many - few) / (STEPS[1] - STEPS[0])
    assert a_step <= of_a_step
    assert few - STEPS[0] * a_step <= of_a_solve


def num_calls_backwards(num_outputs: int) -> int:
    """Functions called by a backward solve of one step an output."""
    num = 0

    def count(frame: FrameType, event: str, arg: object) -> None:
        nonlocal num
        num += event in ("call", "c_call")

    before = sys.getprofile()
    for is_counted in (False, True):  # what is looked up once is looked up in the first
        ts = [0.01 * i for i in range(num_outputs)]
        y0, size = torch.ones(8, requires_grad=True), {"first_step": 0.01, "max_step": 0.01}
        solution = odeint(Halving(), y0, ts, rtol=1e-3, atol=1e-3, gradient="adjoint", **size)  # type: ignore[arg-type]
        loss = solution.ys.sum()
        sys.setprofile(count if is_counted else before)
        try:
            loss.backward()
        finally:
            sys.setprofile(before)
        assert solution.stats.backward.num_accepted == num_outputs - 1
    return num


def test_the_adjoint_begins_no_solve_anew_at_an_output() -> None:
    few, many = (num_calls_backwards(num_outputs) for num_outputs in (4, 9))
    assert (many - few) / 5 <= 870


def test_a_step_without_a_graph_makes_one_state_a_stage_beside_what_f_makes_and_four_for_its_error() -> None:
    shape = (1000,)
    _, num_bytes = cost_a_step("forward", backward=False, shape=shape)
    state_bytes = 4 * 1000
    assert num_bytes / state_bytes == pytest.approx(6 + 6 + 4, abs=0.05)  # what is left are times and norms


def test_the_adjoint_makes_no_more_of_its_parameters_than_a_step_needs() -> None:
    """A product a needed stage, in one vector each, and the sum over them."""
    few, many = (adjoint_bytes(num_params) for num_params in (1000, 3000))
    # Of seven stages six have weight or are the next step's first: a product, its flat copy and the sum of all.
    assert (many - few) / (4 * 2000) <= 6 * 3 + 1


def adjoint_bytes(num_params: int) -> float:
    """New bytes of one more step of the backward solve of a field with so many parameters."""
    rates = torch.full((num_params,), -0.5 / num_params).requires_grad_()
    totals = []
    for num_steps in STEPS:
        size = {"first_step": 0.01, "max_step": 0.01}
        solution = odeint(
            lambda t, y: y * rates.sum(),
            torch.ones(2).requires_grad_(),
            [0.0, 0.01 * num_steps],
            gradient="adjoint",
            adjoint_norm="state",
            params=(rates,),
            **size,  # type: ignore[arg-type]
        )
        loss = solution.ys[-1].sum()
        with Operations() as operations:
            loss.backward()
        totals.append(operations.new_bytes)
    return (totals[1] - totals[0]) / (STEPS[1] - STEPS[0])
