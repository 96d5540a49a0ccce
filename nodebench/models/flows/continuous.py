"""Continuous flows: the map is the solution of an ODE, the log-determinant an integral of its trace."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nodebench.models.flows.flow import Flow, check_fraction, check_fractions
from nodebench.models.ode_block import ODEBlock
from nodebench.ode.settings import SolverSettings


class ContinuousFlow(Flow):
    """dz/dt = f(z, t) from t = 0 (base) to t = t1 (data), with d log|det dz/dz0| / dt = tr(df/dz).

    The solver's state y is (dim + 1, N): rows z_1 ... z_dim and the log-determinant, so that every row is contiguous
    and the error control covers both. `field(t, y, *args)` returns dy/dt of that shape. Where each point has steps of
    its own the state is (N, dim + 1), and so is what the field is given, with times (N,).
    """

    def __init__(
        self,
        field: nn.Module,
        solver: SolverSettings,
        gradient: str,
        *,
        t1: float = 1.0,
        dim: int = 2,
        base_std: float = 1.0,
    ) -> None:
        super().__init__(dim, base_std)
        if not t1 > 0 or not math.isfinite(t1):
            raise ValueError(f"`model.t1` is {t1}; allowed: a finite time above 0")
        self.ode_block = ODEBlock(field, solver, gradient, t1)

    def push(self, z0: Tensor, fraction: float = 1.0) -> tuple[Tensor, Tensor]:
        self.check_points("z0", z0)
        y = self._solve(z0, (0.0, self._time(fraction)))[-1]
        return y[: self.dim].t(), y[self.dim]

    def pull(self, x: Tensor, fraction: float = 1.0) -> tuple[Tensor, Tensor]:
        self.check_points("x", x)
        y = self._solve(x, (self._time(fraction), 0.0))[-1]
        return y[: self.dim].t(), -y[self.dim]  # the trace was integrated backwards

    def trajectory(self, z0: Tensor, fractions: Sequence[float]) -> Tensor:
        self.check_points("z0", z0)
        times = [self._time(fraction) for fraction in check_fractions(fractions)]
        starts_at_base = times[0] == 0.0
        ys = self._solve(z0, times if starts_at_base else [0.0, *times])
        return (ys if starts_at_base else ys[1:])[:, : self.dim].transpose(1, 2)

    def reconstruction_error(self, z0: Tensor) -> float:
        """How far the solve there and back returns from base points (N, dim): see ODEBlock."""
        self.check_points("z0", z0)
        state = self._state(z0)
        is_own = self.ode_block.solver.steps == "per_sample"
        return self.ode_block.reconstruction_error(state.t().contiguous() if is_own else state)

    def reference_copy(self, tolerance: float) -> ContinuousFlow:
        """See Flow; solved by dopri8, which needs the fewest evaluations at such tolerances."""
        reference = copy.deepcopy(self).double()
        reference.ode_block.solver = SolverSettings(method="dopri8", rtol=tolerance, atol=tolerance)
        return reference

    def field_args(self, like: Tensor) -> tuple[Any, ...]:
        """What the field takes beside t and y, drawn anew for each solve; `like` is (dim, N)."""
        return ()

    def _time(self, fraction: float) -> float:
        check_fraction(fraction)
        return fraction * self.ode_block.t1

    def _state(self, points: Tensor) -> Tensor:
        return torch.cat([points.t(), points.new_zeros(1, len(points))])

    def _solve(self, points: Tensor, ts: Sequence[float]) -> Tensor:
        y0 = self._state(points)
        args = self.field_args(y0[: self.dim])
        if self.ode_block.solver.steps == "per_sample":
            by_point = tuple(arg.t().contiguous() for arg in args)
            return self.ode_block.solve(y0.t().contiguous(), ts, by_point).ys.transpose(1, 2)
        ys = self.ode_block.solve(y0, ts, args).ys
        assert isinstance(ys, Tensor), "a tensor state has a tensor solution"
        return ys
