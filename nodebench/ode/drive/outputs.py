"""What an accepted step is good for: the outputs that it meets or passes over, and those who hear of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from torch import Tensor

from nodebench.ode.clock import Clock, StepRecord, end_time
from nodebench.ode.field import Field, Time
from nodebench.ode.interpolation import cubic_hermite
from nodebench.ode.methods.method import Step


class Observer(Protocol):
    """Hears of every step that a loop accepts."""

    def on_accept(self, record: StepRecord, y0: Tensor, f0: Tensor, step: Step) -> None:
        """A step from y0, where the slope is f0, was accepted; step.f1 is there where anyone needed it."""
        ...


class Watch(Protocol):
    """Looks into every accepted step before its outputs are made, and may end the solve inside of it."""

    @property
    def is_over(self) -> bool:
        """Whether the latest step was the last one."""
        ...

    def look(
        self, f: Field, clock: Clock, record: StepRecord, y0: Tensor, f0: Tensor, step: Step
    ) -> tuple[StepRecord, Step]:
        """The step, and its record with what was found inside, without the outputs behind the solve's end."""
        ...


def step_outputs(
    f: Field, clock: Clock, record: StepRecord, y0: Tensor, f0: Tensor, step: Step
) -> tuple[dict[int, Tensor], Step]:
    """The outputs of a step, by index, and the step, with f(t1, y1) if one of them needed it."""
    outputs: dict[int, Tensor] = {}
    if record.inside:
        t, dt = clock.start_and_size(record)
        thetas = [clock.theta(i, t, dt) for i in record.inside]
        step = with_end_slope(f, clock, record, step)
        if step.at_many is not None and clock.tensor is None and len(thetas) > 1:
            inside: Iterable[Tensor] = step.at_many([float(theta) for theta in thetas]).unbind()
        else:
            inside = (interpolated(y0, f0, step, dt, theta) for theta in thetas)
        outputs.update(zip(record.inside, inside, strict=True))
    if record.lands_on is not None and not record.is_cut:
        outputs[record.lands_on] = step.y1
    return outputs, step


def with_end_slope(f: Field, clock: Clock, record: StepRecord, step: Step) -> Step:
    """The step with f(t1, y1) if its interpolant is the cubic, which needs it."""
    if step.at is not None or step.f1 is not None:
        return step
    return step._replace(f1=f(end_time(clock, record, step.y1), step.y1))


def state_inside(clock: Clock, record: StepRecord, y0: Tensor, f0: Tensor, step: Step, time: float) -> Tensor:
    """y at a constant time inside a step that comes with what its interpolant needs."""
    t, dt = clock.start_and_size(record)
    return interpolated(y0, f0, step, dt, clock.inside(time, t, dt))


def interpolated(y0: Tensor, f0: Tensor, step: Step, dt: Time, theta: Time) -> Tensor:
    """y inside a step, by the method's own interpolant or by the slopes at both ends."""
    if step.at is not None:
        return step.at(theta)
    assert step.f1 is not None
    return cubic_hermite(y0, step.y1, f0, step.f1, dt, theta)
