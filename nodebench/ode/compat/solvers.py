"""From torchdiffeq's method name and options to a Solver."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from nodebench.ode.budget import Spent
from nodebench.ode.clock import Clock, StepRecord
from nodebench.ode.compat.callbacks import Callbacks, TellingMethod, Told
from nodebench.ode.compat.grids import Grid
from nodebench.ode.compat.methods import adaptive_tableau, fixed_method
from nodebench.ode.compat.options import ADAPTIVE, SCIPY, controller, positive, scipy_method, times
from nodebench.ode.counts import Counts
from nodebench.ode.drive.control import StepControl
from nodebench.ode.drive.grid import grid_records
from nodebench.ode.drive.solver import (
    AdaptiveSolver,
    GridSolver,
    SelfDrivenSolver,
    Solver,
    Start,
    solve_in_parts,
)
from nodebench.ode.drive.state import LoopResult
from nodebench.ode.methods.explicit import ExplicitRungeKutta
from nodebench.ode.methods.method import Method, SelfDriven, Step
from nodebench.ode.methods.scipy import Scipy
from nodebench.ode.norms import Accuracy
from nodebench.ode.status import Status


def make_solver(
    method: str,
    options: Mapping[str, Any],
    accuracy: Accuracy,
    grid: Grid,
    callbacks: Callbacks | None = None,
) -> Solver:
    """The solver of a checked method with checked options; ValueError for values that make no sense."""
    if method in SCIPY:
        return SelfDrivenSolver(Scipy(scipy_method(options)), _scipy_control(options, accuracy))
    budget = positive(options, "max_num_steps")
    solver: AdaptiveSolver | GridSolver
    if method in ADAPTIVE:
        tableau = adaptive_tableau(method)
        solver = AdaptiveSolver(ExplicitRungeKutta(tableau), _step_control(options, accuracy))
    else:
        fixed = fixed_method(method, options)
        records = _perturbed_records if options.get("perturb", False) else grid_records
        tolerance = accuracy if fixed.traits.iterates else None
        solver = GridSolver(fixed, grid, accuracy=tolerance, make_records=records)
    return AdaptedSolver(solver, callbacks, None if budget is None else int(budget))


@dataclass(frozen=True)
class AdaptedSolver:
    """A solver that tells callbacks of its steps, and that has so many of them from one output to the next."""

    solver: AdaptiveSolver | GridSolver
    callbacks: Callbacks | None
    max_steps_per_output: int | None

    @property
    def method(self) -> Method | SelfDriven:
        """See Solver."""
        return self.solver.method

    @property
    def accuracy(self) -> Accuracy | None:
        """See Solver."""
        return self.solver.accuracy

    def solve(self, start: Start) -> LoopResult:
        """See Solver; callbacks are told of each part from output to output as of a solve."""
        if start.enter is not None:
            return solve_in_parts(self.solve, start)
        solver, heard = self.solver, list(start.observers)
        if self.max_steps_per_output is not None and isinstance(solver, AdaptiveSolver):
            budget = StepsPerOutput(self.max_steps_per_output, start.f.counts)
            solver = replace(solver, control=replace(solver.control, budget=budget))
            heard.append(budget)
        if self.callbacks is None:
            return solver.solve(start._replace(observers=heard))
        told = Told(self.callbacks, start.f.counts)
        solver = replace(solver, method=TellingMethod(solver.method, told))
        result = solver.solve(start._replace(observers=[*heard, told]))
        told.settle()
        return result


class StepsPerOutput:
    """A budget of steps that begins anew at each output, which it hears of as an observer."""

    def __init__(self, max_steps: int, counts: Counts) -> None:
        self._max_steps, self._counts = max_steps, counts
        self._before = counts.num_steps  # steps tried up to the latest output

    def spent(self, counts: Counts, cost: int) -> Spent | None:
        """See Budget."""
        if counts.num_steps - self._before < self._max_steps:
            return None
        return Spent(Status.MAX_STEPS, f"max_steps_per_output={self._max_steps}")

    def allows(self, counts: Counts, evaluations: int) -> bool:
        """See Budget: as many as are counted there."""
        return False

    def num_tries(self, counts: Counts, cost: int) -> int:
        """See Budget: one by one."""
        return 0

    def on_accept(self, record: StepRecord, y0: Tensor, f0: Tensor, step: Step) -> None:
        """See Observer."""
        if record.inside or record.lands_on is not None:
            self._before = self._counts.num_steps


def _perturbed_records(clock: Clock, grid: Sequence[float]) -> Iterator[StepRecord]:
    """Steps at whose two ends f is evaluated just inside: it may jump on the grid."""
    return (record._replace(jump_start=True, jump_end=True) for record in grid_records(clock, grid))


def _step_control(options: Mapping[str, Any], accuracy: Accuracy) -> StepControl:
    min_step, max_step = _step_bounds(options)
    step_ts, jump_ts = times(options, "step_t"), times(options, "jump_t")
    repeated = len(step_ts) + len(jump_ts) - len({*step_ts, *jump_ts})
    if repeated:
        raise ValueError(
            "`step_t` and `jump_t` name a time twice; name each once (a jump is stepped on anyway)"
        )
    return StepControl(
        accuracy,
        controller(options),
        first_step=positive(options, "first_step"),
        min_step=min_step,
        max_step=max_step,
        step_ts=step_ts,
        jump_ts=jump_ts,
    )


def _scipy_control(options: Mapping[str, Any], accuracy: Accuracy) -> StepControl:
    min_step, max_step = _step_bounds(options)
    if min_step and scipy_method(options) != "lsoda":
        warnings.warn(f"SciPy's {options['solver']} has no `min_step`; it has no effect", stacklevel=4)
        min_step = 0.0
    return StepControl(accuracy, min_step=min_step, max_step=max_step)


def _step_bounds(options: Mapping[str, Any]) -> tuple[float, float]:
    min_step = float(options.get("min_step", 0.0))
    max_step = positive(options, "max_step") or math.inf
    if not 0 <= min_step <= max_step:
        raise ValueError(f"`min_step` is {min_step}; it must lie between 0 and max_step={max_step}")
    return min_step, max_step
