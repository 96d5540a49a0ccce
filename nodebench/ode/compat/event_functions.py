"""Solves that end where torchdiffeq's `event_fn` changes sign, whenever that is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from nodebench.ode.clock import Clock, StepRecord, time_dtype
from nodebench.ode.compat.options import SCIPY, positive
from nodebench.ode.compat.solvers import AdaptedSolver
from nodebench.ode.drive.solver import GridSolver, Solver
from nodebench.ode.drive.watch import EventWatch
from nodebench.ode.events import Event
from nodebench.ode.field import time_tensor
from nodebench.ode.front_door import solve
from nodebench.ode.gradients.problem import Problem
from nodebench.ode.packing import Packing

EventFunction = Callable[[Tensor, Any], Tensor]
MOST_FIXED_STEPS = 20_000  # torchdiffeq's


class EventFunctionOfPacked:
    """Elements of event_fn's value, each with its sign at the start taken off: their least is the event's value.

    It falls from above zero when the first of them changes its sign; at the start it is zero if one of them is.
    """

    def __init__(self, event_fn: EventFunction, packing: Packing, t0: float, y0: Tensor) -> None:
        self._event_fn, self._packing = event_fn, packing
        with torch.no_grad():
            values = self._values(time_tensor(t0, y0), y0)
            self._signs = torch.sign(values)
            self.is_zero_at_start = bool((values == 0).any())

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        """The least of the elements that were positive at the start, 0-d."""
        return torch.min(self._values(t, y) * self._signs)

    def _values(self, t: Tensor, y: Tensor) -> Tensor:
        values = self._event_fn(t, self._packing.unpack(y))
        if not isinstance(values, Tensor) or values.is_complex() or not values.numel():
            what = f"{tuple(values.shape)} {values.dtype}" if isinstance(values, Tensor) else f"{values!r}"
            raise ValueError(
                f"`event_fn` returned {what}; it must return a tensor of real numbers, the first of which to change "
                "its sign is the event"
            )
        return values


def solve_until_event(
    problem: Problem,
    gradient: str,
    packing: Packing,
    event_fn: EventFunction,
    method: str,
    options: Mapping[str, Any],
) -> tuple[float, Tensor]:
    """When event_fn changes its sign, and the states at the start and then, (2, *y0.shape) packed.

    Both are those at the start if event_fn is zero there. Gradients are those at a constant time.

    Raises ValueError for times that say no direction, SciPy's solvers, and fixed steps of which nothing says how long
    they are; RuntimeError for an event that never comes.
    """
    clock, y0 = problem.clock, problem.y0
    if len(clock.ts) != 2 or clock.ts[0] == clock.ts[1]:
        raise ValueError(
            f"`t` is {list(clock.ts)}; with event_fn it has two different times, the second of which says no more "
            "than on which side of the first to look"
        )
    solver = _without_end(problem.solver, method, options)
    event = EventFunctionOfPacked(event_fn, packing, clock.ts[0], y0.detach())
    if event.is_zero_at_start:
        return clock.ts[0], torch.stack([y0, y0])
    horizon = clock.ts[0] + clock.direction * torch.finfo(time_dtype(y0)).max / 1e3
    clock = replace(clock, ts=(clock.ts[0], horizon), is_open=True)
    watch = EventWatch([Event(event, direction=-1)], signs=[1.0])
    ys = solve(replace(problem, clock=clock, solver=solver, watch=watch), gradient).ys
    if not watch.found:
        raise RuntimeError(
            f"`event_fn` did not change its sign in {problem.stats.forward.num_accepted} steps from "
            f"t[0]={clock.ts[0]:g} on; look on the other side, or solve between given times"
        )
    (crossing,) = watch.found
    return crossing.t, torch.stack([ys[0], crossing.y])


def _without_end(solver: Solver, method: str, options: Mapping[str, Any]) -> Solver:
    if method in SCIPY:
        raise ValueError(f"`{method}` takes its steps inside SciPy, where no event is looked for; use dopri5")
    assert isinstance(solver, AdaptedSolver), "all methods but SciPy's are"
    if not isinstance(solver.solver, GridSolver):
        return solver
    step_size = positive(options, "step_size")
    if step_size is None:
        raise ValueError(
            f"event_fn with method `{method}` needs options=dict(step_size=...), as nothing else says how long its "
            "steps are"
        )
    jumps = bool(options.get("perturb", False))

    def records(clock: Clock, grid: Sequence[float]) -> Iterator[StepRecord]:
        step, start = clock.direction * step_size, clock.ts[0]
        for i in range(MOST_FIXED_STEPS):
            t, t1 = start + i * step, start + (i + 1) * step
            yield StepRecord(t, t1 - t, t1, 0, None, (), jump_start=jumps, jump_end=jumps)

    return replace(solver, solver=replace(solver.solver, make_grid=lambda clock: (), make_records=records))
