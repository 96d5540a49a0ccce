"""The solution at any time: the interpolants of all steps, kept."""

from __future__ import annotations

import bisect
import math
from typing import NamedTuple

from torch import Tensor

from nodebench.ode.clock import Clock, StepRecord, neighbour
from nodebench.ode.field import CountedField, kept
from nodebench.ode.interpolation import cubic_hermite
from nodebench.ode.methods.method import Step


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
        self._ends: list[float] = []  # of the pieces, in ascending order
        self._end: float | None = None

    def on_accept(self, record: StepRecord, y0: Tensor, f0: Tensor, step: Step) -> None:
        """Keep the step; a slope may be memory that the field hands out again."""
        f1 = None if step.f1 is None or step.at is not None else kept(step.f1)
        self._pieces.append(_Piece(record, y0, f0, step._replace(f1=f1)))
        self._ends.append(self._clock.direction * record.t1)

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
        low, high = self._bounds()
        slack = self._clock.slack(high - low)
        if not low - slack <= t <= high + slack:
            raise ValueError(
                f"t={t:g} is outside the solved interval [{low:g}, {high:g}]; solve further instead"
            )
        return self.nearest(t)

    def nearest(self, t: float) -> Tensor:
        """y(t), packed; outside of the solved interval, that at the nearer end of it."""
        low, high = self._bounds()
        t = min(max(t, low), high)
        i = min(bisect.bisect_left(self._ends, self._clock.direction * t), len(self._ends) - 1)
        piece = self._pieces[i]
        t0, dt = self._clock.start_and_size(piece.record)
        theta = self._clock.inside(t, t0, dt)
        step = piece.step
        if step.at is not None:
            return step.at(theta)
        f1 = step.f1 if step.f1 is not None else self._pieces[i + 1].f0
        return cubic_hermite(piece.y0, step.y1, piece.f0, f1, dt, theta)

    def _bounds(self) -> tuple[float, float]:
        """The ends of the solved interval, the smaller first."""
        start, end = self._pieces[0].record.t, self._pieces[-1].record.t1
        low, high = sorted((start, end if self._end is None else self._end))
        return low, high
