"""Fully implicit Runge-Kutta steps, by collocation: all stages at once are the unknowns of Newton's equations."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from nodebench.ode.clock import StepRecord
from nodebench.ode.methods.implicit.collocation import Collocation
from nodebench.ode.methods.implicit.gradient import implicitly
from nodebench.ode.methods.implicit.jacobian import check_bytes
from nodebench.ode.methods.implicit.newton import MAX_TURNS_ON_GRID, Trouble
from nodebench.ode.methods.implicit.steps import ImplicitSteps, weighted
from nodebench.ode.methods.method import Course, Step, Steps
from nodebench.ode.methods.traits import Traits, of_collocation


@dataclass(frozen=True)
class CoupledImplicit:
    """The method of some nodes. A step of s stages factorises matrices of s times a sample's size."""

    tableau: Collocation
    max_turns: int = MAX_TURNS_ON_GRID

    @cached_property
    def traits(self) -> Traits:
        """See Method."""
        return of_collocation(self.tableau)

    def begin(self, course: Course) -> Steps:
        """See Method. Raises ValueError for a state that is complex, or too large for its Jacobian."""
        return CoupledSteps(self.tableau, course, self.max_turns)


class CoupledSteps(ImplicitSteps):
    """The steps of one solve. The unknowns are the increments z_i = y_i - y0 of the stages:

        z_i = dt sum_j a[i][j] f(t + c[j] dt, y0 + z_j),    y1 = y0 + sum_i d[i] z_i,

    which rounding and an inexact solution harm less than the slopes, where f is stiff.

    Source: Hairer & Wanner, Solving Ordinary Differential Equations II, 2nd edition, section IV.8.
    """

    def __init__(self, tableau: Collocation, course: Course, max_turns: int = MAX_TURNS_ON_GRID) -> None:
        super().__init__(tableau.name, course, max_turns)
        self._tableau, self._num_stages = tableau, len(tableau.c)

    def matrix(self, jacobian: Tensor, dt: float) -> Tensor:
        """See ImplicitSteps: identity - dt A (x) J, stage by stage. Raises ValueError if it would be too large."""
        num_samples, n, _ = jacobian.shape
        size = self._num_stages * n
        check_bytes(num_samples, size, jacobian, self._tableau.name)
        weights = jacobian.new_tensor(self._tableau.a)
        blocks = weights[:, None, :, None] * jacobian[:, None, :, None, :]
        identity = torch.eye(size, dtype=jacobian.dtype, device=jacobian.device)
        return identity - dt * blocks.reshape(num_samples, size, size)

    def cost(self, record: StepRecord) -> int:
        """See Steps: a Jacobian, and one turn."""
        return 1 + self.turn_cost()

    def turn_cost(self) -> int:
        """See ImplicitSteps: the stages, once more where autograd records them, and where integrals ride along."""
        return self._num_stages * (1 + self.course.autograd + bool(self.f.riding))

    def attempt(self, record: StepRecord, y0: Tensor, f0: Tensor) -> Step | Trouble:
        """See ImplicitSteps."""
        tableau, dt = self._tableau, self.clock.start_and_size(record)[1]
        start, factors = self.lead(y0), self.matrices.factors(record, y0)
        shape = (self.matrices.num_samples, self._num_stages, -1)
        fields = self.fields(record, y0, tableau.c)

        def equations(z: Tensor, base: Tensor) -> Tensor:
            increments = z.view(shape).unbind(1)
            slopes = [
                field(base + increment.reshape(base.shape)).reshape(shape[0], -1)
                for field, increment in zip(fields, increments, strict=True)
            ]
            residuals = [
                increment - weighted(torch.zeros_like(increment), dt, row, slopes)
                for increment, row in zip(increments, tableau.a, strict=True)
            ]
            return torch.cat(residuals, dim=1)

        with torch.no_grad():
            slope = self.lead(f0).reshape(shape[0], -1)
            guess = torch.cat(
                [c * dt * slope for c in tableau.c], dim=1
            )  # where Euler's explicit step comes to
            scale = self.newton.scale(start, shape[0]).repeat(1, self._num_stages)
        z = self.newton.solve(lambda z: equations(z, start), guess, factors, scale)
        if isinstance(z, Trouble):
            return z
        if self.course.autograd:
            z = implicitly(equations, z, start, requires_grad=isinstance(dt, Tensor))
        increments = [increment.reshape(start.shape) for increment in z.view(shape).unbind(1)]
        return self._step(record, y0, increments)

    def _step(self, record: StepRecord, y0: Tensor, increments: list[Tensor]) -> Step:
        """The end of the step of the whole state: the integrals' slopes at the stages are summed."""
        tableau, start = self._tableau, self.lead(y0)
        y1 = weighted(start, 1.0, tableau.at_end, increments)
        if not self.f.riding:
            return Step(y1)
        tails = self.integrands(record, y0, tableau.c, [start + increment for increment in increments])
        return Step(torch.cat([y1, weighted(self.tail(y0), record.dt, tableau.b, tails)]))
