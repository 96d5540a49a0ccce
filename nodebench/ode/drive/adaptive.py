"""The adaptive loop: steps whose estimated error meets the tolerance.

The loop receives its parts (field, method, controller, norm) and hands back outputs and, if it had to stop early,
the error that says why. It does not know which gradient is wanted: it is told whether autograd records, and it tells
its observers of every step. Steps on a given grid are in grid.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from nodebench.ode.clock import StepRecord
from nodebench.ode.drive.control import StepControl
from nodebench.ode.drive.crawl import Crawl
from nodebench.ode.drive.decide import at_pace, decide, reaches
from nodebench.ode.drive.first_step import first_step, read
from nodebench.ode.drive.outputs import Observer, Watch, step_outputs
from nodebench.ode.drive.state import LoopResult, LoopState
from nodebench.ode.drive.stiffness import LIMITED, MANY_STEPS, TURNS, fastest_rate
from nodebench.ode.failures import is_finite
from nodebench.ode.field import time_tensor
from nodebench.ode.methods.method import Course, Method, Step
from nodebench.ode.norms import nan_beside
from nodebench.ode.status import ConvergenceError, SolverError

UNSOLVED_FACTOR = 0.5  # of a step whose equations could not be solved
FEW_STEPS = 4  # as many as are not worth a march
MOST_TRIES = 1000  # of one march, so that it can be interrupted

Enter = Callable[[int, Tensor], Tensor]  # the number of an output and the state there -> where to go on from


def solve_adaptive(
    course: Course,
    method: Method,
    observers: Sequence[Observer],
    watch: Watch | None = None,
    enter: Enter | None = None,
) -> LoopResult:
    """Solve with steps whose estimated error meets the tolerance; the last step is clipped to the last output.

    A watch may end the solve before. With `enter` every output is stepped on; behind it the controller knows of its
    wish for the next step alone, and the method of nothing.
    """
    assert course.control is not None, "an adaptive loop is told how to choose its steps"
    return _AdaptiveLoop(course, method, course.control, observers, watch, enter).run()


class _AdaptiveLoop:
    """One adaptive solve: its state, and what is still to be output."""

    def __init__(
        self,
        course: Course,
        method: Method,
        control: StepControl,
        observers: Sequence[Observer],
        watch: Watch | None,
        enter: Enter | None,
    ) -> None:
        self.control, self.observers, self.watch, self.is_over = control, observers, watch, False
        self.enter = enter
        self.accuracy = control.accuracy.for_states(course.y0, course.f.riding)
        self.is_recorded = course.autograd
        self.f, self.clock, self.failure = course.f, course.clock, course.failure
        self.counts, self.y0 = course.f.counts, course.y0
        self.traits, self.steps = method.traits, method.begin(course)
        self.error_order = self.traits.error_order or self.traits.order
        self.crawl = Crawl()
        self.anchor = 0
        self.outputs, self.num_reached = [course.y0], 1
        # Steps that somebody hears of or keeps are taken one by one.
        self.can_march = not (course.autograd or observers or watch or self.counts.steps is not None)
        self.can_march &= self.traits.knows_f1 and not self.accuracy.is_shared
        start, direction = self.clock.ts[0], self.clock.direction
        outputs = self.clock.ts[-1:] if enter is None else self.clock.ts
        stops = {*control.step_ts, *control.jump_ts, *outputs}
        ahead = [stop for stop in stops if (stop - start) * direction > 0]
        self.stops = sorted(ahead, key=lambda stop: -stop * direction)  # the nearest is last

    def run(self) -> LoopResult:
        """The outputs, as far as they are reached."""
        size, t = self.control.first_step, self.clock.ts[0]
        error = self.failure.if_spent(self.control.budget, 2 if size is None else 1, t)
        if error is not None:
            return LoopResult(self.outputs, error, size)
        f0 = self._first_slope(t, self.y0, t in self.control.jump_ts)
        if size is None:
            size = self._guess(f0)
        self.state = LoopState(t, size, self.control.controller.initial_history, self.y0, f0)
        if math.isnan(size):
            error = self._no_first_step()
        while error is None and self.num_reached < len(self.clock.ts) and not self.is_over:
            if self._march():
                continue
            record = self._next_record()
            error = self._spent_budget(self._cost(record), record.t) or self._try_step(record)
        if error is None and self.counts.num_steps >= MANY_STEPS:
            self.counts.is_stiff |= self._is_stiff()
        return LoopResult(self.outputs, error, self.state.size)

    def _march(self) -> bool:
        """Have the method take the steps that need no more than stepping, where it can; whether to ask it again.

        What is left to the loop: steps that pass over outputs, end where the field jumps, may be the last that a budget
        allows, or go wrong.
        """
        control, state = self.control, self.state
        if not self.can_march or state.t in control.jump_ts or state.size <= control.min_step:
            return False
        until = min(self.clock.ts[self.num_reached], self.stops[-1], key=lambda t: t * self.clock.direction)
        lands = until == self.stops[-1] and until not in control.jump_ts
        if not lands and abs(until - state.t) < FEW_STEPS * min(state.size, control.max_step):
            return False
        cost = self.steps.cost(StepRecord(state.t, 0.0, state.t, self.anchor, None, ()))
        tries = control.budget.num_tries(self.counts, cost)
        tries = MOST_TRIES if tries is None else min(MOST_TRIES, tries)
        end = self.steps.march(state, until, tries, lands)
        if end is None:
            self.can_march = False
            return False
        num_tried = end.num_accepted + end.num_rejected
        if num_tried == 0:
            return False
        self.counts.num_accepted = (self.counts.num_accepted or 0) + end.num_accepted
        self.counts.num_rejected = (self.counts.num_rejected or 0) + end.num_rejected
        self.failure.last_ratio = end.last_ratio
        if end.t == until:
            _, lands_on = self.clock.split(self.num_reached, until)
            there = StepRecord(until, 0.0, until, self.anchor, lands_on, ())
            self._arrive(there, Step(end.y, end.f0), end.size, end.history)
            return True
        self.state = end._replace(f0=self.steps.hold(end.f0))
        return num_tried == MOST_TRIES

    def _first_slope(self, t: float, y: Tensor, jump: bool) -> Tensor:
        """f at (t, y), behind the jump if there is one."""
        return self.steps.first(StepRecord(t, 0.0, t, self.anchor, None, (), jump), y)

    def _guess(self, f0: Tensor) -> float:
        """A first step; a field at rest is given a tiny one, which late times may not resolve. NaN stays NaN."""
        clock, order = self.clock, self.traits.order
        known = self.steps.guess(f0, order)
        guess = (
            first_step(self.f, clock, self.y0, f0, order, self.accuracy)
            if known is None
            else read(known, clock)
        )
        return max(guess, clock.resolution(clock.ts[0]))

    def _is_stiff(self) -> bool:
        """Whether stability limits the steps, and not their error; one wait for the device."""
        longest = self.steps.longest_stable_step()
        return longest is not None and 0 < LIMITED * longest.item() < self.state.size

    def _failed_stiff(self) -> bool:
        """Whether stability limits the steps of a solve whose steps are spent.

        Where a step does not tell, by evaluations at the end that max_nfe allows; they are counted.
        """
        state, limit = self.state, self.steps.stability_limit
        if self._is_stiff():
            return True
        if limit is None or self.f.riding or self.counts.num_steps < MANY_STEPS:
            return False
        if not self.control.budget.allows(self.counts, TURNS):
            return False
        rate = fastest_rate(self.f, time_tensor(state.t, state.y), state.y, state.f0).item()
        return rate > 0 and LIMITED * limit / rate < state.size

    def _no_first_step(self) -> SolverError:
        """Why the initial-step rule came to nothing: the field is not finite, or the tolerance next to nothing."""
        t, size, y = self.state.t, self.state.size, self.state.y
        if is_finite(y) and is_finite(self.state.f0):
            return self.failure.overflow(t, size, y)
        return self.failure.non_finite(t, size, y, "the vector field returned NaN or Inf")

    def _cost(self, record: StepRecord) -> int:
        """Evaluations that a step needs if it is accepted, the first of the step behind it included."""
        traits = self.traits
        is_read = bool(record.inside) or self.watch is not None
        slope = is_read and not traits.has_interpolant and not traits.knows_f1
        known = (traits.knows_f1 or slope) and not record.jump_end and not self._is_entered(record)
        following = record.lands_on != len(self.clock.ts) - 1 and not known
        return self.steps.cost(record) + slope + following

    def _is_entered(self, record: StepRecord) -> bool:
        """Whether another state than the end of the step is gone on from."""
        return self.enter is not None and record.lands_on is not None

    def _spent_budget(self, cost: int, t: float) -> SolverError | None:
        return self.failure.if_spent(self.control.budget, cost, t, self._failed_stiff)

    def _next_record(self) -> StepRecord:
        """The step to try: as long as the controller wants, clipped to the next time that must be met."""
        control, clock, t = self.control, self.clock, self.state.t
        size = min(max(self.state.size, control.min_step), control.max_step)
        stop, jump_ts = self.stops[-1], control.jump_ts
        t1 = stop if reaches(size, abs(stop - t), clock.rounding) else t + clock.direction * size
        inside, lands_on = clock.split(self.num_reached, t1)
        return StepRecord(t, t1 - t, t1, self.anchor, lands_on, inside, t in jump_ts, t1 in jump_ts)

    def _try_step(self, record: StepRecord) -> SolverError | None:
        state, control, size = self.state, self.control, abs(record.dt)
        if size < self.clock.resolution(state.t) and abs(self.stops[-1] - state.t) > size:
            return self.failure.underflow(state.t, record.dt, state.y)
        step = self.steps.take(record, state.y, state.f0)
        # t1 - t may round to a size above min_step, which the controller's wish does not.
        forced = min(size, state.size) <= control.min_step
        if isinstance(step, SolverError):
            if forced or not isinstance(step, ConvergenceError):
                return step
            self.failure.unsolved = step
            self.counts.num_unsolved += 1
            if self._crawls():
                return step
            self._reject(size * UNSOLVED_FACTOR)
            return None
        self.failure.unsolved = None
        with torch.no_grad() if self.is_recorded else nullcontext():
            ratio = self.accuracy.of_all(self._error_ratio(record, step))
        self.failure.last_ratio = ratio
        if not math.isfinite(ratio):
            self.failure.is_overflow = is_finite(step.y1) and (step.f1 is None or is_finite(step.f1))
            if forced or not (is_finite(state.f0) and is_finite(state.y)):
                return self.failure.non_finite(
                    state.t, record.dt, state.y, "the vector field or the state became NaN or Inf"
                )
            if self._crawls():
                return self.failure.underflow(state.t, record.dt, state.y)
            self._reject(size * control.controller.factor_min)
            return None
        decision = decide(state, ratio, size, forced, control.controller, self.error_order)
        if step.pace is not None:
            decision = at_pace(decision, state, size, step.pace)
        if decision.accepted:
            self.counts.num_forced += ratio > 1.0
            self._accept(record, step, decision.size, decision.history)
        else:
            self._reject(decision.size)
        return None

    def _crawls(self) -> bool:
        """Asked at a try that is not finite or not solved: whether such have no end."""
        t, ts = self.state.t, self.clock.ts
        return self.crawl.is_endless(t, max(abs(t - ts[0]), 0.0 if self.clock.is_open else abs(ts[-1] - t)))

    def _reject(self, size: float) -> None:
        self.counts.reject()
        self.state = self.state._replace(size=size)

    def _error_ratio(self, record: StepRecord, step: Step) -> Tensor:
        """The error in units of the tolerance; NaN where the end of a solve is not finite.

        A state that overflows makes its own tolerance infinite, and so passes for exact. Before the last step, the next
        one tells, unless it starts from another state.
        """
        ratio = step.error_ratio
        if ratio is None:
            assert step.error is not None, "a method with an error estimate gives it with each step"
            ratio = self.accuracy.error_ratio(step.error, self.state.y, step.y1)
        if record.lands_on == len(self.clock.ts) - 1 or self._is_entered(record):
            ratio = nan_beside(ratio, self.accuracy.part(step.y1))
        return ratio

    def _accept(self, record: StepRecord, step: Step, size: float, history: tuple[float, float]) -> None:
        y, f0 = self.state.y, self.state.f0
        self.counts.accept(record.t, record.dt)
        if self.watch is not None:
            record, step = self.watch.look(self.f, self.clock, record, y, f0, step)
            self.is_over = self.watch.is_over
        self._arrive(record, step, size, history)

    def _arrive(self, record: StepRecord, step: Step, size: float, history: tuple[float, float]) -> None:
        """Hand out what an accepted step from the present state met, and go on from its end."""
        y, f0 = self.state.y, self.state.f0
        if record.inside or record.lands_on is not None:
            new, step = step_outputs(self.f, self.clock, record, y, f0, step)
            self.num_reached += len(new)
            self.outputs = [] if self.enter is not None else self.outputs
            self.outputs.extend(new[i] for i in sorted(new))
        for observer in self.observers:
            observer.on_accept(record, y, f0, step)
        if record.t1 == self.stops[-1]:
            self.stops.pop()
        if record.lands_on is not None:
            self.anchor = record.lands_on
        if self.num_reached < len(self.clock.ts) and not self.is_over:
            if self._is_entered(record):
                self._enter(record, step.y1, size)
                return
            if step.f1 is None or record.jump_end:
                f0 = self._first_slope(record.t1, step.y1, record.jump_end)
            else:
                f0 = self.steps.hold(step.f1)
        self.state = LoopState(record.t1, size, history, step.y1, f0)

    def _enter(self, record: StepRecord, y1: Tensor, size: float) -> None:
        """Go on from what takes the place of an output y1, as a solve from there would begin, but for its guess."""
        assert self.enter is not None, "asked before"
        assert record.lands_on is not None, "asked before"
        y = self.enter(record.lands_on, y1)
        f0 = self._first_slope(record.t1, y, record.jump_end)
        self.crawl, control = Crawl(), self.control
        size = size if control.first_step is None else control.first_step
        self.state = LoopState(record.t1, size, control.controller.initial_history, y, f0)
