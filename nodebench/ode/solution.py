"""What a solve returns."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from nodebench.ode.clock import Clock, StepRecord, neighbour
from nodebench.ode.counting import CountedField, SolveStats
from nodebench.ode.interpolation import cubic_hermite, own_interpolant
from nodebench.ode.packing import Packing, State
from nodebench.ode.status import Status
from nodebench.ode.step import StageBuffer, StageList
from nodebench.ode.tableau import ButcherTableau


class _Piece(NamedTuple):
    record: StepRecord
    y0: Tensor
    y1: Tensor
    stages: StageBuffer | StageList
    f1: Tensor | None


class DenseOutput:
    """Observer that keeps every accepted step's interpolant, and evaluates them.

    Error control does not see the interpolation error. Gradients flow as in the steps themselves, to the output times
    if the clock has them as a tensor.
    """

    def __init__(self, tableau: ButcherTableau, clock: Clock) -> None:
        self._tableau, self._clock = tableau, clock
        self._pieces: list[_Piece] = []

    def on_step(self, t: float, dt: float, y0: Tensor) -> None:
        """Nothing: only accepted steps are kept."""

    def on_reject(self, t: float, dt: float, y0: Tensor) -> None:
        """Nothing: only accepted steps are kept."""

    def on_accept(
        self, record: StepRecord, y0: Tensor, y1: Tensor, stages: StageBuffer | StageList, f1: Tensor | None
    ) -> None:
        """Keep the step; the loop reuses its buffer, so the stages are copied."""
        kept = stages.copy()
        self._pieces.append(_Piece(record, y0, y1, kept, None if f1 is None else f1.clone()))

    def close(self, f: CountedField) -> None:
        """Give cubic Hermite the slopes that are not the next step's first stage: the last, and before a jump."""
        if self._tableau.interpolant is not None:
            return
        for i, (record, _, y1, _, f1) in enumerate(self._pieces):
            if f1 is None and (record.jump_end or i == len(self._pieces) - 1):
                before = math.copysign(1.0, -record.dt)
                t1 = self._clock.end(record)
                f1 = f(neighbour(t1, y1, before) if record.jump_end else t1, y1)
                self._pieces[i] = self._pieces[i]._replace(f1=f1)

    def __call__(self, t: float) -> Tensor:
        """y(t), packed; ValueError if t is outside the solved interval, or no step was taken."""
        if not self._pieces:
            raise ValueError("no step was taken, so there is nothing to interpolate; `ys` holds all there is")
        first, last = self._pieces[0].record, self._pieces[-1].record
        low, high = sorted((first.t, last.t1))
        slack = self._clock.slack(high - low)
        if not low - slack <= t <= high + slack:
            raise ValueError(
                f"t={t:g} is outside the solved interval [{low:g}, {high:g}]; solve further instead"
            )
        t = min(max(t, low), high)
        direction = 1.0 if last.t1 >= first.t else -1.0
        ends = [direction * piece.record.t1 for piece in self._pieces]
        i = min(bisect.bisect_left(ends, direction * t), len(ends) - 1)
        piece = self._pieces[i]
        t0, dt = self._clock.start_and_size(piece.record)
        theta = (t - t0) / dt
        if self._tableau.interpolant is not None:
            return own_interpolant(self._tableau, piece.y0, dt, piece.stages, theta)
        f1 = piece.f1 if piece.f1 is not None else self._pieces[i + 1].stages[0]
        return cubic_hermite(piece.y0, piece.y1, piece.stages[0], f1, dt, theta)


@dataclass
class Solution:
    """Outputs, counts and outcome of a solve.

    `ys` has shape (len(ts), *y0.shape), or is a tuple of such tensors if y0 is one. `stats.backward` is filled in
    while backward() runs. `status` is SUCCESS unless failures were asked for as values; outputs not reached are NaN
    then, and `message` says what happened; it also says where steps were taken that had not converged.
    """

    ts: Tensor
    ys: State
    stats: SolveStats = field(default_factory=SolveStats)
    status: Status = Status.SUCCESS
    message: str = ""
    packing: Packing = field(default_factory=lambda: Packing(None))
    dense: Callable[[float], Tensor] | None = None

    def evaluate(self, t: float | Tensor) -> State:
        """y at a time, or at each entry of a 1-D tensor of times (a leading axis), by the method's interpolant.

        Raises ValueError without `dense_output=True`, or for a time outside the solved interval.
        """
        if self.dense is None:
            raise ValueError(
                "this solution keeps no interpolants; solve with dense_output=True to evaluate it"
            )
        if isinstance(t, Tensor) and t.dim():
            values = torch.stack([self.dense(time) for time in t.tolist()])
            return self.packing.unpack(values, (len(t),))
        return self.packing.unpack(self.dense(float(t)))
