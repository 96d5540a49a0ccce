"""From torchdiffeq's method name and options to a Solver."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from nodebench.ode.budget import Spent
from nodebench.ode.clock import Clock, StepRecord
from nodebench.ode.compat.callbacks import Callbacks, TellingMethod, Told
from nodebench.ode.compat.grids import Grid
from nodebench.ode.compat.options import (
    ADAMS,
    ADAPTIVE,
    FIXED,
    SCIPY,
    controller,
    positive,
    scipy_method,
    times,
)
from nodebench.ode.counts import Counts
from nodebench.ode.drive.control import StepControl
from nodebench.ode.drive.grid import grid_records
from nodebench.ode.drive.solver import AdaptiveSolver, GridSolver, SelfDrivenSolver, Solver, Start
from nodebench.ode.drive.state import LoopResult
from nodebench.ode.methods.adams import Adams
from nodebench.ode.methods.explicit import ExplicitRungeKutta
from nodebench.ode.methods.method import Method, SelfDriven, Step
from nodebench.ode.methods.registry import WITHOUT_TABLEAU
from nodebench.ode.methods.scipy import Scipy
from nodebench.ode.methods.tableau import ButcherTableau
from nodebench.ode.methods.tableaus import load_tableaus
from nodebench.ode.norms import Accuracy
from nodebench.ode.status import Status

_INTERPOLANTS = ("linear", "cubic")
# Weights of the solution at the middle of a bosh3 step: its second stage is an Euler step to there.
_BOSH3_MIDPOINT = (0.0, 0.5, 0.0, 0.0)


def make_solver(
    method: str,
    options: Mapping[str, Any],
    accuracy: Accuracy,
    grid: Grid,
    callbacks: Callbacks | None = None,
) -> Solver:
    """The solver of a checked method with checked options; ValueError for values that make no sense."""
    if method in SCIPY:
        min_step, max_step = _step_bounds(options)
        control = StepControl(accuracy, min_step=min_step, max_step=max_step)
        return SelfDrivenSolver(Scipy(scipy_method(options)), control)
    budget = positive(options, "max_num_steps")
    solver: AdaptiveSolver | GridSolver
    if method in ADAPTIVE:
        tableau = adaptive_tableau(method)
        solver = AdaptiveSolver(ExplicitRungeKutta(tableau), _step_control(options, accuracy))
    elif method in ADAMS:
        adams = _adams(method, options)
        solver = GridSolver(adams, grid, accuracy=accuracy if adams.traits.iterates else None)
    else:
        records = _perturbed_records if options.get("perturb", False) else grid_records
        fixed = ExplicitRungeKutta(_fixed_tableau(method, options))
        solver = GridSolver(fixed, grid, make_records=records)
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
        """See Solver."""
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


def _step_bounds(options: Mapping[str, Any]) -> tuple[float, float]:
    min_step = float(options.get("min_step", 0.0))
    max_step = positive(options, "max_step") or math.inf
    if not 0 <= min_step <= max_step:
        raise ValueError(f"`min_step` is {min_step}; it must lie between 0 and max_step={max_step}")
    return min_step, max_step


def _adams(method: str, options: Mapping[str, Any]) -> Method:
    if options.get("interp", "cubic") != "cubic":
        raise ValueError(
            f"`interp` is {options['interp']!r}; `{method}` interpolates by the cubic here, so drop the option"
        )
    adams = WITHOUT_TABLEAU[ADAMS[method]]
    assert isinstance(adams, Adams)
    max_iters = positive(options, "max_iters")
    if max_iters is None or not adams.max_iterations:
        return adams
    return replace(adams, max_iterations=int(max_iters))


@functools.cache
def adaptive_tableau(method: str) -> ButcherTableau:
    """The method with torchdiffeq's interpolant where that is another one than ours (bosh3 and dopri8)."""
    tableau = load_tableaus()[ADAPTIVE[method]]
    if method == "bosh3":
        return _with_quartic(tableau, _BOSH3_MIDPOINT)
    if method == "dopri8":
        assert tableau.interpolant is not None
        halves = [sum(c * 0.5**p for p, c in enumerate(row, start=1)) for row in tableau.interpolant]
        return _with_quartic(tableau, tuple(halves))
    return tableau


def _with_quartic(tableau: ButcherTableau, midpoint: tuple[float, ...]) -> ButcherTableau:
    """The tableau of a FSAL method, interpolated by the quartic with its values and slopes at both ends of a step
    and the value y + dt * sum_i midpoint[i] k_i in the middle."""
    rows = []
    for i, (b, m) in enumerate(zip(tableau.b, midpoint, strict=True)):
        slope0, slope1 = float(i == 0), float(i == tableau.num_stages - 1)
        rows.append(
            (
                slope0,
                slope1 - 4 * slope0 - 5 * b + 16 * m,
                5 * slope0 - 3 * slope1 + 14 * b - 32 * m,
                2 * (slope1 - slope0) - 8 * b + 16 * m,
            )
        )
    return replace(tableau, interpolant=tuple(rows))


def _fixed_tableau(method: str, options: Mapping[str, Any]) -> ButcherTableau:
    """The method with the interpolant that `interp` names."""
    interp = options.get("interp", "linear")
    if interp not in _INTERPOLANTS:
        raise ValueError(f"`interp` is {interp!r}; it must be one of: {', '.join(_INTERPOLANTS)}")
    tableau = load_tableaus()[FIXED[method]]
    # y0 + theta (y1 - y0) is y0 + dt * sum_i theta b_i k_i; without an interpolant of its own a method uses the cubic.
    return replace(tableau, interpolant=tuple((b,) for b in tableau.b) if interp == "linear" else None)
