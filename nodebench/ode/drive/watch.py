"""Events inside accepted steps: found on the steps' interpolants, whose states they take along."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from nodebench.ode.clock import Clock, StepRecord, time_dtype
from nodebench.ode.drive.outputs import interpolated, state_inside, with_end_slope
from nodebench.ode.drive.roots import find_root
from nodebench.ode.events import Event, crosses
from nodebench.ode.failures import is_finite
from nodebench.ode.field import Field, Time, time_tensor
from nodebench.ode.methods.method import Step

PARTS = 4  # of a step, at whose ends the signs are looked at: two crossings within one part go unseen


class Crossing(NamedTuple):
    """Event number `event` at time t: the state there, of the interpolant, and the interpolant's slope if wanted.

    The state is that of a constant time: gradients through it know nothing yet of the event's own moving.
    """

    event: int
    t: float
    y: Tensor
    slope: Tensor | None


class EventWatch:
    """Watches one solve: `found` are the crossings in the solve's order, `ended_by` the event that ended it.

    A value at the very start has no sign of its own where the solve starts on an event, maybe the one that ended the
    solve before: the signs are those just behind the start, by a hundred times what rounding blurs. `signs`, where
    they are given, are those at the start.
    """

    def __init__(
        self, events: Sequence[Event], *, wants_slopes: bool = False, signs: Sequence[float] | None = None
    ) -> None:
        self.events, self._wants_slopes = tuple(events), wants_slopes
        self._values = None if signs is None else list(signs)  # at the end of the step before
        self.found: list[Crossing] = []
        self.ended_by: int | None = None

    @property
    def is_over(self) -> bool:
        """See Watch."""
        return self.ended_by is not None

    @property
    def end(self) -> float | None:
        """When an event ended the solve, if one did."""
        return self.found[-1].t if self.is_over else None

    def look(
        self, f: Field, clock: Clock, record: StepRecord, y0: Tensor, f0: Tensor, step: Step
    ) -> tuple[StepRecord, Step]:
        """See Watch; the step comes with its end's slope where its interpolant needs it."""
        step = with_end_slope(f, clock, record, step)
        taken, end, times = _Taken(record, y0, f0, step), None, []
        for theta, event in self._crossings(taken):
            t = taken.time(theta)
            slope = taken.slope(theta) if self._wants_slopes else None
            self.found.append(Crossing(event, t, state_inside(clock, record, y0, f0, step, t), slope))
            times.append(t)
            if sum(crossing.event == event for crossing in self.found) == self.events[event].last:
                self.ended_by, end = event, t
                break
        if not times:
            return record, step
        record = record._replace(events=tuple(times))
        if end is None:
            return record, step
        inside = tuple(i for i in record.inside if (clock.ts[i] - end) * clock.direction <= 0)
        return record._replace(inside=inside, is_cut=end != record.t1), step

    @torch.no_grad()
    def _crossings(self, taken: _Taken) -> list[tuple[float, int]]:
        """Where in the step (theta) which event crosses zero, in the solve's order."""
        thetas = [part / PARTS for part in range(1, PARTS)]
        if self._values is None:
            thetas.insert(0, taken.just_behind_start())
        values = self._sample(taken, thetas)
        tol = torch.finfo(taken.y0.dtype).eps
        crossings: list[tuple[float, int]] = []
        for i, (event, sampled) in enumerate(zip(self.events, values, strict=True)):
            points = list(zip([*thetas, 1.0], sampled, strict=True))
            if self._values is not None:
                points.insert(0, (0.0, self._values[i]))
            for (a, before), (b, after) in pairwise(points):
                if crosses(before, after, event.direction):
                    along = partial(taken.value, event)
                    theta = b if after == 0 else find_root(along, (a, b), (before, after), tol)
                    crossings.append((theta, i))
        self._values = [sampled[-1] for sampled in values]
        return sorted(crossings)

    def _sample(self, taken: _Taken, thetas: Sequence[float]) -> list[list[float]]:
        """Each event's values at the thetas and at the step's end; one wait for the device an event."""
        step, record = taken.step, taken.record
        if step.at_many is not None:
            states = list(step.at_many(thetas).unbind())
        else:
            states = [taken.state(theta) for theta in thetas]
        times, states = [taken.time(theta) for theta in [*thetas, 1.0]], [*states, step.y1]
        points = [(time_tensor(t, y), y) for t, y in zip(times, states, strict=True)]
        version = None if step.y1.is_inference() else step.y1._version
        values = [as_floats([event.value(t, y) for t, y in points]) for event in self.events]
        if version is not None and step.y1._version != version:
            raise ValueError(
                "an event function changed its state in place, which the solve goes on with; compute a new tensor"
            )
        if any(math.isnan(value) for sampled in values for value in sampled) and is_finite(step.y1):
            raise ValueError(
                f"an event function returned NaN between t={record.t:g} and t={record.t1:g}, where the state is "
                "finite; it must return a number at every state"
            )
        return values


class _Taken(NamedTuple):
    """A step that was taken from y0, with all that its interpolant needs."""

    record: StepRecord
    y0: Tensor
    f0: Tensor
    step: Step

    def time(self, theta: float) -> float:
        """t at theta, which runs from 0 to 1."""
        return self.record.t1 if theta == 1 else self.record.t + theta * self.record.dt

    def state(self, theta: Time) -> Tensor:
        """y at theta."""
        return interpolated(self.y0, self.f0, self.step, self.record.dt, theta)

    def value(self, event: Event, theta: float) -> float:
        """The event's value at theta."""
        y = self.state(theta)
        return float(event.value(time_tensor(self.time(theta), y), y))

    @torch.enable_grad()
    def slope(self, theta: float) -> Tensor:
        """dy/dt of the interpolant, by two reverse passes: the second through the cotangent of the first."""
        moving = torch.tensor(theta, dtype=time_dtype(self.y0), requires_grad=True)
        y = self.state(moving)
        cotangent = torch.zeros_like(y, requires_grad=True)
        (product,) = torch.autograd.grad(y, moving, cotangent, create_graph=True)
        (slope,) = torch.autograd.grad(product, cotangent)
        return slope / self.record.dt

    def just_behind_start(self) -> float:
        """Theta of a time behind the start, by a hundred times what rounding blurs; early in the step in any case.

        Rounding blurs a time by its own spacing, and by the time in which the state moves by its own.
        """
        eps = torch.finfo(self.y0.dtype).eps
        size, speed = torch.stack([torch.linalg.vector_norm(y) for y in (self.y0, self.f0)]).tolist()
        blur = max(eps * abs(self.record.t), eps * size / speed if speed else math.inf)
        return min(100 * blur / abs(self.record.dt), 1 / (2 * PARTS))


def as_floats(values: Sequence[Tensor | float]) -> list[float]:
    """The numbers that an event function returned; one wait for the device."""
    tensors = [value for value in values if isinstance(value, Tensor)]
    if len(tensors) < len(values):
        return [float(value) for value in values]
    return torch.stack(tensors).tolist()
