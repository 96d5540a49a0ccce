"""Adams methods on a grid: a step from the slopes at the last grid points, one evaluation where Runge-Kutta needs four.

With f_n = f(t_n, y_n) and equal steps dt,

    predictor (Adams-Bashforth)  y_(n+1) = y_n + dt * (55 f_n - 59 f_(n-1) + 37 f_(n-2) - 9 f_(n-3)) / 24
    corrector (Adams-Moulton)    y_(n+1) = y_n + dt * (9 f_(n+1) + 19 f_n - 5 f_(n-1) + f_(n-2)) / 24

Both are of order 4: that of the classical Runge-Kutta steps which start them, so that the start does not limit the
order. Higher orders pay in stability: on the negative axis dt |lambda| may reach 0.3 for this predictor alone, 1.28
with one correction and 3 where the corrector converges (2.79 for rk4), but 0.16 for the predictor of order 5.

Source: Hairer, Norsett & Wanner, Solving Ordinary Differential Equations I, 2nd edition, section III.1 (eqs. 1.5 and
1.9); unequal steps: III.5.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nodebench.ode.clock import StepRecord, end_time, start_time
from nodebench.ode.failures import is_finite
from nodebench.ode.field import Time, kept
from nodebench.ode.methods.explicit import num_evaluations, rk_step
from nodebench.ode.methods.method import Course, Step, Steps
from nodebench.ode.methods.stages import StageList
from nodebench.ode.methods.tableaus import load_tableaus
from nodebench.ode.methods.traits import OF_OTHERS, Traits
from nodebench.ode.status import ConvergenceWarning, SolverError

ORDER = 4
BASHFORTH = (55 / 24, -59 / 24, 37 / 24, -9 / 24)  # of f_n, f_(n-1), f_(n-2), f_(n-3)
MOULTON = (9 / 24, 19 / 24, -5 / 24, 1 / 24)  # of f_(n+1), f_n, f_(n-1), f_(n-2)


@dataclass(frozen=True)
class Adams:
    """Adams-Bashforth steps on a grid; with `max_iterations`, corrected by Adams-Moulton's formula.

    Three classical Runge-Kutta steps start the solve, and start it anew wherever the step length changes. Each step
    evaluates f at its start and, if corrected, once an iteration at its end (P(EC)^m E).

    The fixed-point iteration for y_(n+1) ends where its last change meets the tolerance, or after `max_iterations`.
    A step whose iteration did not converge is taken as it is, counted, and warned of: on a grid there is no shorter
    step to try. Each turn is one evaluation and one wait for the device; smooth fields need one or two.
    """

    name: str
    max_iterations: int = 0

    @property
    def traits(self) -> Traits:
        """See Method."""
        return OF_OTHERS[self.name]

    def begin(self, course: Course) -> Steps:
        """See Method."""
        return _AdamsSteps(self.max_iterations, course)


class _AdamsSteps(Steps):
    """The steps of one solve and their memory: times and slopes at the last grid points, the newest first."""

    def __init__(self, max_iterations: int, course: Course) -> None:
        self.f, self.clock, self.course = course.f, course.clock, course
        self.max_iterations = max_iterations
        self.tableau = load_tableaus()["rk4"]
        self.times: list[Time] = []
        self.slopes: list[Tensor] = []
        self.dt = math.inf
        self.has_warned = False

    def first(self, record: StepRecord, y0: Tensor) -> Tensor:
        """See Steps."""
        return kept(self.f(start_time(self.clock, record, y0), y0))

    def cost(self, record: StepRecord) -> int:
        """See Steps: the corrector may ask for more."""
        if not self._continues(record) or len(self.slopes) + 1 < ORDER:
            return num_evaluations(self.tableau, with_last=False)
        return 1 if self.max_iterations else 0

    def take(self, record: StepRecord, y0: Tensor, f0: Tensor) -> Step | SolverError:
        """See Steps."""
        self._remember(record, f0)
        if len(self.slopes) < ORDER:
            return Step(self._start(record, y0, f0))
        y1 = self._advance(record, y0, self.times, self.slopes, BASHFORTH)
        return self._correct(record, y0, y1) if self.max_iterations else Step(y1)

    def _start(self, record: StepRecord, y0: Tensor, f0: Tensor) -> Tensor:
        """A step without a history."""
        stages = StageList(self.tableau)
        stages[0] = f0
        times = (*self.clock.start_and_size(record), end_time(self.clock, record, y0))
        return rk_step(self.f, self.tableau, times, y0, stages, with_last=False)

    def _continues(self, record: StepRecord) -> bool:
        """Whether the step is as long as the last one, up to the rounding of the output and of the grid's times."""
        size, change = abs(record.dt), abs(record.dt - self.dt)
        return change <= max(1e-9 * size, self.clock.resolution(record.t), self.clock.slack(size))

    def _remember(self, record: StepRecord, slope: Tensor) -> None:
        past = ORDER - 1 if self._continues(record) else 0
        self.times = [self.clock.time(record.t, record.anchor), *self.times[:past]]
        self.slopes = [slope, *self.slopes[:past]]
        self.dt = record.dt

    def _advance(
        self,
        record: StepRecord,
        y0: Tensor,
        times: Sequence[Time],
        slopes: Sequence[Tensor],
        weights: tuple[float, ...],
    ) -> Tensor:
        """y0 + dt * sum_j weights[j] slopes[j], slopes[j] at times[j]."""
        t, dt = self.clock.start_and_size(record)
        if isinstance(t, Tensor):
            # An output time that moves makes the steps around it unequal: the weights vary with it.
            varying = adams_weights(torch.stack([torch.as_tensor((time - t) / dt) for time in times]))
            varying = varying + (varying.new_tensor(weights) - varying.detach())
            y1 = y0 + dt * sum(w * k for w, k in zip(varying, slopes, strict=True))
            return y1.to(y0.dtype)  # float64 weights promote a 0-d state
        y1 = y0
        for weight, slope in zip(weights, slopes, strict=True):
            y1 = torch.add(y1, slope, alpha=float(dt) * weight)
        return y1

    def _correct(self, record: StepRecord, y0: Tensor, y1: Tensor) -> Step | SolverError:
        course, t1 = self.course, self.clock.end(record)
        end = end_time(self.clock, record, y0)
        accuracy, failure = course.accuracy, course.failure
        assert accuracy is not None, "a method that iterates is told the tolerance"
        times = [t1, *self.times[: ORDER - 1]]
        for _ in range(self.max_iterations):
            error = failure.if_spent(course.budget, 1, record.t)
            if error is not None:
                return error
            slopes = [self.f(end, y1), *self.slopes[: ORDER - 1]]
            last, y1 = y1, self._advance(record, y0, times, slopes, MOULTON)
            with torch.no_grad():
                change = accuracy.of_all(accuracy.error_ratio(y1 - last, y0, y1))
            failure.last_ratio = change
            # A tolerance that the dtype rounds to nothing makes any change infinite.
            if not math.isfinite(change) and not is_finite(y1):
                return failure.non_finite(record.t, record.dt, y0, "the corrector's iteration diverged")
            if change <= 1.0:
                return Step(y1)
        self.f.counts.num_unconverged += 1
        self._warn()
        return Step(y1)

    def _warn(self) -> None:
        """Say once in a solve that its corrector did not converge."""
        if self.has_warned:
            return
        self.has_warned = True
        # No counts: Python shows a text that comes again, as in every step of a training, once.
        warnings.warn(
            "steps of implicit_adams were taken whose corrector had not converged after "
            f"{self.max_iterations} iterations, so the solution may be far off (num_unconverged in its "
            "stats counts them); take a shorter dt, or a method with error control",
            ConvergenceWarning,
            stacklevel=1,  # one place for all who solve
        )


def adams_weights(offsets: Tensor) -> Tensor:
    """Weights w of slopes at t + offsets * dt that integrate their interpolating polynomial from t to t + dt.

    sum_j w_j offsets_j^m = 1 / (m + 1) for m = 0, 1, ..., in units of dt; offsets and w have shape (num_slopes,).
    """
    exponents = torch.arange(len(offsets), dtype=offsets.dtype, device=offsets.device)
    return torch.linalg.solve(offsets ** exponents[:, None], 1 / (exponents + 1))
