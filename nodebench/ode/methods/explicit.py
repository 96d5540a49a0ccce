"""Explicit Runge-Kutta methods: the step of a tableau, and the method it makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from nodebench.ode.clock import StepRecord, end_time, start_time
from nodebench.ode.field import StageFields, Time, kept
from nodebench.ode.methods.method import Course, Step, Steps
from nodebench.ode.methods.stages import (
    RidingBuffer,
    StageBuffer,
    StageList,
    Stages,
    weighted_sum,
    weighted_sums,
)
from nodebench.ode.methods.tableau import ButcherTableau
from nodebench.ode.methods.traits import Traits, of_tableau
from nodebench.ode.norms import Accuracy


@dataclass(frozen=True)
class ExplicitRungeKutta:
    """The method of a tableau.

    `rounds_once`: a step that autograd follows adds the sum of its slopes to the state, and not one after the other,
    which many short steps in single precision show; it costs one operation more a stage.
    """

    tableau: ButcherTableau
    rounds_once: bool = False

    @cached_property
    def traits(self) -> Traits:
        """See Method."""
        return of_tableau(self.tableau)

    def begin(self, course: Course) -> Steps:
        """See Method."""
        return ExplicitSteps(self.tableau, course, self.rounds_once)


class ExplicitSteps(Steps):
    """Evaluates stage after stage, as the field is called.

    All steps share one buffer, but where autograd follows them or their interpolants are kept.
    """

    def __init__(self, tableau: ButcherTableau, course: Course, rounds_once: bool = False) -> None:
        self._tableau, self._course, self._rounds_once = tableau, course, rounds_once
        self._wants_error = course.control is not None
        self._costs = [num_evaluations(tableau, with_last=with_last) for with_last in (False, True)]
        self._f, self._clock = course.f, course.clock
        self._weights = Weights(tableau, course)
        self._riding: RidingBuffer | None = None
        self._buffer: StageBuffer | RidingBuffer | None = None
        if course.f.riding:
            self._buffer = self._riding = RidingBuffer(tableau, course.y0, course.f.riding)
        elif not (course.autograd or course.dense):
            self._buffer = StageBuffer(tableau, course.y0)
        self._latest: tuple[Tensor, float, Tensor, Stages] | None = (
            None  # a step's start, size, end and stages
        )
        self._f0: Tensor | None = None  # what the buffer's first stage is

    def first(self, record: StepRecord, y0: Tensor) -> Tensor:
        """See Steps."""
        return self.hold(self._f(start_time(self._clock, record, y0), y0, self._weights.of_first))

    def hold(self, f1: Tensor) -> Tensor:
        """See Steps."""
        if self._buffer is None:
            return kept(f1)
        self._buffer[0] = f1
        self._f0 = self._buffer[0]
        return self._f0

    def take(self, record: StepRecord, y0: Tensor, f0: Tensor) -> Step:
        """See Steps."""
        course, tableau = self._course, self._tableau
        stages: Stages | None = self._buffer
        if stages is None:
            recorded = course.autograd
            stages = StageList(tableau, self._rounds_once) if recorded else StageBuffer(tableau, y0)
        if f0 is not self._f0:
            stages[0] = f0
        t, dt = self._clock.start_and_size(record)
        all_stages = self._wants_error or course.dense or bool(record.inside)
        riding = self._riding
        y1 = rk_step(
            self._f,
            tableau,
            (t, dt, end_time(self._clock, record, y0)),
            y0 if riding is None else y0[: -self._f.riding],
            stages,
            with_last=all_stages,
            integrands=None if riding is None else self._weights.of_others,
        )
        if riding is not None:
            y1 = riding.with_integrals(y1, y0, dt)
        elif all_stages:
            self._latest = y0, record.dt, y1, stages
        error = None
        if self._wants_error:
            whole = riding if self._weights.in_norm else None
            error = stages.error(record.dt) if whole is None else whole.whole_error(record.dt)
        f1 = stages[-1] if all_stages and tableau.is_fsal else None
        if tableau.interpolant is None or not (record.inside or course.dense):
            return Step(y1, f1, error)
        at = partial(interpolated, tableau, y0, dt, stages)
        return Step(y1, f1, error, at, at_many=partial(interpolated_many, tableau, y0, record.dt, stages))

    @property
    def stability_limit(self) -> float:
        """See Steps."""
        return self._tableau.stability_limit

    @torch.no_grad()
    def longest_stable_step(self) -> Tensor | None:
        """See Steps: of FSAL methods whose last two stages are at the end of the step, as those of dopri5.

        The two differ by what the step does not damp, so |k_s - k_(s-1)| / |Y_s - Y_(s-1)| is the largest |lambda|.
        The first stage, where the next step's may be by now, follows from the others and the end of the step.

        Source: Hairer & Wanner, Solving Ordinary Differential Equations II, 2nd edition, section IV.2 (eq. 2.27).
        """
        tableau = self._tableau
        if self._latest is None or not (
            tableau.is_fsal and tableau.c[-2] == 1.0 and abs(tableau.b[0]) > 1e-2
        ):
            return None
        y0, dt, y1, stages = self._latest
        first = (y1 - y0) / dt
        for b, i in zip(tableau.b[1:-1], range(1, tableau.num_stages), strict=False):
            first = first - b * stages[i]
        before = y0 + (dt * tableau.a[-2][0] / tableau.b[0]) * first
        for a, i in zip(tableau.a[-2][1:], range(1, tableau.num_stages), strict=False):
            before = before + dt * a * stages[i]
        norm = torch.linalg.vector_norm
        return tableau.stability_limit * norm(y1 - before) / norm(stages[-1] - stages[-2])

    def cost(self, record: StepRecord) -> int:
        """See Steps."""
        course = self._course
        return self._costs[self._wants_error or course.dense or bool(record.inside)]


class Weights:
    """Where the integrands of a field with riding integrals have weight, in their sum or in the norm of its error.

    The last stage of a FSAL method has, as the first of the next step, and so has the first of a solve whose first step
    is guessed.
    """

    def __init__(self, tableau: ButcherTableau, course: Course) -> None:
        is_chosen = course.control is not None
        self.in_norm = is_chosen and counts_riding(course.accuracy, course.f.riding, course.y0)
        b_err = tableau.b_err if self.in_norm else None
        of_all = [bool(b or e) for b, e in zip(tableau.b, b_err or tableau.b, strict=True)]
        of_all[-1] |= tableau.is_fsal
        self.of_first = of_all[0] or is_chosen
        self.of_others = tuple(of_all[1:])


def counts_riding(accuracy: Accuracy | None, riding: int, y0: Tensor) -> bool:
    """Whether the error of integrals at the end of a state counts."""
    return accuracy is not None and riding > 0 and len(accuracy.part(y0)) > len(y0) - riding


def num_evaluations(tableau: ButcherTableau, *, with_last: bool) -> int:
    """Evaluations of a step whose first stage is given; see rk_step."""
    return tableau.num_stages - 1 - (tableau.is_fsal and not with_last)


def rk_step(
    f: StageFields,
    tableau: ButcherTableau,
    times: tuple[Time, Time, Time],
    y0: Tensor,
    stages: Stages,
    *,
    with_last: bool,
    integrands: Sequence[bool] | None = None,
) -> Tensor:
    """y1 = y0 + dt * sum_i b_i k_i, given k_0 = f(t, y0) in stages[0]; fills stages 1, 2, ...

    `times` are t, dt and t1, where the stages at the end of the step evaluate f: t + dt may round to a time beyond it.
    Without `with_last`, the last stage of a FSAL method is not evaluated (its weight is 0).
    """
    t, dt, t1 = times
    num_stages = num_evaluations(tableau, with_last=with_last) + 1
    stage_times: list[Time] = [t1 if c == 1.0 else t + c * dt for c in tableau.c[1:num_stages]]
    y_stage = y0
    for i, stage_field in enumerate(f.at_times(stage_times, y0, integrands), start=1):
        y_stage = stages.state(i, y0, dt)
        stages[i] = stage_field(y_stage)
    if tableau.is_fsal and with_last:
        return y_stage  # the last row of a is b
    # Without its last stage, a FSAL method's end is that stage's state.
    return stages.end(y0, dt) if num_stages == tableau.num_stages else stages.state(num_stages, y0, dt)


def interpolated(
    tableau: ButcherTableau, y0: Tensor, dt: Time, stages: Stages | Sequence[Tensor], theta: Time
) -> Tensor:
    """y0 + dt * sum_i P_i(theta) k_i with the tableau's polynomials P_i."""
    assert tableau.interpolant is not None
    if isinstance(theta, Tensor) or isinstance(dt, Tensor):
        polynomials = [_horner(row, theta) for row in tableau.interpolant]
        return y0 + sum(dt * p * stages[i] for i, p in enumerate(polynomials) if any(tableau.interpolant[i]))
    # Term by term: weights of a single use are not worth a copy to the device, which the host would wait for.
    weights = [dt * float(_horner(row, theta)) for row in tableau.interpolant]
    return weighted_sum(y0, [(weight, stages[i]) for i, weight in enumerate(weights) if weight])


def interpolated_many(
    tableau: ButcherTableau, y0: Tensor, dt: float, stages: Stages | Sequence[Tensor], thetas: Sequence[float]
) -> Tensor:
    """`interpolated` at several times of one step in one go, to rounding: (len(thetas), *y0.shape)."""
    assert tableau.interpolant is not None
    used = [i for i, row in enumerate(tableau.interpolant) if any(row)]
    rows = torch.tensor([tableau.interpolant[i] for i in used], dtype=torch.float64)
    powers = torch.tensor(thetas, dtype=torch.float64)[:, None] ** torch.arange(1, rows.shape[1] + 1)
    return weighted_sums(y0, dt * (powers @ rows.t()), [stages[i] for i in used])


def _horner(coefficients: tuple[float, ...], theta: Time) -> Time:
    """sum_p coefficients[p - 1] theta^p."""
    total: Time = 0.0
    for coefficient in reversed(coefficients):
        total = (total + coefficient) * theta
    return total
