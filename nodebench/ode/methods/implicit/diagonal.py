"""Diagonally implicit Runge-Kutta steps: stage after stage solved by Newton's iteration with one matrix a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from nodebench.ode.clock import StepRecord, end_time, start_time
from nodebench.ode.field import Time, kept
from nodebench.ode.methods.implicit.gradient import implicitly
from nodebench.ode.methods.implicit.jacobian import make_jacobians
from nodebench.ode.methods.implicit.matrices import Matrices
from nodebench.ode.methods.implicit.newton import MAX_TURNS, MAX_TURNS_ON_GRID, Factors, Newton, Trouble
from nodebench.ode.methods.implicit.tableau import DiagonalTableau
from nodebench.ode.methods.method import Course, Step, Steps
from nodebench.ode.methods.stages import weighted_sum
from nodebench.ode.methods.traits import Traits, of_diagonal
from nodebench.ode.status import SolverError

FAST = 1e-3  # turns that shrink by no more keep the Jacobian for the next step (RADAU5's THET)


@dataclass(frozen=True)
class DiagonallyImplicit:
    """The method of a tableau. A step costs one factorisation, and a Jacobian where the last one serves no longer."""

    tableau: DiagonalTableau

    @cached_property
    def traits(self) -> Traits:
        """See Method."""
        return of_diagonal(self.tableau)

    def begin(self, course: Course) -> Steps:
        """See Method. Raises ValueError for a state that is complex, or too large for its Jacobian."""
        return DiagonalSteps(self.tableau, course)


class DiagonalSteps(Steps):
    """The steps of one solve. Where autograd follows, each stage is given its gradient after it is solved."""

    def __init__(self, tableau: DiagonalTableau, course: Course) -> None:
        assert course.accuracy is not None, "a method that iterates is told the tolerance"
        f, y0 = course.f, course.y0
        self._tableau, self._course, self._f, self._clock = tableau, course, f, course.clock
        self._wants_error = course.control is not None and tableau.b_err is not None
        stages = len(tableau.a) if self._wants_error or tableau.end is None else tableau.end + 1
        self._rows = tableau.a[:stages]
        self._size = y0.numel() - f.riding  # of what f reads, where integrals ride along
        self._matrices = Matrices(make_jacobians(f, y0, tableau.name), self._matrix, course.clock, f.counts)
        self._newton = Newton(
            course.accuracy, f.counts, y0.dtype, MAX_TURNS if course.control else MAX_TURNS_ON_GRID
        )

    def _matrix(self, jacobian: Tensor, dt: float) -> Tensor:
        identity = torch.eye(jacobian.shape[1], dtype=jacobian.dtype, device=jacobian.device)
        return identity - self._tableau.gamma * dt * jacobian

    def first(self, record: StepRecord, y0: Tensor) -> Tensor:
        """See Steps."""
        return kept(self._f(start_time(self._clock, record, y0), y0))

    def cost(self, record: StepRecord) -> int:
        """See Steps: a Jacobian, one turn a stage, and one evaluation more where integrals ride along."""
        solved = sum(row[-1] > 0 for row in self._rows)
        return 1 + len(self._rows) - (self._rows[0][0] == 0) + (solved if self._f.riding else 0)

    def take(self, record: StepRecord, y0: Tensor, f0: Tensor) -> Step | SolverError:
        """See Steps: tried again with a Jacobian made anew before it is given up."""
        self._newton.theta = 0.0
        step = self._take(record, y0, f0)
        while isinstance(step, Trouble):
            if not self._matrices.renew(record.t):
                return self._course.failure.not_solved(record.t, record.dt, y0, step.value)
            step = self._take(record, y0, f0)
        if self._newton.theta > FAST:
            self._matrices.renew(record.t1)
        return step

    def _take(self, record: StepRecord, y0: Tensor, f0: Tensor) -> Step | Trouble:
        """The step by the matrices that there are."""
        tableau, dt = self._tableau, self._clock.start_and_size(record)[1]
        start, first = self._lead(y0), self._lead(f0)
        factors = self._matrices.factors(record, y0)
        scale = self._newton.scale(start, self._matrices.num_samples)
        fields = self._fields(record, y0)
        slopes: list[Tensor] = []
        states: list[Tensor] = []
        for i, row in enumerate(self._rows):
            state = _sum(start, dt, row[:i], slopes)
            if row[i] == 0:
                slope = first if i == 0 else kept(fields[i](state))
            else:
                guess = (
                    sum(w * k for w, k in zip(tableau.predictors[i], slopes, strict=True) if w)
                    if i
                    else first
                )
                increment = self._increment(fields[i], (state, tableau.gamma * dt, guess), factors, scale)
                if isinstance(increment, Trouble):
                    return increment
                slope, state = increment / (tableau.gamma * dt), state + increment
            slopes.append(slope)
            states.append(state)
        y1 = _sum(start, dt, tableau.b[: len(slopes)], slopes) if tableau.end is None else states[tableau.end]
        f1 = None if tableau.end is None else slopes[tableau.end]
        error = self._error(record.dt, slopes, factors) if self._wants_error else None
        return self._with_integrals(record, (y0, f0), Step(y1, f1, error), states)

    def _increment(
        self,
        field: Callable[[Tensor], Tensor],
        stage: tuple[Tensor, Time, Any],
        factors: Factors,
        scale: Tensor,
    ) -> Tensor | Trouble:
        """w = gamma dt f(base + w), of base's shape, for a stage of (base, gamma dt, a guess of its slope)."""
        base, size, guess = stage
        flat = base.reshape(scale.shape)

        def equations(w: Tensor) -> Tensor:
            return w - size * field((flat + w).view_as(base)).reshape(scale.shape)

        with torch.no_grad():
            start = size * guess.reshape(scale.shape)
        w = self._newton.solve(equations, start, factors, scale)
        if isinstance(w, Trouble):
            return w
        if self._course.autograd:
            w = implicitly(equations, w, requires_grad=base.requires_grad or isinstance(size, Tensor))
        return w.view_as(base)

    @torch.no_grad()
    def _error(self, dt: float, slopes: Sequence[Tensor], factors: Factors) -> Tensor:
        """The estimate without the integrals'; filtered by the matrix of the step where it would be too large else."""
        weights = self._tableau.b_err
        assert weights is not None, "only a method with an error estimate is asked for its error"
        error = _sum(torch.zeros_like(slopes[0]), dt, weights, slopes).detach()
        if not self._tableau.filters_error:
            return error
        return factors.solve(error.reshape(self._matrices.num_samples, -1)).view_as(error)

    def _lead(self, x: Tensor) -> Tensor:
        """What f reads of a state, or of its slope."""
        return x[: self._size] if self._f.riding else x

    def _fields(self, record: StepRecord, y0: Tensor) -> list[Callable[[Tensor], Tensor]]:
        """y -> dy at the time of each stage, without the integrals' slopes."""
        t, dt = self._clock.start_and_size(record)
        t1 = end_time(self._clock, record, y0)
        times = [t1 if c == 1.0 else t + c * dt for c in self._tableau.c[: len(self._rows)]]
        return self._f.at_times(times, y0, [False] * len(times))

    def _with_integrals(
        self, record: StepRecord, start: tuple[Tensor, Tensor], step: Step, states: Sequence[Tensor]
    ) -> Step:
        """The step of the whole state, where integrals ride along: sums of their slopes at the stages."""
        if not self._f.riding:
            return step
        (y0, f0), tableau, dt = start, self._tableau, record.dt
        t1 = end_time(self._clock, record, y0)
        times = [t1 if c == 1.0 else record.t + c * dt for c in tableau.c[: len(states)]]
        fields = self._f.at_times(times, y0)
        tails = [
            f0[self._size :] if i == 0 and not tableau.a[0][0] else fields[i](y)[self._size :]
            for i, y in enumerate(states)
        ]
        tail = _sum(y0[self._size :], dt, tableau.b[: len(tails)], tails)
        y1 = torch.cat([step.y1, tail])
        f1 = None if step.f1 is None or tableau.end is None else torch.cat([step.f1, tails[tableau.end]])
        if step.error is None or tableau.b_err is None:
            return Step(y1, f1)
        return Step(y1, f1, torch.cat([step.error, _sum(torch.zeros_like(tail), dt, tableau.b_err, tails)]))


def _sum(y: Tensor, dt: Time, weights: Sequence[float], slopes: Sequence[Tensor]) -> Tensor:
    """y + dt * sum_j weights[j] slopes[j], a new tensor that autograd can follow."""
    used = [(w, k) for w, k in zip(weights, slopes, strict=True) if w]
    if isinstance(dt, Tensor):  # only where an output time requires grad
        return y + dt * sum(w * k for w, k in used)
    return weighted_sum(y, [(dt * w, k) for w, k in used])
