"""The seam of a method: how one step is taken, and what else a method can do.

A method is a value. For each solve it makes `Steps`, which own what a step leaves behind for the next one: buffers,
a history. A loop hands over where to step from and gets a `Step`. Whoever needs to know what a method can do asks its
`traits`. A method of one's own in one function derives from `OneStep`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from nodebench.ode.budget import Budget
from nodebench.ode.clock import Clock, StepRecord, end_time, start_time
from nodebench.ode.drive.control import StepControl
from nodebench.ode.drive.state import LoopResult, LoopState, Pace
from nodebench.ode.failures import SolveFailure
from nodebench.ode.field import Field, Time, kept
from nodebench.ode.methods.traits import Traits
from nodebench.ode.norms import Accuracy
from nodebench.ode.status import SolverError


class Step(NamedTuple):
    """A step taken from y0: its end y1, and what is known beside it.

    f1 = f(t1, y1) where the step evaluated it. `error` estimates the error of y1: of its shape (integrals that the
    norm leaves out may be missing). `at(theta)` is y inside the step, theta from 0 to 1, by an interpolant of the
    method's own; `at_many(thetas)` is the same at several, along a new first axis, where the method has them in one go.
    `error_ratio`: the error in units of the tolerance, 0-d, where it was computed along with the step. `pace`: what
    solving the step's equations says of the next one.
    What a step hands out is good until the next one is taken, and for ever in a solve with dense output.
    """

    y1: Tensor
    f1: Tensor | None = None
    error: Tensor | None = None
    at: Callable[[Time], Tensor] | None = None
    error_ratio: Tensor | None = None
    at_many: Callable[[Sequence[float]], Tensor] | None = None
    pace: Pace | None = None


class Course(NamedTuple):
    """What a method is told of a solve.

    `control`: how steps are chosen by their error; None on a grid. `accuracy`: the tolerance, for steps that are chosen
    by it or that iterate to it. `autograd`: each step is recorded. `dense`: every step's interpolant is kept.
    """

    f: Field
    clock: Clock
    y0: Tensor
    failure: SolveFailure
    budget: Budget
    control: StepControl | None = None
    accuracy: Accuracy | None = None
    autograd: bool = False
    dense: bool = False


class Steps(ABC):
    """Takes the steps of one solve, in turn; a step may be tried several times from where it starts."""

    @abstractmethod
    def first(self, record: StepRecord, y0: Tensor) -> Tensor:
        """f0 = f(t, y0) at the start of a step, one evaluation; it stays as it is while steps are tried from there."""

    def hold(self, f1: Tensor) -> Tensor:
        """f1 of an accepted step as the f0 of the next, which stays as it is while that one is tried."""
        return kept(f1)

    @abstractmethod
    def take(self, record: StepRecord, y0: Tensor, f0: Tensor) -> Step | SolverError:
        """The step that starts at y0, or why it cannot be taken."""

    @abstractmethod
    def cost(self, record: StepRecord) -> int:
        """Evaluations that `take` needs at least."""

    @property
    def stability_limit(self) -> float | None:
        """dt |lambda| up to which a step damps what decays at that rate; None where any is, or none is known."""
        return None

    def longest_stable_step(self) -> Tensor | None:
        """The longest step that stability allows where the latest one was taken, 0-d; None where it cannot be told.

        Costs nothing before it is asked for.
        """
        return None

    def guess(self, f0: Tensor, order: int) -> Tensor | None:
        """What a first step is made of, see drive/first_step.py; None where it is guessed by calls of f."""
        return None

    def march(
        self, state: LoopState[float], until: float, max_tries: int, lands: bool
    ) -> LoopState[float] | None:
        """As many steps as end before the time `until`, `max_tries` at most; None if steps go one by one here.

        With `lands`, a step ends on it too.
        """
        return None


@runtime_checkable
class Method(Protocol):
    """How steps are taken."""

    @property
    def traits(self) -> Traits: ...

    def begin(self, course: Course) -> Steps:
        """The steps of one solve."""
        ...


@runtime_checkable
class SelfDriven(Protocol):
    """A method that chooses its steps itself: it takes the place of the loop too, and no step of its is told of."""

    @property
    def traits(self) -> Traits: ...

    def drive(self, course: Course) -> LoopResult:
        """The outputs at all of the clock's times; the course has a control."""
        ...


class OneStep(ABC):
    """A method in one function: give `traits`, `cost` (evaluations of a step beside f0) and `step`."""

    traits: Traits
    cost: int

    @abstractmethod
    def step(self, f: Callable[[Time, Tensor], Tensor], t: Time, dt: Time, y0: Tensor, f0: Tensor) -> Step:
        """The step from y0 at t to t + dt, f0 = f(t, y0) given. t and dt are floats, or tensors that require grad."""

    def begin(self, course: Course) -> Steps:
        """See Method."""
        return _StepsOfOne(self, course)


class _StepsOfOne(Steps):
    """Steps of a OneStep; f is never evaluated beyond the end of a step, where t + dt may round to."""

    def __init__(self, method: OneStep, course: Course) -> None:
        self._method, self._f, self._clock = method, course.f, course.clock

    def first(self, record: StepRecord, y0: Tensor) -> Tensor:
        """See Steps."""
        return kept(self._f(start_time(self._clock, record, y0), y0))

    def take(self, record: StepRecord, y0: Tensor, f0: Tensor) -> Step:
        """See Steps."""
        end, direction = end_time(self._clock, record, y0), self._clock.direction

        def inside(t: Time, y: Tensor) -> Tensor:
            is_end = not isinstance(t, Tensor) and (t - record.t1) * direction >= 0
            return self._f(end if is_end else t, y)

        t, dt = self._clock.start_and_size(record)
        return self._method.step(inside, t, dt, y0, f0)

    def cost(self, record: StepRecord) -> int:
        """See Steps."""
        return self._method.cost
