"""The adaptive loop: Runge-Kutta steps whose estimated error meets the tolerance.

The loop receives its parts (field, tableau, controller, norm) and hands back outputs and, if it had to stop early,
the error that says why. It does not know which gradient is wanted: it is told whether autograd records, and it tells
its observers of every step. Steps on a given grid are in fixed_grid.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from nodebench.ode.clock import Clock, StepRecord
from nodebench.ode.counting import Field
from nodebench.ode.failures import SolveFailure, is_finite
from nodebench.ode.initial_step import initial_step
from nodebench.ode.replay import first_stage, step_outputs
from nodebench.ode.seams import LoopResult, Observer, Quadrature
from nodebench.ode.status import SolverError, Status
from nodebench.ode.step_control import StepControl
from nodebench.ode.steppers import EagerStepper, MakeStepper, March, Stepper
from nodebench.ode.tableau import ButcherTableau

FEW_STEPS = 4  # as many as are not worth a march
MOST_TRIES = 1000  # of one march, so that it can be interrupted


def solve_adaptive(
    f: Field,
    y0: Tensor,
    clock: Clock,
    tableau: ButcherTableau,
    control: StepControl,
    *,
    autograd: bool,
    observers: Sequence[Observer] = (),
    quadrature: Quadrature | None = None,
    make_stepper: MakeStepper = EagerStepper,
) -> LoopResult:
    """Solve with steps whose estimated error meets the tolerance; the last step is clipped to the last output.

    `clock.ts` is strictly monotonic with at least two entries and y0 is contiguous. With `autograd` the accepted
    steps are recorded for backward(); no gradient flows through the choice of the step size.
    """
    stepper = make_stepper(f, tableau, clock, control, quadrature)
    return _AdaptiveLoop(f, y0, clock, tableau, control, stepper, autograd, observers, quadrature).run()


class _AdaptiveLoop:
    """The state of one adaptive solve: (t, y, f0 in stages[0]), the next step, and what is still to be output."""

    def __init__(
        self,
        f: Field,
        y0: Tensor,
        clock: Clock,
        tableau: ButcherTableau,
        control: StepControl,
        stepper: Stepper,
        autograd: bool,
        observers: Sequence[Observer],
        quadrature: Quadrature | None,
    ) -> None:
        self.f, self.y, self.clock, self.tableau, self.control = f, y0, clock, tableau, control
        self.stepper, self.observers, self.quadrature = stepper, observers, quadrature
        self.counts = f.counts
        self.t = clock.ts[0]
        self.anchor = 0
        self.outputs = [y0]
        self.history = control.controller.initial_history
        self.stages = stepper.new_stages(y0, autograd)
        self.autograd = autograd
        # Steps that somebody hears of, keeps or adds to are taken one by one.
        self.can_march = not (
            autograd or observers or quadrature is not None or self.counts.steps is not None
        )
        self.can_march &= tableau.is_fsal
        self.failure = SolveFailure(clock, self.counts, control.rtol, control.atol, y0.dtype)
        self.steps_before = self.counts.num_steps  # steps tried up to the latest output
        stops = {*control.step_ts, *control.jump_ts, clock.ts[-1]}
        ahead = [stop for stop in stops if (stop - self.t) * clock.direction > 0]
        self.stops = sorted(ahead, key=lambda stop: -stop * clock.direction)  # the nearest is last

    def run(self) -> LoopResult:
        first_step = self.control.first_step
        error = self._spent_budget(2 if first_step is None else 1)
        if error is not None:
            return LoopResult(self.outputs, error, first_step)
        self.stages[0] = self._first_stage(self.t in self.control.jump_ts)
        self.step = self._initial_step() if first_step is None else first_step
        if math.isnan(self.step):
            error = self._no_first_step()
        while error is None and len(self.outputs) < len(self.clock.ts):
            self._march()
            record = self._next_record()
            error = self._spent_budget(self._cost(record)) or self._try_step(record)
        return LoopResult(self.outputs, error, self.step)

    def _march(self) -> None:
        """Have the stepper take the steps that need no more than stepping, where it can and there are some to take.

        What is left to the loop: steps that yield outputs, meet a required time or a budget, and those that go wrong.
        """
        control = self.control
        if not self.can_march or self.t in control.jump_ts or self.step <= control.min_step:
            return
        following = self.clock.ts[len(self.outputs)]
        until = min(following, self.stops[-1], key=lambda t: t * self.clock.direction)
        if abs(until - self.t) < FEW_STEPS * min(self.step, control.max_step):
            return
        start = March(self.t, self.step, self.y, self.stages[0], self.history)
        end = self.stepper.march(start, until, self._tries_left())
        if end is None:
            self.can_march = False
        elif end.num_accepted or end.num_rejected:
            self.counts.num_accepted = (self.counts.num_accepted or 0) + end.num_accepted
            self.counts.num_rejected = (self.counts.num_rejected or 0) + end.num_rejected
            self.t, self.step, self.y, self.history = end.t, end.size, end.y, end.history
            self.stages[0] = end.k0
            self.failure.last_ratio = end.last_ratio

    def _tries_left(self) -> int:
        """Steps that no budget ends."""
        control, counts = self.control, self.counts
        left = [MOST_TRIES]
        if control.max_steps is not None:
            left.append(control.max_steps - counts.num_steps)
        if control.max_steps_per_output is not None:
            left.append(control.max_steps_per_output - (counts.num_steps - self.steps_before))
        if control.max_nfe is not None:
            left.append((control.max_nfe - counts.nfe) // (self.tableau.num_stages - 1) - 1)
        return max(0, min(left))

    def _first_stage(self, jump: bool) -> Tensor:
        """f at the current (t, y), behind the jump if there is one."""
        following = StepRecord(self.t, 0.0, self.t, self.anchor, None, (), jump)
        return first_stage(self.f, self.clock, following, self.y)

    def _initial_step(self) -> float:
        control = self.control
        guess = initial_step(
            self.f,
            self.t,
            self.y,
            self.stages[0],
            direction=self.clock.direction,
            span=self.clock.span,
            order=self.tableau.order,
            rtol=control.rtol,
            atol=control.atol,
            norm=control.norm,
            extension=self.quadrature,
        )
        # A field at rest is given a tiny step, which late times may not resolve; NaN stays NaN.
        return max(guess, self.clock.resolution(self.t))

    def _no_first_step(self) -> SolverError:
        """Why the initial-step rule came to nothing: the field is not finite, or the tolerance next to nothing."""
        if is_finite(self.y) and is_finite(self.stages[0]):
            return self.failure.overflow(self.t, self.step, self.y)
        return self.failure.non_finite(self.t, self.step, self.y, "the vector field returned NaN or Inf")

    def _cost(self, record: StepRecord) -> int:
        """Evaluations that a step needs if it is accepted, the first of the step behind it included."""
        tableau = self.tableau
        slope = bool(record.inside) and tableau.interpolant is None and not tableau.is_fsal
        known = (tableau.is_fsal or slope) and not record.jump_end
        following = record.lands_on != len(self.clock.ts) - 1 and not known
        return tableau.num_stages - 1 + slope + following

    def _spent_budget(self, cost: int) -> SolverError | None:
        """The error of a budget that `cost` more evaluations, or one more step, would exceed."""
        max_steps, max_nfe = self.control.max_steps, self.control.max_nfe
        per_output = self.control.max_steps_per_output
        if max_steps is not None and self.counts.num_steps >= max_steps:
            return self.failure.budget(Status.MAX_STEPS, f"max_steps={max_steps}", self.t)
        if per_output is not None and self.counts.num_steps - self.steps_before >= per_output:
            what = f"max_steps_per_output={per_output}"
            return self.failure.budget(Status.MAX_STEPS, what, self.t)
        if max_nfe is not None and self.counts.nfe + cost > max_nfe:
            return self.failure.budget(Status.MAX_NFE, f"max_nfe={max_nfe}", self.t)
        return None

    def _next_record(self) -> StepRecord:
        """The step to try: as long as the controller wants, clipped to the next time that must be met."""
        size = min(max(self.step, self.control.min_step), self.control.max_step)
        stop = self.stops[-1]
        remaining = abs(stop - self.t)
        # A sliver left by rounding is taken along rather than left for a step of its own.
        clipped = size >= remaining * (1 - 1e-12) - self.clock.slack(size)
        t1 = stop if clipped else self.t + self.clock.direction * size
        inside, lands_on = self.clock.split(len(self.outputs), t1)
        jump_ts = self.control.jump_ts
        return StepRecord(
            self.t, t1 - self.t, t1, self.anchor, lands_on, inside, self.t in jump_ts, t1 in jump_ts
        )

    def _try_step(self, record: StepRecord) -> SolverError | None:
        size = abs(record.dt)
        if size < self.clock.resolution(self.t) and abs(self.stops[-1] - self.t) > size:
            return self.failure.underflow(self.t, record.dt, self.y)
        for observer in self.observers:
            observer.on_step(record.t, record.dt, self.y)
        attempt = self.stepper.attempt(record, self.y, self.stages)
        y1, ratio = attempt.y1, attempt.error_ratio.item()  # the one wait for the device that a step costs
        self.failure.last_ratio = ratio
        # t1 - t may round to a size above min_step, which the controller's wish does not.
        forced = min(size, self.step) <= self.control.min_step
        if not math.isfinite(ratio):
            self.failure.is_overflow = is_finite(y1) and is_finite(self.stages[-1])
            if forced or not (is_finite(self.stages[0]) and is_finite(self.y)):
                return self.failure.non_finite(
                    self.t, record.dt, self.y, "the vector field or the state became NaN or Inf"
                )
            self._reject(record, self.control.controller.factor_min)
        elif ratio <= 1.0 or forced:
            self.counts.num_forced += ratio > 1.0
            self._accept(record, y1, ratio)
        else:
            self._reject(record, self.control.controller.factor(ratio, self.tableau.order, self.history))
        return None

    def _reject(self, record: StepRecord, factor: float) -> None:
        self.counts.reject()
        for observer in self.observers:
            observer.on_reject(record.t, record.dt, self.y)
        self.step = abs(record.dt) * factor

    def _accept(self, record: StepRecord, y1: Tensor, ratio: float) -> None:
        self.counts.accept(record.t, record.dt)
        factor = self.control.controller.factor(ratio, self.tableau.order, self.history)
        self.history = self.control.controller.remember(ratio, self.history)
        # A step clipped to a required time says little about the step that the accuracy allows.
        size = abs(record.dt)
        self.step = max(size * factor, self.step if size < self.step and ratio <= 1.0 else 0.0)
        if self.quadrature is not None:
            self.quadrature.accept(record.dt)

        f1 = self.stages[-1] if self.tableau.is_fsal else None
        new, f1 = step_outputs(self.f, self.tableau, self.clock, record, self.y, y1, self.stages, f1)
        self.outputs.extend(new[i] for i in sorted(new))
        if new:
            self.steps_before = self.counts.num_steps
        for observer in self.observers:
            observer.on_accept(record, self.y, y1, self.stages, f1)

        if record.t1 == self.stops[-1]:
            self.stops.pop()
        if record.lands_on is not None:
            self.anchor = record.lands_on
        self.t, self.y = record.t1, y1
        if len(self.outputs) == len(self.clock.ts):
            return
        if self.autograd:
            self.stages = self.stepper.new_stages(y1, True)
        self.stages[0] = self._first_stage(record.jump_end) if f1 is None or record.jump_end else f1
