"""Diagonally implicit Runge-Kutta steps: stage after stage solved by Newton's iteration with one matrix a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from nodebench.ode.clock import StepRecord
from nodebench.ode.field import Time, kept
from nodebench.ode.methods.implicit.gradient import implicitly
from nodebench.ode.methods.implicit.newton import MAX_TURNS_ON_GRID, Factors, Trouble
from nodebench.ode.methods.implicit.steps import ImplicitSteps, weighted
from nodebench.ode.methods.implicit.tableau import DiagonalTableau
from nodebench.ode.methods.method import Course, Step, Steps
from nodebench.ode.methods.traits import Traits, of_diagonal


@dataclass(frozen=True)
class DiagonallyImplicit:
    """The method of a tableau. A step costs one factorisation, and a Jacobian where the last one serves no longer."""

    tableau: DiagonalTableau
    max_turns: int = MAX_TURNS_ON_GRID

    @cached_property
    def traits(self) -> Traits:
        """See Method."""
        return of_diagonal(self.tableau)

    def begin(self, course: Course) -> Steps:
        """See Method. Raises ValueError for a state that is complex, or too large for its Jacobian."""
        return DiagonalSteps(self.tableau, course, self.max_turns)


class DiagonalSteps(ImplicitSteps):
    """The steps of one solve. Where autograd follows, each stage is given its gradient after it is solved."""

    def __init__(self, tableau: DiagonalTableau, course: Course, max_turns: int = MAX_TURNS_ON_GRID) -> None:
        super().__init__(tableau.name, course, max_turns)
        self._tableau = tableau
        self._wants_error = course.control is not None and tableau.b_err is not None
        stages = len(tableau.a) if self._wants_error or tableau.end is None else tableau.end + 1
        self._rows = tableau.a[:stages]

    def matrix(self, jacobian: Tensor, dt: float) -> Tensor:
        """See ImplicitSteps."""
        identity = torch.eye(jacobian.shape[1], dtype=jacobian.dtype, device=jacobian.device)
        return identity - self._tableau.gamma * dt * jacobian

    def cost(self, record: StepRecord) -> int:
        """See Steps: a Jacobian, one turn a stage, and one evaluation more where integrals or autograd ask for it."""
        solved = sum(row[-1] > 0 for row in self._rows)
        again = bool(self.f.riding) + self.course.autograd
        return 1 + len(self._rows) - (self._rows[0][0] == 0) + again * solved

    def turn_cost(self) -> int:
        """See ImplicitSteps: an explicit stage may follow, one evaluation that autograd records, and the integrals'."""
        return 2 + self.course.autograd + (len(self._rows) if self.f.riding else 0)

    def attempt(self, record: StepRecord, y0: Tensor, f0: Tensor) -> Step | Trouble:
        """See ImplicitSteps."""
        tableau, dt = self._tableau, self.clock.start_and_size(record)[1]
        start, first = self.lead(y0), self.lead(f0)
        factors = self.matrices.factors(record, y0)
        scale = self.newton.scale(start, self.matrices.num_samples)
        fields = self.fields(record, y0, tableau.c[: len(self._rows)])
        slopes: list[Tensor] = []
        states: list[Tensor] = []
        for i, row in enumerate(self._rows):
            state = weighted(start, dt, row[:i], slopes)
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
        y1 = (
            weighted(start, dt, tableau.b[: len(slopes)], slopes)
            if tableau.end is None
            else states[tableau.end]
        )
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

        def equations(w: Tensor, base: Tensor) -> Tensor:
            return w - size * field(base + w.view_as(base)).reshape(scale.shape)

        with torch.no_grad():
            start = torch.zeros_like(scale) if self.from_rest else size * guess.reshape(scale.shape)
        w = self.newton.solve(lambda w: equations(w, base), start, factors, scale)
        if isinstance(w, Trouble):
            return w
        if self.course.autograd:
            w = implicitly(equations, w, base, requires_grad=isinstance(size, Tensor))
        return w.view_as(base)

    @torch.no_grad()
    def _error(self, dt: float, slopes: Sequence[Tensor], factors: Factors) -> Tensor:
        """The estimate without the integrals'; filtered by the matrix of the step where it would be too large else."""
        weights = self._tableau.b_err
        assert weights is not None, "only a method with an error estimate is asked for its error"
        error = weighted(torch.zeros_like(slopes[0]), dt, weights, slopes).detach()
        if not self._tableau.filters_error:
            return error
        return factors.solve(error.reshape(self.matrices.num_samples, -1)).view_as(error)

    def _with_integrals(
        self, record: StepRecord, start: tuple[Tensor, Tensor], step: Step, states: Sequence[Tensor]
    ) -> Step:
        """The step of the whole state, where integrals ride along: sums of their slopes at the stages."""
        if not self.f.riding:
            return step
        (y0, f0), tableau, dt = start, self._tableau, record.dt
        is_known = not tableau.a[0][0]
        unknown = [None if is_known and i == 0 else y for i, y in enumerate(states)]
        tails = self.integrands(record, y0, tableau.c[: len(states)], unknown)
        if is_known:
            tails.insert(0, self.tail(f0))
        tail = weighted(self.tail(y0), dt, tableau.b[: len(tails)], tails)
        y1 = torch.cat([step.y1, tail])
        f1 = None if step.f1 is None or tableau.end is None else torch.cat([step.f1, tails[tableau.end]])
        if step.error is None or tableau.b_err is None:
            return Step(y1, f1)
        return Step(
            y1, f1, torch.cat([step.error, weighted(torch.zeros_like(tail), dt, tableau.b_err, tails)])
        )
