"""Time in a solve: floats for every decision, tensors only where output times require grad.

The rule for gradients: interior step sizes are constants, so shifting t0 shifts every step with it, and a step (or an
interpolant) that lands on an output changes with that output's time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from nodebench.ode.counting import Time, time_tensor


class StepRecord(NamedTuple):
    """Where and how far a step went: enough to take it again from its y0.

    The clock was last set by output `anchor`; the step from t to t1 = t + dt ends on output `lands_on` (None: on
    none) and passes over the outputs in `inside`. Where the vector field jumps at an end of the step, `jump_start`
    or `jump_end` has it evaluated on the step's side of the jump.
    """

    t: float
    dt: float
    t1: float
    anchor: int
    lands_on: int | None
    inside: tuple[int, ...]
    jump_start: bool = False
    jump_end: bool = False


@dataclass(frozen=True)
class Clock:
    """Output times as floats, and as a tensor if gradients are to flow to them.

    `rounding`: how far gaps that are meant to be equal may lie apart, for the dtype the times were given in.
    """

    ts: tuple[float, ...]
    tensor: Tensor | None = None
    rounding: float = 0.0

    @property
    def direction(self) -> float:
        """1.0 forwards in time, -1.0 backwards."""
        return math.copysign(1.0, self.ts[-1] - self.ts[0])

    @property
    def span(self) -> float:
        """Length of the whole interval."""
        return abs(self.ts[-1] - self.ts[0])

    def as_constants(self) -> Clock:
        """The same times, to which no gradient flows."""
        return replace(self, tensor=None)

    def between(self, first: int, last: int) -> Clock:
        """The constant times of two outputs, from `first` to `last`."""
        return replace(self, ts=(self.ts[first], self.ts[last]), tensor=None)

    def slack(self, size: float) -> float:
        """How much longer than `size` a step may be because its end was rounded: a hundredth at most."""
        return min(self.rounding, size / 100)

    def time(self, t: float, anchor: int) -> Time:
        """t, as the anchor's time tensor plus a constant if there is a tensor of times."""
        return t if self.tensor is None else self.tensor[anchor] + (t - self.ts[anchor])

    def start_and_size(self, record: StepRecord) -> tuple[Time, Time]:
        """t and dt of a step; dt varies with the output time that the step lands on, if any."""
        t = self.time(record.t, record.anchor)
        if self.tensor is None or record.lands_on is None:
            return t, record.dt
        return t, self.tensor[record.lands_on] - t

    def end(self, record: StepRecord) -> Time:
        """t1 of a step exactly, where t + dt may round to a time outside the interval or behind a jump."""
        return self.time(record.t1, record.anchor if record.lands_on is None else record.lands_on)

    def theta(self, output: int, t: Time, dt: Time) -> Time:
        """Relative position of an output inside the step from t to t + dt."""
        time = self.ts[output] if self.tensor is None else self.tensor[output]
        return (time - t) / dt

    def resolution(self, t: float) -> float:
        """The smallest step worth taking at t: ten spacings of float64 there."""
        return max(10 * math.ulp(t), 1e-20 * self.span)

    def split(self, first: int, t1: float) -> tuple[tuple[int, ...], int | None]:
        """Of the outputs from index `first` on: those before t1, and the one at t1."""
        inside: list[int] = []
        for i in range(first, len(self.ts)):
            if self.ts[i] == t1:
                return tuple(inside), i
            if (self.ts[i] - t1) * self.direction > 0:
                break
            inside.append(i)
        return tuple(inside), None


def neighbour(t: Time, y: Tensor, direction: float) -> Tensor:
    """The representable time next to t in y's dtype: on which side of a jump f is evaluated."""
    time = time_tensor(t, y)
    with torch.no_grad():
        shift = torch.nextafter(time, torch.full_like(time, direction * math.inf)) - time
    return time + shift
