"""What an accepted step is good for: the outputs that it meets or passes over, and those who hear of it."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from nodebench.ode.clock import Clock, StepRecord, end_time
from nodebench.ode.field import Field
from nodebench.ode.interpolation import cubic_hermite
from nodebench.ode.methods.method import Step


class Observer(Protocol):
    """Hears of every step that a loop accepts."""

    def on_accept(self, record: StepRecord, y0: Tensor, f0: Tensor, step: Step) -> None:
        """A step from y0, where the slope is f0, was accepted; step.f1 is there where anyone needed it."""
        ...


def step_outputs(
    f: Field, clock: Clock, record: StepRecord, y0: Tensor, f0: Tensor, step: Step
) -> tuple[dict[int, Tensor], Step]:
    """The outputs of a step, by index, and the step, with f(t1, y1) if one of them needed it."""
    outputs: dict[int, Tensor] = {}
    if record.inside:
        t, dt = clock.start_and_size(record)
        for i in record.inside:
            theta = clock.theta(i, t, dt)
            if step.at is not None:
                outputs[i] = step.at(theta)
                continue
            if step.f1 is None:
                step = step._replace(f1=f(end_time(clock, record, step.y1), step.y1))
            assert step.f1 is not None
            outputs[i] = cubic_hermite(y0, step.y1, f0, step.f1, dt, theta)
    if record.lands_on is not None:
        outputs[record.lands_on] = step.y1
    return outputs, step
