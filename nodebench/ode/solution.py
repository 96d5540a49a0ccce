"""What a solve returns."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple

import torch
from torch import Tensor

from nodebench.ode.clock import Clock, StepRecord, neighbour
from nodebench.ode.counts import SolveStats
from nodebench.ode.events import Crossings
from nodebench.ode.field import CountedField, kept
from nodebench.ode.interpolation import cubic_hermite
from nodebench.ode.methods.method import Step
from nodebench.ode.packing import Packing, S
from nodebench.ode.status import SolverError, Status


class _Piece(NamedTuple):
    record: StepRecord
    y0: Tensor
    f0: Tensor
    step: Step


class DenseOutput:
    """Observer that keeps every accepted step's interpolant, and evaluates them.

    Error control does not see the interpolation error. Gradients flow as in the steps themselves, to the output times
    if the clock has them as a tensor.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pieces: list[_Piece] = []
        self._end: float | None = None

    def on_accept(self, record: StepRecord, y0: Tensor, f0: Tensor, step: Step) -> None:
        """Keep the step; a slope may be memory that the field hands out again."""
        f1 = None if step.f1 is None or step.at is not None else kept(step.f1)
        self._pieces.append(_Piece(record, y0, f0, step._replace(f1=f1)))

    def close(self, f: CountedField, end: float | None = None) -> None:
        """Give cubic Hermite the slopes that are not the next step's first stage: the last, and before a jump.

        `end` is where the solve ended, if that is inside its last step.
        """
        self._end = end
        for i, (record, _, _, step) in enumerate(self._pieces):
            is_before_another = i < len(self._pieces) - 1 and not record.jump_end
            if step.at is None and step.f1 is None and not is_before_another:
                before = math.copysign(1.0, -record.dt)
                t1 = self._clock.end(record)
                f1 = f(neighbour(t1, step.y1, before) if record.jump_end else t1, step.y1)
                self._pieces[i] = self._pieces[i]._replace(step=step._replace(f1=f1))

    def __call__(self, t: float) -> Tensor:
        """y(t), packed; ValueError if t is outside the solved interval, or no step was taken."""
        if not self._pieces:
            raise ValueError("no step was taken, so there is nothing to interpolate; `ys` holds all there is")
        first, last = self._pieces[0].record, self._pieces[-1].record
        low, high = sorted((first.t, last.t1 if self._end is None else self._end))
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
        step = piece.step
        if step.at is not None:
            return step.at(theta)
        f1 = step.f1 if step.f1 is not None else self._pieces[i + 1].f0
        return cubic_hermite(piece.y0, step.y1, piece.f0, f1, dt, theta)


@dataclass
class Solution(Generic[S]):
    """Outputs, counts and outcome of a solve.

    `ys` has shape (len(ts), *y0.shape), or is a tuple of such tensors if y0 is one. `stats.backward` is filled in
    while backward() runs. `status` is SUCCESS unless failures were asked for as values; outputs not reached are NaN
    then, and `message` says what happened; it also says where steps were taken that had not converged. `failures`: of
    samples with steps of their own, the error of each that failed; those outputs of it that it did not reach are NaN.

    `events` holds the crossings of each event that was asked for; where one of them ended the solve, status is EVENT,
    `ended_by` its number, and outputs behind it are NaN. A solve that no event ended comes to ts[-1] and says so.
    """

    ts: Tensor
    ys: S
    stats: SolveStats = field(default_factory=SolveStats)
    status: Status = Status.SUCCESS
    message: str = ""
    packing: Packing = field(default_factory=lambda: Packing(None))
    dense: Callable[[float], Tensor] | None = None
    events: tuple[Crossings[S], ...] = ()
    ended_by: int | None = None
    failures: Mapping[int, SolverError] = field(default_factory=dict)

    def evaluate(self, t: float | Tensor) -> S:
        """y at a time, or at each entry of a 1-D tensor of times (a leading axis), by the method's interpolant.

        Raises ValueError without `dense_output=True`, or for a time outside the solved interval.
        """
        if self.dense is None:
            raise ValueError(
                "this solution keeps no interpolants; solve with dense_output=True to evaluate it"
            )
        if isinstance(t, Tensor) and t.dim():
            values = torch.stack([self.dense(time) for time in t.tolist()])
            state: Any = self.packing.unpack(values, (len(t),))
        else:
            state = self.packing.unpack(self.dense(float(t)))
        return state
