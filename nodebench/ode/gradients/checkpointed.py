"""Checkpointed gradients: the direct gradient, with one state kept a step instead of its graph.

The forward solve stores (t, dt, y) of each accepted step; backward() takes the steps again one by one, last first,
and differentiates each. The result is that of `direct` to rounding, at the memory of the states and of one step.

Source: the idea is Zhuang et al., "Adaptive Checkpoint Adjoint", ICML 2020 (arXiv 2006.02493).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from nodebench.ode.budget import Limits
from nodebench.ode.clock import StepRecord
from nodebench.ode.drive.outputs import state_inside, step_outputs, with_end_slope
from nodebench.ode.drive.solver import Start
from nodebench.ode.field import CountedField
from nodebench.ode.gradients.problem import (
    Outputs,
    Problem,
    Watched,
    inspecting,
    refuse_double_backward,
    watch,
)
from nodebench.ode.methods.method import Method, Step, Steps


class _Checkpoints:
    """Observer that keeps where each accepted step started."""

    def __init__(self) -> None:
        self.records: list[StepRecord] = []
        self.states: list[Tensor] = []

    def on_accept(self, record: StepRecord, y0: Tensor, f0: Tensor, step: Step) -> None:
        """See Observer."""
        self.records.append(record)
        self.states.append(y0)


def solve_checkpointed(problem: Problem) -> Outputs:
    """Solve without a graph; gradients flow to y0, the output times, tensor arguments and parameters."""
    watched = watch(problem)
    box: list[Outputs] = []
    ys = _Checkpointed.apply(problem, watched, box, problem.y0, problem.clock.tensor, *watched.tensors)
    return Outputs(problem.without_events(ys), box[0].error)


class _Checkpointed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        problem: Problem,
        watched: Watched,
        box: list[Outputs],
        y0: Tensor,
        ts: Tensor | None,
        *tensors: Tensor,
    ) -> Tensor:
        leaves = watched.leaves(tensors)
        f = CountedField(problem.f, watched.rebuild_args(leaves), problem.stats.forward)
        f.inspect_first(inspecting(leaves, "checkpointed"))
        checkpoints = _Checkpoints()
        clock = problem.clock.as_constants()
        result = problem.solver.solve(
            Start(f, y0.detach(), clock, observers=(*problem.observers, checkpoints), watch=problem.watch)
        )
        box.append(problem.outputs(result))
        ctx.problem, ctx.watched = problem.without_tensors(), watched.without_tensors()
        ctx.records = checkpoints.records
        ctx.num_tensors = len(tensors)
        ctx.save_for_backward(ts, *tensors, *checkpoints.states)
        return problem.with_events(box[0].ys)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        refuse_double_backward("checkpointed")
        (grad_ys,) = grad_outputs
        ts, *rest = ctx.saved_tensors
        tensors, states = ctx.watched.leaves(rest[: ctx.num_tensors]), rest[ctx.num_tensors :]
        leaves = [tensor for tensor in tensors if tensor.requires_grad]
        has_events = len(grad_ys) > len(ctx.problem.clock.ts)
        replay = _Replay(ctx.problem, ctx.watched.rebuild_args(tensors), ts, leaves, has_events)
        adj_y = torch.zeros_like(grad_ys[0])
        row = len(grad_ys)  # of the first event that the steps ahead have met
        for record, y0 in zip(reversed(ctx.records), reversed(states), strict=True):
            row -= len(record.events)
            adj_y = replay.pull_back(record, y0, adj_y, grad_ys, row)
        grads = iter(replay.grads)
        tensor_grads = [next(grads) if tensor.requires_grad else None for tensor in tensors]
        return None, None, None, adj_y + grad_ys[0], replay.grad_ts, *tensor_grads


class _Replay:
    """Takes the steps again and adds up what each one's gradient gives to the leaves and the output times."""

    def __init__(
        self,
        problem: Problem,
        args: tuple[Any, ...],
        ts: Tensor | None,
        leaves: list[Tensor],
        has_events: bool,
    ) -> None:
        method = problem.solver.method
        assert isinstance(method, Method), "the front door admits only methods that take single steps again"
        self._method, self._problem = method, problem
        self._f = CountedField(problem.f, args, problem.stats.backward)
        self._ts = None if ts is None else ts.detach().requires_grad_()
        self._clock = replace(problem.clock, tensor=self._ts)
        self._steps: Steps | None = None
        self._leaves, self._has_events = leaves, has_events
        self.grads: list[Tensor | None] = [None] * len(leaves)
        self.grad_ts: Tensor | None = None

    @torch.enable_grad()
    def pull_back(
        self, record: StepRecord, y0: Tensor, adj_y1: Tensor, grad_ys: Tensor, event_row: int
    ) -> Tensor:
        """adj_y at the start of a step from adj_y at its end and the gradients of its outputs and events."""
        y = y0.detach().requires_grad_()
        steps = self._begun(y)
        f0 = steps.first(record, y)
        step = steps.take(record, y, f0)
        if not isinstance(step, Step):  # Newton's iteration starts elsewhere than in the solve
            raise type(step)(f"in the backward pass of checkpointed: {step}")
        outputs, step = step_outputs(self._f, self._clock, record, y, f0, step)
        if record.events:
            step = with_end_slope(self._f, self._clock, record, step)
            for row, t in enumerate(record.events, start=event_row):
                outputs[row] = state_inside(self._clock, record, y, f0, step, t)
        y1 = step.y1
        roots = [(y1, adj_y1), *((value, grad_ys[i]) for i, value in outputs.items())]
        roots = [(value, grad) for value, grad in roots if value.requires_grad]
        times = [] if self._ts is None else [self._ts]
        values, cotangents = zip(*roots, strict=True)
        adj_y0, *grads = torch.autograd.grad(
            values, [y, *times, *self._leaves], cotangents, allow_unused=True, materialize_grads=False
        )
        if self._ts is not None:
            self.grad_ts = _add(self.grad_ts, grads.pop(0))
        self.grads = [_add(total, grad) for total, grad in zip(self.grads, grads, strict=True)]
        return adj_y0

    def _begun(self, y: Tensor) -> Steps:
        """What takes the steps again, each of which autograd records."""
        if self._steps is None:
            start = Start(self._f, y, self._clock, autograd=True)
            # Where events were looked for, each step came with all that its interpolant needs.
            course = start.course(Limits(), self._problem.solver.accuracy)._replace(dense=self._has_events)
            self._steps = self._method.begin(course)
        return self._steps


def _add(total: Tensor | None, grad: Tensor | None) -> Tensor | None:
    return grad if total is None else total if grad is None else total + grad
