"""Steps on a given grid of times: no error control, exactly as many steps as the grid has gaps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from nodebench.ode.clock import Clock, StepRecord
from nodebench.ode.drive.outputs import Observer, Watch, step_outputs
from nodebench.ode.drive.state import LoopResult
from nodebench.ode.failures import is_finite
from nodebench.ode.methods.method import Course, Method, Step
from nodebench.ode.status import SolverError

MAX_GRID_STEPS = 10_000_000  # a grid is a list; more steps than this is a slip of the keyboard


def uniform_grid(clock: Clock, dt: float) -> list[float]:
    """Output times with each gap divided into the fewest equal steps of at most dt, up to the rounding of the times.

    Every output is a grid point, so nothing is interpolated and no step is a leftover sliver; where dt divides the
    gaps, all steps are dt.

    Raises ValueError for more than `MAX_GRID_STEPS` steps.
    """
    if clock.span / dt > MAX_GRID_STEPS:
        raise ValueError(
            f"dt={dt:g} divides the {clock.span:g} from ts[0] to ts[-1] into more than {MAX_GRID_STEPS:,} steps; "
            "take a larger dt"
        )
    grid, slack = [clock.ts[0]], clock.slack(dt)
    for start, end in pairwise(clock.ts):
        num_steps = max(1, math.ceil((abs(end - start) * (1 - 1e-12) - slack) / dt))
        grid += [start + (end - start) * (i / num_steps) for i in range(1, num_steps)]
        grid.append(end)
    return grid


def grid_records(clock: Clock, grid: Sequence[float]) -> Iterator[StepRecord]:
    """The steps from each grid point to the next, with the outputs each one yields."""
    anchor, num_outputs = 0, 1
    for t, t1 in pairwise(grid):
        inside, lands_on = clock.split(num_outputs, t1)
        yield StepRecord(t, t1 - t, t1, anchor, lands_on, inside)
        num_outputs += len(inside) + (lands_on is not None)
        anchor = anchor if lands_on is None else lands_on


def walk_grid(
    course: Course,
    method: Method,
    records: Callable[[], Iterator[StepRecord]],
    observers: Sequence[Observer],
    watch: Watch | None = None,
) -> LoopResult:
    """Take every step of a grid that spans the output times, or as many as a watch lets follow.

    Outputs on the grid are the steps' ends, others are interpolated. Whether the state is finite is looked at once, at
    the end, as each look waits for the device: what is not finite stays so.
    """
    f, clock, failure, y = course.f, course.clock, course.failure, course.y0
    outputs, steps, nfe_before = [y], method.begin(course), f.counts.nfe
    traits, known = method.traits, None  # f at the start of a step, where the watch asked for it
    end_slope = watch is not None and not (traits.has_interpolant or traits.knows_f1)
    for record in records():
        cost = (known is None) + steps.cost(record) + end_slope
        error = failure.if_spent(course.budget, cost, record.t)
        if error is not None:
            return LoopResult(outputs, error, None)
        f0 = steps.first(record, y) if known is None else steps.hold(known)
        step = steps.take(record, y, f0)
        if isinstance(step, SolverError):
            if is_finite(y):
                return LoopResult(outputs, step, None)
            break
        f.counts.accept(record.t, record.dt)
        if watch is not None:
            record, step = watch.look(f, clock, record, y, f0, step)
            known = None if record.jump_end else step.f1
        new, step = step_outputs(f, clock, record, y, f0, step)
        for observer in observers:
            observer.on_accept(record, y, f0, step)
        outputs.extend(new[i] for i in sorted(new))
        y = step.y1
        if watch is not None and watch.is_over:
            break
    if is_finite(y):
        return LoopResult(outputs, None, None)
    record, y = _first_non_finite(course, method, records(), nfe_before)
    what = "the vector field or the state became NaN or Inf"
    return LoopResult(outputs, failure.non_finite(record.t, record.dt, y, what), None)


@torch.no_grad()
def _first_non_finite(
    course: Course, method: Method, records: Iterator[StepRecord], nfe_before: int
) -> tuple[StepRecord, Tensor]:
    """The first step to a state that is not finite, and the state it starts from.

    Found by taking the steps of the failed solve again, whose evaluations are not counted twice; the last step, if f
    does not do again what it did.
    """
    counts, y = course.f.counts, course.y0
    nfe, counts.nfe = counts.nfe, nfe_before
    steps = method.begin(course)
    for record in records:
        step, start = steps.take(record, y, steps.first(record, y)), y
        if not isinstance(step, Step) or not is_finite(step.y1):
            break
        y = step.y1
    counts.nfe = nfe
    return record, start
