"""Runge-Kutta steps on a given grid of times: no error control, exactly as many steps as the grid has gaps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from nodebench.ode.clock import Clock, StepRecord
from nodebench.ode.counting import Field
from nodebench.ode.failures import SolveFailure
from nodebench.ode.loop import LoopResult, Observer, Quadrature, first_stage, step_outputs, take_step
from nodebench.ode.status import Status
from nodebench.ode.step import StageBuffer, StageList
from nodebench.ode.tableau import ButcherTableau


def uniform_grid(ts: Sequence[float], dt: float) -> list[float]:
    """Output times with each gap divided into the fewest equal steps of at most dt.

    Every output is a grid point, so nothing is interpolated and no step is a leftover sliver; where dt divides the
    gaps, all steps are dt.
    """
    grid = [ts[0]]
    for start, end in pairwise(ts):
        num_steps = max(1, math.ceil(abs(end - start) / dt * (1 - 1e-12)))
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
) -> LoopResult:
    """Solve with one step from each grid point to the next; the grid spans the output times.

    Outputs on the grid are the steps' ends, others are interpolated. `perturb` evaluates f just inside each step at
    its two ends, for a field that jumps on the grid. `keep_stages` evaluates the last stage of a FSAL method too,
    which an interpolant needs.
    """
    failure = SolveFailure(clock, f.counts, None, y0.dtype)
    cost = tableau.num_stages - (1 if tableau.is_fsal and not keep_stages else 0)
    outputs, y = [y0], y0
    buffer = None if autograd else StageBuffer(tableau.num_stages, y0)
    for record in grid_records(clock, grid, perturb):
        if max_steps is not None and f.counts.num_steps >= max_steps:
            return LoopResult(
                outputs, failure.budget(Status.MAX_STEPS, f"max_steps={max_steps}", record.t), None
            )
        if max_nfe is not None and f.counts.nfe + cost > max_nfe:
            return LoopResult(outputs, failure.budget(Status.MAX_NFE, f"max_nfe={max_nfe}", record.t), None)
        for observer in observers:
            observer.on_step(record.t, record.dt, y)
        stages = buffer if buffer is not None else StageList(tableau.num_stages)
        stages[0] = first_stage(f, clock, record, y)
        all_stages = keep_stages or bool(record.inside)
        y1 = take_step(f, tableau, clock, record, y, stages, with_error=all_stages)
        f1 = stages[-1] if all_stages and tableau.is_fsal else None
        f.counts.accept(record.t, record.dt)
        if quadrature is not None:
            quadrature.accept(record.dt)
        new, f1 = step_outputs(f, tableau, clock, record, y, y1, stages, f1)
        for observer in observers:
            observer.on_accept(record, y, y1, stages, f1)
        outputs.extend(new[i] for i in sorted(new))
        y = y1
    if not bool(torch.isfinite(y).all()):
        error = failure.non_finite(clock.ts[-1], grid[-1] - grid[-2], y, "the state became NaN or Inf")
        return LoopResult(outputs, error, None)
    return LoopResult(outputs, None, None)
