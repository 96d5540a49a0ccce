"""Steps on a given grid of times: no error control, exactly as many steps as the grid has gaps.

The walk along the grid is the same for all; Runge-Kutta steps are here, multistep ones in multistep.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from nodebench.ode.clock import Clock, StepRecord
from nodebench.ode.counting import Field
from nodebench.ode.failures import SolveFailure, is_finite
from nodebench.ode.replay import first_stage, step_outputs
from nodebench.ode.seams import LoopResult, Observer, Quadrature
from nodebench.ode.status import SolverError, Status
from nodebench.ode.step import StageBuffer, StageList
from nodebench.ode.steppers import EagerStepper, MakeStepper, Stepper
from nodebench.ode.tableau import ButcherTableau

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


def grid_records(clock: Clock, grid: Sequence[float], perturb: bool) -> Iterator[StepRecord]:
    """The steps from each grid point to the next, with the outputs each one yields."""
    anchor, num_outputs = 0, 1
    for t, t1 in pairwise(grid):
        inside, lands_on = clock.split(num_outputs, t1)
        yield StepRecord(t, t1 - t, t1, anchor, lands_on, inside, perturb, perturb)
        num_outputs += len(inside) + (lands_on is not None)
        anchor = anchor if lands_on is None else lands_on


class GridStep(NamedTuple):
    """A step taken: its end, its stages with f(t, y0) first, and f(t1, y1) where it is known."""

    y1: Tensor
    stages: StageBuffer | StageList
    f1: Tensor | None


class GridMethod(Protocol):
    """What takes the steps on a grid. `tableau` says how to interpolate inside a step: cubic Hermite without one."""

    @property
    def tableau(self) -> ButcherTableau: ...

    def cost(self, record: StepRecord) -> int:
        """Evaluations the step needs at least."""
        ...

    def take(self, record: StepRecord, y0: Tensor) -> GridStep | SolverError:
        """The step that starts at y0, or why it cannot be taken."""
        ...


def walk_grid(
    f: Field,
    y0: Tensor,
    clock: Clock,
    grid: Sequence[float],
    make_method: Callable[[], GridMethod],
    failure: SolveFailure,
    *,
    perturb: bool = False,
    max_steps: int | None,
    max_nfe: int | None,
    observers: Sequence[Observer],
    quadrature: Quadrature | None = None,
) -> LoopResult:
    """Take every step of a grid that spans the output times.

    Outputs on the grid are the steps' ends, others are interpolated. Whether the state is finite is looked at once, at
    the end, as each look waits for the device: what is not finite stays so.
    """
    outputs, y, method = [y0], y0, make_method()
    nfe_before = f.counts.nfe
    for record in grid_records(clock, grid, perturb):
        if max_steps is not None and f.counts.num_steps >= max_steps:
            return LoopResult(
                outputs, failure.budget(Status.MAX_STEPS, f"max_steps={max_steps}", record.t), None
            )
        if max_nfe is not None and f.counts.nfe + method.cost(record) > max_nfe:
            return LoopResult(outputs, failure.budget(Status.MAX_NFE, f"max_nfe={max_nfe}", record.t), None)
        for observer in observers:
            observer.on_step(record.t, record.dt, y)
        step = method.take(record, y)
        if isinstance(step, SolverError):
            if is_finite(y):
                return LoopResult(outputs, step, None)
            break
        f.counts.accept(record.t, record.dt)
        if quadrature is not None:
            quadrature.accept(record.dt)
        new, f1 = step_outputs(f, method.tableau, clock, record, y, step.y1, step.stages, step.f1)
        for observer in observers:
            observer.on_accept(record, y, step.y1, step.stages, f1)
        outputs.extend(new[i] for i in sorted(new))
        y = step.y1
    if is_finite(y):
        return LoopResult(outputs, None, None)
    record, y = _first_non_finite(f, y0, grid_records(clock, grid, perturb), make_method(), nfe_before)
    what = "the vector field or the state became NaN or Inf"
    return LoopResult(outputs, failure.non_finite(record.t, record.dt, y, what), None)


@torch.no_grad()
def _first_non_finite(
    f: Field, y0: Tensor, records: Iterable[StepRecord], method: GridMethod, nfe_before: int
) -> tuple[StepRecord, Tensor]:
    """The first step to a state that is not finite, and the state it starts from.

    Found by taking the steps of the failed solve again, whose evaluations are not counted twice; the last step, if f
    does not do again what it did.
    """
    nfe, y = f.counts.nfe, y0
    f.counts.nfe = nfe_before
    for record in records:
        step, start = method.take(record, y), y
        if isinstance(step, SolverError) or not is_finite(step.y1):
            break
        y = step.y1
    f.counts.nfe = nfe
    return record, start


def solve_fixed(
    f: Field,
    y0: Tensor,
    clock: Clock,
    tableau: ButcherTableau,
    grid: Sequence[float],
    *,
    autograd: bool,
    perturb: bool = False,
    keep_stages: bool = False,
    max_steps: int | None = None,
    max_nfe: int | None = None,
    observers: Sequence[Observer] = (),
    quadrature: Quadrature | None = None,
    make_stepper: MakeStepper = EagerStepper,
) -> LoopResult:
    """Solve with one step from each grid point to the next; the grid spans the output times.

    `perturb` evaluates f just inside each step at its two ends, for a field that jumps on the grid. `keep_stages`
    evaluates the last stage of a FSAL method too, which an interpolant needs.
    """
    stepper = make_stepper(f, tableau, clock, None, quadrature)
    buffer = None if autograd else stepper.new_stages(y0, False)
    method = _RungeKuttaSteps(f, clock, tableau, stepper, buffer, keep_stages)
    return walk_grid(
        f,
        y0,
        clock,
        grid,
        lambda: method,
        SolveFailure(clock, f.counts, None, None, y0.dtype),
        perturb=perturb,
        max_steps=max_steps,
        max_nfe=max_nfe,
        observers=observers,
        quadrature=quadrature,
    )


@dataclass(frozen=True)
class _RungeKuttaSteps:
    """Steps of one tableau; without a buffer each has stages of its own, for autograd."""

    f: Field
    clock: Clock
    tableau: ButcherTableau
    stepper: Stepper
    buffer: StageBuffer | StageList | None
    keep_stages: bool

    def cost(self, record: StepRecord) -> int:
        return self.tableau.num_stages - (1 if self.tableau.is_fsal and not self.keep_stages else 0)

    def take(self, record: StepRecord, y0: Tensor) -> GridStep:
        stages = self.buffer if self.buffer is not None else self.stepper.new_stages(y0, True)
        stages[0] = first_stage(self.f, self.clock, record, y0)
        all_stages = self.keep_stages or bool(record.inside)
        y1 = self.stepper.take(record, y0, stages, all_stages=all_stages)
        return GridStep(y1, stages, stages[-1] if all_stages and self.tableau.is_fsal else None)
