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
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nodebench.ode.clock import Clock, StepRecord
from nodebench.ode.counting import Field, Time
from nodebench.ode.failures import SolveFailure, is_finite
from nodebench.ode.fixed_grid import GridStep, walk_grid
from nodebench.ode.norms import Norm, Tolerance, error_ratio
from nodebench.ode.replay import first_stage, take_step
from nodebench.ode.seams import LoopResult, Observer, Quadrature
from nodebench.ode.status import ConvergenceWarning, SolverError, Status
from nodebench.ode.step import StageList
from nodebench.ode.steppers import EagerStepper, MakeStepper
from nodebench.ode.tableaus import load_tableaus

ORDER = 4
BASHFORTH = (55 / 24, -59 / 24, 37 / 24, -9 / 24)  # of f_n, f_(n-1), f_(n-2), f_(n-3)
MOULTON = (9 / 24, 19 / 24, -5 / 24, 1 / 24)  # of f_(n+1), f_n, f_(n-1), f_(n-2)


@dataclass(frozen=True)
class Corrector:
    """When the fixed-point iteration for y_(n+1) ends: its last change meets the tolerance, or it has had its turns.

    A step whose iteration did not converge is taken as it is, counted, and warned of at the end of the solve: on a
    grid there is no shorter step to try. Each turn is one evaluation and one wait for the device; smooth fields need
    one or two.
    """

    rtol: Tolerance
    atol: Tolerance
    norm: Norm
    max_iterations: int = 4


@dataclass(frozen=True)
class Adams:
    """Adams-Bashforth steps on the grid that `make_grid` lays over the output times; with a corrector, also Moulton's.

    Three classical Runge-Kutta steps start the solve, and start it anew wherever the step length changes. Each step
    evaluates f at its start and, if corrected, once an iteration at its end (P(EC)^m E).
    """

    make_grid: Callable[[Clock], Sequence[float]]
    corrector: Corrector | None = None
    max_steps: int | None = None
    max_nfe: int | None = None

    @property
    def tableau(self) -> None:
        """None: a step cannot be taken again without those before it."""
        return None

    def solve(
        self,
        f: Field,
        y0: Tensor,
        clock: Clock,
        *,
        autograd: bool,
        observers: Sequence[Observer] = (),
        quadrature: Quadrature | None = None,
        first_step: float | None = None,
        make_stepper: MakeStepper = EagerStepper,
    ) -> LoopResult:
        """See Solver.solve; the grid leaves nothing to a guess."""
        rtol, atol = (None, None) if self.corrector is None else (self.corrector.rtol, self.corrector.atol)
        failure = SolveFailure(clock, f.counts, rtol, atol, y0.dtype)
        unconverged_before = f.counts.num_unconverged
        result = walk_grid(
            f,
            y0,
            clock,
            self.make_grid(clock),
            lambda: _AdamsSteps(f, clock, self.corrector, failure, self.max_nfe),
            failure,
            max_steps=self.max_steps,
            max_nfe=self.max_nfe,
            observers=observers,
            quadrature=quadrature,
        )
        if self.corrector is not None and f.counts.num_unconverged > unconverged_before:
            # No counts: Python shows a text that comes again, as in every step of a training, once.
            warnings.warn(
                "steps of implicit_adams were taken whose corrector had not converged after "
                f"{self.corrector.max_iterations} iterations, so the solution may be far off (num_unconverged in its "
                "stats counts them); take a shorter dt, or a method with error control",
                ConvergenceWarning,
                stacklevel=1,  # one place for all who solve
            )
        return result


class _AdamsSteps:
    """The steps of one solve and their memory: times and slopes at the last grid points, the newest first."""

    def __init__(
        self, f: Field, clock: Clock, corrector: Corrector | None, failure: SolveFailure, max_nfe: int | None
    ) -> None:
        self.f, self.clock, self.corrector = f, clock, corrector
        self.failure, self.max_nfe = failure, max_nfe
        self.tableau = load_tableaus()["rk4"]
        self.times: list[Time] = []
        self.slopes: list[Tensor] = []
        self.dt = math.inf

    def cost(self, record: StepRecord) -> int:
        """Evaluations the step needs at least: the corrector may ask for more."""
        if not self._continues(record) or len(self.slopes) + 1 < ORDER:
            return self.tableau.num_stages
        return 1 if self.corrector is None else 2

    def take(self, record: StepRecord, y0: Tensor) -> GridStep | SolverError:
        """See GridMethod.take."""
        stages = StageList(self.tableau)
        stages[0] = first_stage(self.f, self.clock, record, y0)
        self._remember(record, stages[0])
        if len(self.slopes) < ORDER:
            y1 = take_step(self.f, self.tableau, self.clock, record, y0, stages, with_error=False)
            return GridStep(y1, stages, None)
        y1 = self._advance(record, y0, self.times, self.slopes, BASHFORTH)
        if self.corrector is None:
            return GridStep(y1, stages, None)
        corrected = self._correct(record, y0, y1, self.corrector)
        return corrected if isinstance(corrected, SolverError) else GridStep(corrected, stages, None)

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
            return y0 + dt * sum(w * k for w, k in zip(varying, slopes, strict=True))
        y1 = y0
        for weight, slope in zip(weights, slopes, strict=True):
            y1 = torch.add(y1, slope, alpha=float(dt) * weight)
        return y1

    def _correct(
        self, record: StepRecord, y0: Tensor, y1: Tensor, corrector: Corrector
    ) -> Tensor | SolverError:
        t1 = self.clock.end(record)
        times = [t1, *self.times[: ORDER - 1]]
        for _ in range(corrector.max_iterations):
            if self.max_nfe is not None and self.f.counts.nfe >= self.max_nfe:
                return self.failure.budget(Status.MAX_NFE, f"max_nfe={self.max_nfe}", record.t)
            slopes = [self.f(t1, y1), *self.slopes[: ORDER - 1]]
            last, y1 = y1, self._advance(record, y0, times, slopes, MOULTON)
            with torch.no_grad():
                change = error_ratio(y1 - last, y0, y1, corrector.rtol, corrector.atol, corrector.norm).item()
            self.failure.last_ratio = change
            # A tolerance that the dtype rounds to nothing makes any change infinite.
            if not math.isfinite(change) and not is_finite(y1):
                return self.failure.non_finite(record.t, record.dt, y0, "the corrector's iteration diverged")
            if change <= 1.0:
                return y1
        self.f.counts.num_unconverged += 1
        return y1


def adams_weights(offsets: Tensor) -> Tensor:
    """Weights w of slopes at t + offsets * dt that integrate their interpolating polynomial from t to t + dt.

    sum_j w_j offsets_j^m = 1 / (m + 1) for m = 0, 1, ..., in units of dt; offsets and w have shape (num_slopes,).
    """
    exponents = torch.arange(len(offsets), dtype=offsets.dtype, device=offsets.device)
    return torch.linalg.solve(offsets ** exponents[:, None], 1 / (exponents + 1))
