"""Adjoint gradients: the continuous adjoint, solved backwards in time (the paper's ODE-Net).

With a(t) = +dL/dy(t) (adj_y here; the paper's z is y):

    da/dt     = -a^T df/dy                                  eq. 4
    dL/dtheta = integral from t0 to t1 of a^T df/dtheta dt  eq. 5 (there as minus the integral from t1 to t0)
    dL/dt1    = a(t1).f(t1)
    dL/dt0    = -a(t0).f(t0), a(t0) without the gradient that enters at ts[0] itself

Two slips that circulate: a = -dL/dy with the other signs kept, which flips every gradient; and dL/dtheta as the
integral from t1 to t0 of a^T df/dtheta without the minus.

At every output time y is reset to its stored value and the output's gradient is added to a (Algorithm 1 and
Appendix C). The result is the gradient of the ODE up to the tolerances of both solves, not that of the discrete solve.

Behind an implicit method, y is not solved backwards: where a system contracts fast, its y backwards grows as fast and
any error with it. There f is evaluated along the interpolants of the forward solve, which are kept for it: three
states a step. Where y is solved backwards and does not come back to the stored outputs, an AdjointDriftWarning says so.

The parameters' integral rides along as the last part of the state, which f does not read: a Runge-Kutta method sums it
at the end of a step, with the same numbers as if it carried it through the stages.

Source: Chen et al., "Neural Ordinary Differential Equations", NeurIPS 2018 (arXiv 1806.07366), section 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor

from nodebench.ode.counts import Counts
from nodebench.ode.drive.dense import DenseOutput
from nodebench.ode.drive.solver import Start, alone
from nodebench.ode.field import CountedField
from nodebench.ode.gradients.augmented import AugmentedField
from nodebench.ode.gradients.drift import coarser, has_drifted, suspect, warn_of_drift
from nodebench.ode.gradients.problem import (
    Outputs,
    Problem,
    Stop,
    Watched,
    inner,
    inspecting,
    refuse_double_backward,
    watch,
)
from nodebench.ode.norms import Accuracy


def solve_adjoint(problem: Problem) -> Outputs:
    """Solve without a graph; gradients flow to y0, the output times, tensor arguments and parameters."""
    watched = watch(problem)
    box: list[Outputs] = []
    ys = _Adjoint.apply(problem, watched, box, problem.y0, problem.clock.tensor, *watched.tensors)
    return Outputs(problem.without_events(ys), box[0].error)


class _Adjoint(torch.autograd.Function):
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
        f.inspect_first(inspecting(leaves, "adjoint"))
        clock = problem.clock.as_constants()
        path = DenseOutput(clock) if problem.solver.method.traits.is_implicit else None
        observers = problem.observers if path is None else (*problem.observers, path)
        result = problem.solver.solve(Start(f, y0.detach(), clock, observers=observers, watch=problem.watch))
        if path is not None:
            path.close(f)
        box.append(problem.outputs(result))
        ys = problem.with_events(box[0].ys)
        ctx.problem, ctx.watched = problem.without_tensors(), watched.without_tensors()
        ctx.path = path
        ctx.stops = problem.stops(len(result.outputs))
        ctx.ts_like = None if ts is None else ts.new_zeros(len(ts))
        ctx.save_for_backward(ys, *tensors)
        return ys

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        refuse_double_backward("adjoint")
        (grad_ys,) = grad_outputs
        ys, *saved = ctx.saved_tensors
        tensors = ctx.watched.leaves(saved)
        args = ctx.watched.rebuild_args(tensors)
        leaves = [tensor for tensor in tensors if tensor.requires_grad]
        # Made anew: over a kept graph, an earlier backward() may have handed its own out.
        grad_ts = None if ctx.ts_like is None else torch.zeros_like(ctx.ts_like)
        backward = _BackwardSolve(ctx.problem, args, ys, leaves, ctx.path)
        adj_y0 = backward.run(grad_ys, grad_ts, ctx.stops)
        backward.warn_of_drift()
        grads = iter(backward.parameter_grads())
        tensor_grads = [next(grads) if tensor.requires_grad else None for tensor in tensors]
        return None, None, None, adj_y0, grad_ts, *tensor_grads


class _BackwardSolve:
    """The augmented system solved from the last output time to the first."""

    def __init__(
        self,
        problem: Problem,
        args: tuple[Any, ...],
        ys: Tensor,
        leaves: list[Tensor],
        path: DenseOutput | None,
    ) -> None:
        adjoint = problem.adjoint
        assert adjoint is not None, "the front door sets how the adjoint is solved"
        self._problem, self._ys, self._clock = problem, ys, problem.clock
        self._leaves = leaves
        self._path = path
        self._drifts: list[
            tuple[Stop, Stop, Tensor]
        ] = []  # by how many tolerances y came back off, from where to where
        sizes = [leaf.numel() for leaf in leaves]
        self._solver = adjoint.make_solver(adjoint.make_norm(problem.block_sizes, sizes))
        accuracies = (solver.accuracy or Accuracy() for solver in (problem.solver, self._solver))
        self._accuracy = coarser(*accuracies)
        self._f = CountedField(problem.f, args, problem.stats.backward)
        self._field = AugmentedField(self._f, ys[0], leaves, None if path is None else path.nearest)
        self._integral = self._field.no_integral

    def run(self, grad_ys: Tensor, grad_ts: Tensor | None, stops: Sequence[Stop]) -> Tensor:
        """dL/dy0; dL/dts is written to grad_ts where it is wanted. grad_ys has the shape of ys.

        What is not among the stops, which begin at row 0, are the constants of a solve that ended before them.
        """
        first, *others = stops
        meetings = [list(met) for _, met in groupby(reversed(others), key=attrgetter("t"))]
        if not meetings or meetings[-1][0].t != first.t:
            meetings.append([first])
        ys, last = self._ys, len(meetings) - 1

        def behind(i: int, state: Tensor) -> Tensor:
            """adj_y behind the stops of a meeting, from the state before them."""
            y, adj_y, self._integral = self._field.split(state)
            if self._path is None:
                stop, before = meetings[i - 1][-1], meetings[i][0]
                self._drifts.append((stop, before, self._off(y, before)))
            return self._met(meetings[i], adj_y, grad_ys, grad_ts)

        def start(i: int, adj_y: Tensor) -> Tensor:
            """The state that is solved from there on."""
            return self._field.pack(ys[meetings[i][-1].row], adj_y, self._integral)

        adj_y = self._met(meetings[0], torch.zeros_like(ys[0]), grad_ys, grad_ts)
        if last > 0:
            clock = self._clock.through([met[0].t for met in meetings])
            from_there = Start(self._field, start(0, adj_y), clock, enter=lambda i, y: start(i, behind(i, y)))
            result = self._solver.solve(from_there)
            if result.error is not None:
                raise type(result.error)(f"in the backward solve of the adjoint: {result.error}")
            adj_y = behind(last, result.outputs[-1])
        if grad_ts is not None:
            grad_ts[0] = -inner(adj_y, self._f(first.t, ys[0]))
        return adj_y + grad_ys[0]

    def _met(self, stops: Sequence[Stop], adj_y: Tensor, grad_ys: Tensor, grad_ts: Tensor | None) -> Tensor:
        """adj_y with the gradients that enter at stops of one time; that of row 0 enters at the very end."""
        for row, t in stops:
            if row == 0:
                continue
            if grad_ts is not None and row < len(grad_ts):
                grad_ts[row] = inner(grad_ys[row], self._f(t, self._ys[row]))
            adj_y = adj_y + grad_ys[row]
        return adj_y

    def warn_of_drift(self) -> None:
        """Say so if y solved backwards did not come back to where it had been; one wait for the device if it did."""
        worst = suspect([drift for _, _, drift in self._drifts])
        if worst is None:
            return
        stop, before, drift = self._drifts[worst]
        if has_drifted(drift, self._off_before(stop, before)):
            warn_of_drift("method=`kvaerno5`, which keeps y")

    @torch.no_grad()
    def _off_before(self, stop: Stop, before: Stop) -> Tensor | float:
        """By how many tolerances the output at a stop was off, seen from the one before; 1 where none can tell."""
        counts = Counts()
        f = CountedField(self._f.f, self._f.args, counts)
        clock = self._clock.through((before.t, stop.t))
        result = alone(self._problem.solver).solve(Start(f, self._ys[before.row], clock))
        self._f.counts.nfe += counts.nfe
        return 1.0 if result.error is not None else self._off(result.outputs[-1], stop)

    def _off(self, y: Tensor, stop: Stop) -> Tensor:
        """How far y is from the output at a stop, in tolerances."""
        stored = self._ys[stop.row]
        return self._accuracy.error_ratio(y - stored, stored, stored)

    def parameter_grads(self) -> list[Tensor | None]:
        """dL/d(leaf) for each leaf; None for one that f never used."""
        integrals = self._integral.split([leaf.numel() for leaf in self._leaves])
        return [
            (integral if leaf.is_complex() else integral.real).view_as(leaf) if used else None
            for integral, leaf, used in zip(integrals, self._leaves, self._field.used, strict=True)
        ]
