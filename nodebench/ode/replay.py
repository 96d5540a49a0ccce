"""A step as its record describes it: taken the first time by a loop, again by a checkpointed gradient."""

from __future__ import annotations

from torch import Tensor

from nodebench.ode.clock import Clock, StepRecord, neighbour
from nodebench.ode.counting import Field, Time
from nodebench.ode.interpolation import cubic_hermite, own_interpolant
from nodebench.ode.step import StageBuffer, StageList, rk_step
from nodebench.ode.tableau import ButcherTableau


def first_stage(f: Field, clock: Clock, record: StepRecord, y: Tensor) -> Tensor:
    """k_0 = f(t, y) of a step, behind the jump if the step starts at one."""
    t = clock.time(record.t, record.anchor)
    return f(neighbour(t, y, clock.direction) if record.jump_start else t, y)


def take_step(
    f: Field,
    tableau: ButcherTableau,
    clock: Clock,
    record: StepRecord,
    y0: Tensor,
    stages: StageBuffer | StageList,
    *,
    with_error: bool,
) -> Tensor:
    """y1 of the step that a record describes, k_0 in stages[0] given."""
    t, dt = clock.start_and_size(record)
    return rk_step(
        f, tableau, t, dt, y0, stages, with_error=with_error, last_time=end_time(clock, record, y0)
    )


def end_time(clock: Clock, record: StepRecord, y: Tensor) -> Time:
    """Where f is evaluated at the end of a step: before the jump if the step ends at one."""
    t1 = clock.end(record)
    return neighbour(t1, y, -clock.direction) if record.jump_end else t1


def step_outputs(
    f: Field,
    tableau: ButcherTableau,
    clock: Clock,
    record: StepRecord,
    y0: Tensor,
    y1: Tensor,
    stages: StageBuffer | StageList,
    f1: Tensor | None,
) -> tuple[dict[int, Tensor], Tensor | None]:
    """The outputs that a step yields, by index, and f(t1, y1) if it is known or one of them needed it."""
    outputs: dict[int, Tensor] = {}
    t, dt = clock.start_and_size(record)
    for i in record.inside:
        theta = clock.theta(i, t, dt)
        if tableau.interpolant is not None:
            outputs[i] = own_interpolant(tableau, y0, dt, stages, theta)
        else:
            if f1 is None:
                f1 = f(end_time(clock, record, y1), y1)
            outputs[i] = cubic_hermite(y0, y1, stages[0], f1, dt, theta)
    if record.lands_on is not None:
        outputs[record.lands_on] = y1
    return outputs, f1
