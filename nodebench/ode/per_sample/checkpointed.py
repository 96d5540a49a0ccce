"""Checkpointed gradients where samples have steps of their own: see gradients/checkpointed.py.

Of each pass of the loop the rows whose step stands are kept, with where they went; backward() takes these steps again,
last pass first. Where the batch stays whole the other rows are taken along with dt = 0, a step to where they are.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nodebench.ode.gradients.problem import Watched, inspecting, refuse_double_backward
from nodebench.ode.per_sample.control import Booleans, Hits, Integers, Plan
from nodebench.ode.per_sample.course import Trial
from nodebench.ode.per_sample.outputs import SampleResult
from nodebench.ode.per_sample.problem import SampleProblem, solve_by, still_samples
from nodebench.ode.per_sample.rows import RowField
from nodebench.ode.per_sample.step import to_device


class Taken(NamedTuple):
    """Steps of one pass: of which samples, from when to when, and the outputs that they yield, by their place here."""

    samples: Integers
    plan: Plan
    hits: Hits | None


class _Checkpoints:
    """Observer that keeps where each accepted step started."""

    def __init__(self, is_whole: bool) -> None:
        self._is_whole = is_whole
        self.taken: list[Taken] = []
        self.states: list[Tensor] = []

    def on_start(self, samples: Integers, goes_on: Booleans) -> None:
        """See TrialObserver."""

    def on_trial(self, trial: Trial) -> None:
        """See TrialObserver."""
        accepted, plan, hits, y0 = trial.accepted, trial.plan, trial.hits, trial.y0
        if not accepted.any():
            return
        if self._is_whole:
            dt = np.where(accepted, plan.dt, 0.0)
            self.taken.append(Taken(trial.samples, Plan(plan.t, plan.t + dt, dt), hits))
        else:
            rows = np.nonzero(accepted)[0]
            if hits is not None:
                hits = hits._replace(row=(np.cumsum(accepted) - 1)[hits.row])
            plan = Plan(*(numbers[rows] for numbers in plan))
            self.taken.append(Taken(trial.samples[rows], plan, hits))
            y0 = y0 if accepted.all() else y0.index_select(0, to_device(rows, y0))
        self.states.append(y0)


def solve_checkpointed(problem: SampleProblem) -> SampleResult:
    """Solve without a graph; gradients flow to y0, tensor arguments and parameters."""
    return solve_by(_Checkpointed, problem)


class _Checkpointed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        problem: SampleProblem,
        watched: Watched,
        box: list[SampleResult],
        y0: Tensor,
        *tensors: Tensor,
    ) -> Tensor:
        leaves = watched.leaves(tensors)
        f = RowField(problem.f, watched.rebuild_args(leaves), problem.stats.forward)
        f.inspect_first(inspecting(leaves, "checkpointed"))
        checkpoints = _Checkpoints(problem.is_whole)
        box.append(problem.solve(f, y0.detach(), (checkpoints,)))
        ctx.problem, ctx.watched = problem.without_tensors(), watched.without_tensors()
        ctx.taken, ctx.num_tensors = checkpoints.taken, len(tensors)
        ctx.save_for_backward(*tensors, *checkpoints.states)
        return box[0].ys

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        refuse_double_backward("checkpointed")
        (grad_ys,) = grad_outputs
        saved = ctx.saved_tensors
        tensors, states = ctx.watched.leaves(saved[: ctx.num_tensors]), saved[ctx.num_tensors :]
        replay = _Replay(ctx.problem, ctx.watched.rebuild_args(tensors), tensors)
        adj_y = grad_ys[0].clone()
        still = still_samples(ctx.problem.times, adj_y)
        adj_y.index_add_(0, still, grad_ys[1:].index_select(1, still).sum(0))
        later = torch.zeros_like(adj_y)
        for taken, y0 in zip(reversed(ctx.taken), reversed(states), strict=True):
            samples = to_device(taken.samples, later)
            adj_y0 = replay.pull_back(taken, y0, later.index_select(0, samples), grad_ys)
            later.index_copy_(0, samples, adj_y0)
        grads = iter(replay.grads)
        tensor_grads = [next(grads) if tensor.requires_grad else None for tensor in tensors]
        return None, None, None, adj_y + later, *tensor_grads


class _Replay:
    """Takes the steps again and adds up what each one's gradient gives to the leaves."""

    def __init__(self, problem: SampleProblem, args: tuple[Any, ...], tensors: tuple[Tensor, ...]) -> None:
        self._f = RowField(problem.f, args, problem.stats.backward)
        self._steps = problem.make_steps(self._f, None, True)
        self._leaves = [tensor for tensor in tensors if tensor.requires_grad]
        self.grads: list[Tensor | None] = [None] * len(self._leaves)

    @torch.enable_grad()
    def pull_back(self, taken: Taken, y0: Tensor, adj_y1: Tensor, grad_ys: Tensor) -> Tensor:
        """adj_y at the starts of steps from adj_y at their ends and the gradients of their outputs."""
        y, plan, hits = y0.detach().requires_grad_(), taken.plan, taken.hits
        f0 = self._f(to_device(plan.t, y), y)
        step = self._steps.take(plan, y, f0)
        roots = [(step.y1, adj_y1)]
        if hits is not None:
            if step.f1 is None and self._steps.tableau.interpolant is None and (hits.theta < 1.0).any():
                step = step._replace(f1=self._f(to_device(plan.t1, y), step.y1))
            for values, of in self._steps.outputs(plan, y, f0, step, hits):
                samples, outputs = to_device(taken.samples[of.row], y), to_device(of.output, y)
                roots.append((values, grad_ys[outputs, samples]))
        ends, cotangents = zip(*roots, strict=True)
        inputs = [y, *self._leaves]
        adj_y0, *grads = torch.autograd.grad(ends, inputs, cotangents, allow_unused=True)
        self.grads = [
            grad if total is None else total if grad is None else total + grad
            for total, grad in zip(self.grads, grads, strict=True)
        ]
        return adj_y0
