"""Time in a solve: floats for every decision, tensors only where output times require grad.

The rule for gradients: interior step sizes are constants, so shifting t0 shifts every step with it, and a step (or an
interpolant) that lands on an output changes with that output's time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nodebench.ode.field import Time, time_tensor


class StepRecord(NamedTuple):
    """Where and how far a step went: enough to take it again from its y0.

    The clock was last set by output `anchor`; the step from t to t1 = t + dt ends on output `lands_on` (None: on
    none) and passes over the outputs in `inside`. Where the vector field jumps at an end of the step, `jump_start`
    or `jump_end` has it evaluated on the step's side of the jump. Events were found inside it at the times `events`;
    one of them ended the solve there if the step `is_cut`.
    """

    t: float
    dt: float
    t1: float
    anchor: int
    lands_on: int | None
    inside: tuple[int, ...]
    jump_start: bool = False
    jump_end: bool = False
    events: tuple[float, ...] = ()
    is_cut: bool = False


@dataclass(frozen=True)
class Clock:
    """Output times as floats, and as a tensor if gradients are to flow to them.

    `rounding`: how far gaps that are meant to be equal may lie apart, for the dtype the times were given in. The last
    time is no more than a horizon if the clock `is_open`: something else is expected to end the solve. `narrow` is the
    dtype of step sizes, where they are tensors, beside a 0-d state, which a float64 number would promote.
    """

    ts: tuple[float, ...]
    tensor: Tensor | None = None
    rounding: float = 0.0
    is_open: bool = False
    narrow: torch.dtype | None = None

    @cached_property
    def direction(self) -> float:
        """1.0 forwards in time, -1.0 backwards."""
        return math.copysign(1.0, self.ts[-1] - self.ts[0])

    @cached_property
    def span(self) -> float:
        """Length of the whole interval."""
        return abs(self.ts[-1] - self.ts[0])

    def as_constants(self) -> Clock:
        """The same times, to which no gradient flows."""
        return replace(self, tensor=None)

    def through(self, ts: Sequence[float]) -> Clock:
        """Other times as outputs, which are constant, each of them to be reached."""
        return replace(self, ts=tuple(ts), tensor=None, is_open=False)

    def slack(self, size: float) -> float:
        """How much longer than `size` a step may be because its end was rounded: a hundredth at most."""
        return min(self.rounding, size / 100)

    def time(self, t: float, anchor: int) -> Time:
        """t, as the anchor's time tensor plus a constant if there is a tensor of times."""
        return t if self.tensor is None else self.tensor[anchor] + (t - self.ts[anchor])

    def start_and_size(self, record: StepRecord) -> tuple[Time, Time]:
        """t and dt of a step; dt varies with the output time that the step lands on, if any."""
        if self.tensor is None:
            return record.t, record.dt
        t = self.time(record.t, record.anchor)
        return t, record.dt if record.lands_on is None else self._narrowed(self.tensor[record.lands_on] - t)

    def end(self, record: StepRecord) -> Time:
        """t1 of a step exactly, where t + dt may round to a time outside the interval or behind a jump."""
        if self.tensor is None:
            return record.t1
        return self.time(record.t1, record.anchor if record.lands_on is None else record.lands_on)

    def theta(self, output: int, t: Time, dt: Time) -> Time:
        """Relative position of an output inside the step from t to t + dt."""
        time = self.ts[output] if self.tensor is None else self.tensor[output]
        return self.inside(time, t, dt)

    def inside(self, time: Time, t: Time, dt: Time) -> Time:
        """Relative position of a time inside the step from t to t + dt."""
        return self._narrowed((time - t) / dt)

    def _narrowed(self, size: Time) -> Time:
        return size if self.narrow is None or not isinstance(size, Tensor) else size.to(self.narrow)

    def resolution(self, t: float) -> float:
        """The smallest step worth taking at t: ten spacings of float64 there."""
        return max(10 * math.ulp(t), 0.0 if self.is_open else 1e-20 * self.span)

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


def start_time(clock: Clock, record: StepRecord, y: Tensor) -> Time:
    """Where f is evaluated at the start of a step: behind the jump if the step starts at one."""
    t = clock.time(record.t, record.anchor)
    return neighbour(t, y, clock.direction) if record.jump_start else t


def end_time(clock: Clock, record: StepRecord, y: Tensor) -> Time:
    """Where f is evaluated at the end of a step: before the jump if the step ends at one."""
    t1 = clock.end(record)
    return neighbour(t1, y, -clock.direction) if record.jump_end else t1


def neighbour(t: Time, y: Tensor, direction: float) -> Tensor:
    """The representable time next to t in y's dtype: on which side of a jump f is evaluated."""
    time = time_tensor(t, y)
    with torch.no_grad():
        shift = torch.nextafter(time, torch.full_like(time, direction * math.inf)) - time
    return time + shift


