"""A method and how its steps follow each other, ready to solve: what the gradients are given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from torch import Tensor

from nodebench.ode.budget import Budget, Limits
from nodebench.ode.clock import Clock, StepRecord
from nodebench.ode.drive.adaptive import solve_adaptive
from nodebench.ode.drive.control import StepControl
from nodebench.ode.drive.grid import grid_records, walk_grid
from nodebench.ode.drive.observer import Observer
from nodebench.ode.drive.state import LoopResult
from nodebench.ode.failures import SolveFailure
from nodebench.ode.field import Field
from nodebench.ode.methods.method import Course, Method, SelfDriven
from nodebench.ode.norms import Accuracy


class Solver(Protocol):
    """A method with its settings, ready to solve."""

    @property
    def method(self) -> Method | SelfDriven: ...

    def solve(
        self,
        f: Field,
        y0: Tensor,
        clock: Clock,
        *,
        autograd: bool,
        observers: Sequence[Observer] = (),
        first_step: float | None = None,
    ) -> LoopResult:
        """Solve from clock.ts[0] on; y0 is contiguous, and the times are strictly monotonic, two or more.

        `autograd`: the accepted steps are recorded for backward(); no gradient flows through the choice of a step size.
        `first_step` is a guess that replaces the initial-step rule.
        """
        ...


@dataclass(frozen=True)
class AdaptiveSolver:
    """Steps whose error meets a tolerance."""

    method: Method
    control: StepControl
    dense: bool = False

    def solve(
        self,
        f: Field,
        y0: Tensor,
        clock: Clock,
        *,
        autograd: bool,
        observers: Sequence[Observer] = (),
        first_step: float | None = None,
    ) -> LoopResult:
        """See Solver.solve; a first step in the control stands above the guess."""
        control = self.control
        if first_step is not None and control.first_step is None:
            control = replace(control, first_step=first_step)
        failure = SolveFailure(clock, f.counts, control.accuracy, y0.dtype)
        course = Course(f, clock, y0, failure, control.budget, autograd, True, control.accuracy, self.dense)
        return solve_adaptive(course, self.method, control, observers)


@dataclass(frozen=True)
class GridSolver:
    """Steps on the grid that `make_grid` lays over the output times, one from each of its points to the next.

    `accuracy` is for methods that iterate to it.
    """

    method: Method
    make_grid: Callable[[Clock], Sequence[float]]
    budget: Budget = field(default_factory=Limits)
    accuracy: Accuracy | None = None
    dense: bool = False
    make_records: Callable[[Clock, Sequence[float]], Iterator[StepRecord]] = grid_records

    def solve(
        self,
        f: Field,
        y0: Tensor,
        clock: Clock,
        *,
        autograd: bool,
        observers: Sequence[Observer] = (),
        first_step: float | None = None,
    ) -> LoopResult:
        """See Solver.solve; the grid leaves nothing to a guess."""
        grid = self.make_grid(clock)
        failure = SolveFailure(clock, f.counts, self.accuracy, y0.dtype)
        course = Course(f, clock, y0, failure, self.budget, autograd, False, self.accuracy, self.dense)
        return walk_grid(course, self.method, lambda: self.make_records(clock, grid), observers)


@dataclass(frozen=True)
class SelfDrivenSolver:
    """A method that chooses its steps itself."""

    method: SelfDriven
    control: StepControl

    def solve(
        self,
        f: Field,
        y0: Tensor,
        clock: Clock,
        *,
        autograd: bool,
        observers: Sequence[Observer] = (),
        first_step: float | None = None,
    ) -> LoopResult:
        """See Solver.solve; nobody hears of the steps, and a restart finds its own first one."""
        failure = SolveFailure(clock, f.counts, self.control.accuracy, y0.dtype)
        course = Course(f, clock, y0, failure, self.control.budget, autograd, True, self.control.accuracy)
        return self.method.drive(course, self.control)
