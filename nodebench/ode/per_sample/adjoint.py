"""Adjoint gradients where samples have steps of their own: see gradients/adjoint.py.

Each sample's [y, a] is solved backwards from output to output with steps, error and controller of its own; all samples
wait for each other at the outputs, which may be at times of their own. The parameters' integral is a quadrature along
the way (see augmented.py), so it does not count in the norm.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from nodebench.ode.counts import Counts
from nodebench.ode.gradients.drift import coarser, has_drifted, suspect, warn_of_drift
from nodebench.ode.gradients.problem import Watched, inspecting, refuse_double_backward
from nodebench.ode.per_sample.augmented import AugmentedRows
from nodebench.ode.per_sample.course import SampleCourse
from nodebench.ode.per_sample.loop import solve_rows
from nodebench.ode.per_sample.outputs import SampleResult
from nodebench.ode.per_sample.problem import SampleProblem, solve_by
from nodebench.ode.per_sample.rows import RowField
from nodebench.ode.per_sample.step import RowSteps, to_device
from nodebench.ode.per_sample.times import Floats, SampleTimes
from nodebench.ode.status import SolverError


def solve_adjoint(problem: SampleProblem) -> SampleResult:
    """Solve without a graph; gradients flow to y0, tensor arguments and parameters."""
    return solve_by(_Adjoint, problem)


class _Adjoint(torch.autograd.Function):
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
        f.inspect_first(inspecting(leaves, "adjoint"))
        box.append(problem.solve(f, y0.detach()))
        ctx.problem, ctx.watched = problem.without_tensors(), watched.without_tensors()
        ctx.is_reached = box[0].is_reached
        ctx.save_for_backward(box[0].ys, *tensors)
        return box[0].ys

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        refuse_double_backward("adjoint")
        (grad_ys,) = grad_outputs
        ys, *saved = ctx.saved_tensors
        tensors = ctx.watched.leaves(saved)
        backward = _BackwardSolve(ctx.problem, ctx.watched.rebuild_args(tensors), tensors, len(ys[0]))
        adj_y0 = backward.run(ys, grad_ys, ctx.is_reached)
        backward.warn_of_drift(ys)
        grads = iter(backward.field.grads)
        tensor_grads = [next(grads) if tensor.requires_grad else None for tensor in tensors]
        return None, None, None, adj_y0, *tensor_grads


class _BackwardSolve:
    """The augmented rows solved from the last output to the first."""

    def __init__(
        self, problem: SampleProblem, args: tuple[Any, ...], tensors: tuple[Tensor, ...], num_samples: int
    ) -> None:
        assert problem.adjoint is not None, "the front door says how the adjoint is solved"
        self._problem, (self._tableau, self._control) = problem, problem.adjoint
        self._accuracy = coarser(problem.control.accuracy, self._control.accuracy)
        f = RowField(problem.f, args, problem.stats.backward)
        leaves = [tensor for tensor in tensors if tensor.requires_grad]
        self.field = AugmentedRows(f, leaves, self._tableau, num_samples)
        self._args = args
        self._next_steps: Floats | None = None
        self._drifts: list[
            tuple[SampleTimes, int, Tensor]
        ] = []  # by how many tolerances each y came back off

    def run(self, ys: Tensor, grad_ys: Tensor, is_reached: np.ndarray) -> Tensor:
        """dL/dy0 of outputs ys (T, B, n) with gradients grad_ys; those not reached are constants."""
        adj_y = torch.zeros_like(ys[0])
        for i in range(len(ys) - 1, 0, -1):
            reached = is_reached[i]
            mask = to_device(reached, adj_y).unsqueeze(1)
            adj_y = adj_y + torch.where(mask, grad_ys[i], 0.0)
            ts = self._problem.times.between(i, i - 1).ts.copy()
            # Samples wait for the outputs that they reached where another one is, as f need not be finite elsewhere.
            at = np.where(reached, np.arange(len(reached)), reached.argmax())
            ts[~reached] = ts[at[~reached], :1]
            times = SampleTimes(ts, None, self._problem.times.rounding)
            state = torch.cat([ys[i].index_select(0, to_device(at, adj_y)), adj_y], dim=1)
            y, adj_y = self._solve(times, state).chunk(2, dim=1)
            drift = torch.where(mask.squeeze(1), self._off(y, ys[i - 1]), 0.0)
            self._drifts.append((times, i, drift))
        return adj_y + grad_ys[0]

    def warn_of_drift(self, ys: Tensor) -> None:
        """Say so if a y solved backwards did not come back to where it had been; one wait for the device."""
        worst = suspect([drift for _, _, drift in self._drifts])
        if worst is None:
            return
        times, i, drift = self._drifts[worst]
        if has_drifted(drift, self._off_before(times, ys[i - 1], ys[i])):
            warn_of_drift('method=`kvaerno5` with steps="shared", which keeps y')

    @torch.no_grad()
    def _off_before(self, times: SampleTimes, before: Tensor, stored: Tensor) -> Tensor | float:
        """By how many tolerances outputs were off, seen from those before; 1 where none can tell."""
        problem, counts = self._problem, Counts()
        f, control = RowField(problem.f, self._args, counts), problem.control
        forwards = SampleTimes(times.ts[:, ::-1].copy(), None, times.rounding)
        course = SampleCourse(f, forwards, before, control, counts, is_whole=problem.is_whole)
        try:
            result = solve_rows(
                course,
                RowSteps(problem.tableau, f, control.accuracy, recorded=False),
                problem.tableau.order,
            )
        except SolverError:
            return 1.0
        finally:
            self.field.counts.nfe += counts.nfe
        return self._off(result.ys[-1], stored)

    def _off(self, y: Tensor, stored: Tensor) -> Tensor:
        """How far each sample's y is from an output, in tolerances, (B,)."""
        return self._accuracy.error_ratio(y - stored, stored, stored)

    def _solve(self, times: SampleTimes, state: Tensor) -> Tensor:
        """The state at the end of an interval."""
        course = SampleCourse(
            self.field,
            times,
            state,
            self._control,
            self.field.counts,
            retakes=True,
            is_whole=self._problem.is_whole,
            first_steps=self._next_steps,
            observers=(self.field,),
        )
        steps = RowSteps(self._tableau, self.field, self._control.accuracy, recorded=False)
        try:
            result = solve_rows(course, steps, self._tableau.order)
        except SolverError as error:
            raise type(error)(f"in the backward solve of the adjoint: {error}") from error
        self._next_steps = result.next_steps
        return result.ys[-1]