# One for all samples, or rows of them, one a sample, which steps of their own can follow.
Times = Tensor | Sequence[float] | Sequence[Sequence[float]]


def check_times(ts: Times) -> tuple[float, ...]:
    """Output times as floats; one wait for the device if they live there.

    Raises TypeError unless they are a tensor or a sequence of numbers, ValueError unless they are finite and strictly
    monotonic, or all equal.
    """
    if isinstance(ts, Tensor):
        if ts.dim() != 1 or not ts.is_floating_point():
            raise ValueError(
                f"`ts` is {ts.dtype} of shape {tuple(ts.shape)}; it must be 1-D and floating-point"
            )
        times = tuple(ts.tolist())
    else:
        if not isinstance(ts, Iterable):
            raise TypeError(
                f"`ts` is {ts!r}; it must be a tensor or sequence of times, of which y0 is at the first"
            )
        if torch.is_grad_enabled() and any(isinstance(t, Tensor) and t.requires_grad for t in ts):
            raise ValueError(
                "`ts` is a sequence with a time that requires grad, which would get none; "
                "pass one tensor: torch.stack(ts)"
            )
        times = tuple(_as_float(t) for t in ts)
    if not times:
        raise ValueError("`ts` is empty; it needs at least the initial time")
    bad = [t for t in times if not math.isfinite(t)]
    if bad:
        raise ValueError(f"`ts` contains {bad[0]}; times must be finite")
    gaps = [end - start for start, end in pairwise(times)]
    if any(gaps) and not (all(gap > 0 for gap in gaps) or all(gap < 0 for gap in gaps)):
        direction = next(gap for gap in gaps if gap)
        i = next(i for i, gap in enumerate(gaps) if gap * direction <= 0)
        raise ValueError(
            f"`ts` is not strictly monotonic: ts[{i}]={times[i]:g} is followed by {times[i + 1]:g}; "
            "sort the times and drop repeated ones"
        )
    return times


def _as_float(t: Any) -> float:
    """A time; TypeError unless it is a number."""
    try:
        return float(t)
    except (TypeError, ValueError):
        if isinstance(t, str):
            raise TypeError(f"`ts` holds {t!r}; each time must be a number") from None
        raise TypeError(
            f"`ts` holds a {type(t).__name__} where a number is to be; "
            'rows of times, one for each sample, go with steps="per_sample" alone'
        ) from None


def make_clock(ts: Times, y0: Tensor) -> Clock:
    """Output times as a solve from y0 keeps them.

    Raises TypeError and ValueError as `check_times`, and ValueError for times beyond the range of y0's dtype, in which
    f is told them.
    """
    times, dtype = check_times(ts), time_dtype(y0)
    farthest = max(times[0], times[-1], key=abs)
    if max(abs(farthest), abs(times[-1] - times[0])) > torch.finfo(dtype).max:
        raise ValueError(f"`ts` reaches to {farthest:g}, beyond the range of y0's {dtype}; scale time")
    eps = max(_time_eps(t) for t in ([ts] if isinstance(ts, Tensor) else ts))
    # Both ends of a gap are rounded, and so was what made them, such as linspace's step: to 3 spacings in all.
    narrow = dtype if y0.dim() == 0 and dtype != torch.float64 else None
    return Clock(times, _travelling_times(ts, y0), 4 * eps * abs(farthest), narrow=narrow)


def _time_eps(t: Any) -> float:
    """The spacing at 1 of the dtype of a time: float64's for a number of Python's, or an integer."""
    dtype = torch.as_tensor(t).dtype if hasattr(t, "dtype") else torch.float64
    return torch.finfo(dtype if dtype.is_floating_point else torch.float64).eps


def _travelling_times(ts: Times, y0: Tensor) -> Tensor | None:
    """ts where gradients are to flow to it: on y0's device and, where there is one, in float64 as all times are."""
    if not (isinstance(ts, Tensor) and ts.requires_grad and torch.is_grad_enabled()):
        return None
    return ts.to(y0.device) if y0.device.type == "mps" else ts.to(y0.device, torch.float64)


def float_times(times: Sequence[float], y: Tensor) -> Tensor:
    """Times on y's device, in float64 as the clock's where the device has it."""
    is_mps = y.device.type == "mps"
    return torch.tensor(times, dtype=torch.float32 if is_mps else torch.float64, device=y.device)


def time_dtype(y: Tensor) -> torch.dtype:
    """The dtype in which f is told the time: y's, or that of its parts."""
    return y.real.dtype if y.is_complex() else y.dtype
