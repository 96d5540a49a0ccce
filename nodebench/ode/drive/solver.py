"""A method and how its steps follow each other, ready to solve: what the gradients are given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import NamedTuple, Protocol

from torch import Tensor

from nodebench.ode.budget import Budget, Limits
from nodebench.ode.clock import Clock, StepRecord
from nodebench.ode.drive.adaptive import Enter, solve_adaptive
from nodebench.ode.drive.control import StepControl
from nodebench.ode.drive.grid import grid_records, walk_grid
from nodebench.ode.drive.outputs import Observer, Watch
from nodebench.ode.drive.state import LoopResult
from nodebench.ode.failures import SolveFailure
from nodebench.ode.field import Field
from nodebench.ode.methods.method import Course, Method, SelfDriven
from nodebench.ode.norms import Accuracy


class Start(NamedTuple):
    """What is to be solved: from y0 at clock.ts[0] on. y0 is contiguous; the times are strictly monotonic, two or more.

    `autograd`: the accepted steps are recorded for backward(); no gradient flows through the choice of a step size.
    `first_step` is a guess that replaces the initial-step rule; `watch` looks inside each accepted step. With `enter`
    the solve goes on from what that makes of the state at each output but the last, which alone is handed out.
    """

    f: Field
    y0: Tensor
    clock: Clock
    autograd: bool = False
    observers: Sequence[Observer] = ()
    first_step: float | None = None
    watch: Watch | None = None
    enter: Enter | None = None

    def course(self, budget: Budget, accuracy: Accuracy | None) -> Course:
        """What a method is told of it."""
        if accuracy is not None and accuracy.is_shared:
            accuracy = accuracy.for_states(self.y0, self.f.riding)
        failure = SolveFailure(self.clock, self.f.counts, accuracy, self.y0.dtype)
        return Course(self.f, self.clock, self.y0, failure, budget, accuracy=accuracy, autograd=self.autograd)


class Solver(Protocol):
    """A method with its settings, ready to solve."""

    @property
    def method(self) -> Method | SelfDriven: ...

    @property
    def accuracy(self) -> Accuracy | None:
        """The tolerance that steps are chosen by, or iterate to."""
        ...

    def solve(self, start: Start) -> LoopResult:
        """The outputs at the clock's times, as far as they are reached."""
        ...


def solve_in_parts(solve: Callable[[Start], LoopResult], start: Start) -> LoopResult:
    """A solve with `enter` as one solve from each output to the next, which begins with the wish of the one before."""
    assert start.enter is not None, "what else would it be parted for"
    y, size, last = start.y0, start.first_step, len(start.clock.ts) - 1
    for i, times in enumerate(pairwise(start.clock.ts), start=1):
        clock = start.clock.through(times)
        result = solve(start._replace(y0=y, clock=clock, first_step=size, enter=None))
        if result.error is not None or i == last:
            break
        y, size = start.enter(i, result.outputs[-1]), result.next_step
    return result._replace(outputs=result.outputs[-1:])


@dataclass(frozen=True)
class AdaptiveSolver:
    """Steps whose error meets a tolerance; a first step in the control stands above the guess."""

    method: Method
    control: StepControl
    dense: bool = False

    @property
    def accuracy(self) -> Accuracy:
        """See Solver."""
        return self.control.accuracy

    def solve(self, start: Start) -> LoopResult:
        """See Solver. What a method remembers of its steps is of no use behind a state that jumped."""
        traits = self.method.traits
        if start.enter is not None and (traits.is_implicit or not traits.is_one_step):
            return solve_in_parts(self.solve, start)
        control = self.control
        if start.first_step is not None and control.first_step is None:
            control = replace(control, first_step=start.first_step)
        dense = self.dense or start.watch is not None
        course = start.course(control.budget, control.accuracy)._replace(control=control, dense=dense)
        return solve_adaptive(course, self.method, start.observers, start.watch, start.enter)


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

    def solve(self, start: Start) -> LoopResult:
        """See Solver; the grid leaves nothing to a guess."""
        if start.enter is not None:
            return solve_in_parts(self.solve, start)
        grid = self.make_grid(start.clock)
        course = start.course(self.budget, self.accuracy)._replace(
            dense=self.dense or start.watch is not None
        )

        def records() -> Iterator[StepRecord]:
            return self.make_records(start.clock, grid)

        return walk_grid(course, self.method, records, start.observers, start.watch)


def alone(solver: Solver) -> Solver:
    """The same solver without the processes that it shares its steps with, if there are any."""
    if isinstance(solver, AdaptiveSolver):
        return replace(solver, control=replace(solver.control, accuracy=solver.accuracy.alone()))
    if isinstance(solver, GridSolver) and solver.accuracy is not None:
        return replace(solver, accuracy=solver.accuracy.alone())
    return solver


@dataclass(frozen=True)
class SelfDrivenSolver:
    """A method that chooses its steps itself: nobody hears of them, and a restart finds its own first one."""

    method: SelfDriven
    control: StepControl

    @property
    def accuracy(self) -> Accuracy:
        """See Solver."""
        return self.control.accuracy

    def solve(self, start: Start) -> LoopResult:
        """See Solver."""
        if start.enter is not None:
            return solve_in_parts(self.solve, start)
        course = start.course(self.control.budget, self.control.accuracy)
        return self.method.drive(course._replace(control=self.control))
