"""The adaptive loop over a batch in which every sample has steps of its own.

Each pass tries one step of every row. A sample that has arrived is stepped no further: its dt is 0 until it is left out
of the batch, which happens when a quarter of the rows are idle: an evaluation is then worth more than the copy of the
others. The batch stays whole (`is_whole`) where f has arguments that may have a row a sample.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import torch
from torch import Tensor

from nodebench.ode.budget import Limits
from nodebench.ode.clock import Clock
from nodebench.ode.counts import Counts, SampleCounts
from nodebench.ode.drive.crawl import Crawl
from nodebench.ode.drive.stiffness import LIMITED, MANY_STEPS, TURNS, fastest_rate
from nodebench.ode.failures import SolveFailure, is_finite
from nodebench.ode.field import kept
from nodebench.ode.norms import nan_beside_rows
from nodebench.ode.per_sample.control import Booleans, Hits, Integers, Plan, RowControl, Verdict
from nodebench.ode.per_sample.course import SampleCourse, Trial
from nodebench.ode.per_sample.first_step import first_steps, host_floats
from nodebench.ode.per_sample.outputs import Gathered, SampleResult
from nodebench.ode.per_sample.step import RowStep, RowSteps, to_device
from nodebench.ode.per_sample.times import Floats
from nodebench.ode.status import SolverError, Status

IDLE_SHARE = 4  # one row in so many, and the others go on without the idle ones


def solve_rows(course: SampleCourse, steps: RowSteps, order: int) -> SampleResult:
    """The outputs of every sample; raises the SolverError of the first that fails where that is asked for."""
    loop = _SampleLoop(course, steps, order)
    try:
        return loop.run()
    finally:
        loop.tell_counts()


def places(of: Booleans) -> list[int]:
    """The rows that are true."""
    return [int(row) for row in np.nonzero(of)[0]]


class _SampleLoop:
    """One solve: the state of every row, and what has been output."""

    def __init__(self, course: SampleCourse, steps: RowSteps, order: int) -> None:
        self.course, self.steps, self.order = course, steps, order
        self.rows = RowControl(course.times, course.control, order)
        self.is_fsal = steps.tableau.is_fsal
        self.y = course.y0
        num_samples, num_outputs = course.times.ts.shape
        self.gathered = Gathered(num_samples, num_outputs)
        everyone = np.arange(num_samples)
        self.gathered.add(course.y0, everyone, np.zeros_like(everyone))
        still = np.nonzero(~self.rows.is_under_way)[0]
        for k in range(1, num_outputs if len(still) else 1):
            self.gathered.add(
                course.y0.index_select(0, to_device(still, self.y)), still, np.full_like(still, k)
            )
        self.failures: dict[int, SolverError] = {}
        self.next_steps = np.full(num_samples, np.nan)
        self.last_ratio: Floats | None = None
        self.overflowed: set[int] = set()  # samples whose last error was not finite though f was
        self.crawls: defaultdict[int, Crawl] = defaultdict(Crawl)  # of samples
        self.can_march = not (course.autograd or course.observers)

    def run(self) -> SampleResult:
        """All outputs, as far as they are reached."""
        rows = self.rows
        if rows.is_under_way.any():
            self._begin()
        while rows.is_under_way.any():
            if self.can_march:
                self._march()
            plan = rows.propose()
            self._check_limits(plan)
            if not rows.is_under_way.all():
                plan = self._without_the_idle(plan)
            self._try_step(plan)
        ys = self.gathered.together(self.course.y0)
        return SampleResult(ys, self.gathered.is_reached, self.failures, self.next_steps)

    def _begin(self) -> None:
        """The slopes at the start, and the first steps."""
        course, rows = self.course, self.rows
        sizes = course.first_steps
        if course.control.first_step is not None:
            sizes = np.full(len(self.y), course.control.first_step)
        if sizes is None:
            sizes = np.full(len(self.y), np.nan)
        guesses = bool((np.isnan(sizes) & rows.is_under_way).any())
        self._check_budgets(np.full(len(self.y), 1 + guesses), rows.is_under_way)
        # Rows that are at rest from the start may be anywhere, also where f is not finite.
        start, _ = self._moved(course.times.ts[:, 0].copy(), places(~rows.is_under_way))
        self.f0 = kept(course.f(to_device(start, self.y), self.y))
        rows.count_evaluations(1 + guesses)
        if guesses:
            accuracy = course.control.accuracy
            guess = first_steps(course.f, course.times, self.y, self.f0, self.order, accuracy)
            # A field at rest is given a tiny one, which late times may not resolve. NaN stays NaN.
            is_wanted = np.isnan(sizes) & rows.is_under_way
            sizes = np.where(is_wanted, np.maximum(guess, rows.resolution()), sizes)
        for observer in course.observers:
            observer.on_start(rows.samples, rows.is_under_way.copy())
        rows.wish = sizes
        lost = places(np.isnan(sizes) & rows.is_under_way)
        for row in lost:
            y = self.y[row]
            failure, t = self._failure(row), rows.t[row]
            if is_finite(y) and is_finite(self.f0[row]):
                self._fail(row, failure.overflow(t, np.nan, y))
            else:
                self._fail(row, failure.non_finite(t, np.nan, y, "the vector field returned NaN or Inf"))
        self._set_aside(rows.t, lost)

    def _set_aside(self, t: Floats, lost: list[int]) -> Floats:
        """Times t with those of rows that failed moved to where another row is, as y and f0 are.

        Where a row is not finite, its part in a gradient is 0 times that: NaN.
        """
        t, of = self._moved(t, lost)
        if of is not None:
            self.f0 = self.f0.index_select(0, of)
            if self.course.retakes:  # the graph of f0 had the lost rows in it
                self.f0 = kept(self.course.f(to_device(t, self.y), self.y))
        return t

    def _moved(self, t: Floats, lost: list[int]) -> tuple[Floats, Tensor | None]:
        """See _set_aside, without f0: the times, and of which row each is now, if any was moved."""
        rows, under_way = self.rows, places(self.rows.is_under_way)
        if not (lost and under_way):
            return t, None
        index = np.arange(len(t))
        index[lost] = under_way[0]
        t, of = t[index], to_device(index, self.y)
        rows.t = np.where(np.isin(np.arange(len(t)), lost), t, rows.t)
        self.y = self.y.index_select(0, of)
        return t, of

    def _march(self) -> None:
        """Have the steps take as many as need no more than stepping, where they can."""
        marched = self.steps.march(self.rows, self.y, self.f0)
        if marched is None:
            self.can_march = False
        else:
            self.y, self.f0 = marched.y, marched.f0
            self.last_ratio = self.last_ratio if marched.last_ratio is None else marched.last_ratio

    def _check_limits(self, plan: Plan) -> None:
        """Rows whose step the clock does not resolve, or that may not try another one, fail."""
        rows = self.rows
        for row in places(rows.too_small(plan)):
            self._fail(row, self._failure(row).underflow(plan.t[row], plan.dt[row], self.y[row]))
        budget = self.course.control.budget
        assert isinstance(budget, Limits), "what odeint is told"
        if budget.max_steps is None and budget.max_nfe is None:
            return
        following = 0 if self.is_fsal else 1
        self._check_budgets(self.steps.cost + following * ~rows.arrives(plan), rows.is_under_way)

    def _check_budgets(self, cost: Integers, of: Booleans) -> None:
        """Rows that one more step, or `cost` more evaluations each, would take beyond a budget fail."""
        rows, budget = self.rows, self.course.control.budget
        assert isinstance(budget, Limits), "what odeint is told"
        spent: dict[int, tuple[Status, str]] = {}
        if budget.max_steps is not None:
            for row in places(of & (rows.tried >= budget.max_steps)):
                spent[row] = Status.MAX_STEPS, f"max_steps={budget.max_steps}"
        if budget.max_nfe is not None:
            for row in places(of & (rows.nfe + cost > budget.max_nfe)):
                spent.setdefault(row, (Status.MAX_NFE, f"max_nfe={budget.max_nfe}"))
        are_stiff = self._are_stiff(list(spent), budget) if spent else ()
        for row, (status, what) in spent.items():
            self._fail(row, self._failure(row).budget(status, what, rows.t[row], bool(are_stiff[row])))

    def _are_stiff(self, spent: list[int], budget: Limits) -> Booleans:
        """Of rows whose budget is spent, whether stability limits the steps; by evaluations that max_nfe allows."""
        rows, asked = self.rows, np.zeros(len(self.y), dtype=bool)
        asked[spent] = True
        asked &= rows.tried >= MANY_STEPS
        if budget.max_nfe is not None:
            asked &= rows.nfe + TURNS <= budget.max_nfe
        if not asked.any():
            return asked
        rows.count_evaluations(TURNS, asked)
        t = to_device(rows.t, self.y)
        rate = host_floats(fastest_rate(self.course.f, t, self.y, self.f0, dim=1).squeeze(1))
        with np.errstate(all="ignore"):
            longest = LIMITED * self.steps.tableau.stability_limit / rate
        are_stiff: Booleans = asked & (rate > 0) & (longest < rows.wish)
        self.course.counts.is_stiff |= bool(are_stiff.any())
        return are_stiff

    def _without_the_idle(self, plan: Plan) -> Plan:
        """The plan of the rows under way, and nobody else in the batch, where that pays; a row that failed stands."""
        rows = self.rows
        under_way = np.nonzero(rows.is_under_way)[0]
        idle = len(rows.samples) - len(under_way)
        if self.course.is_whole or not len(under_way) or idle * IDLE_SHARE < len(rows.samples):
            t1 = np.where(rows.is_under_way, plan.t1, plan.t)
            return Plan(plan.t, t1, t1 - plan.t)
        self.next_steps[rows.samples] = rows.wish
        rows.keep(under_way)
        if self.last_ratio is not None:
            self.last_ratio = self.last_ratio[under_way]
        index = to_device(under_way, self.y)
        self.y, self.f0 = self.y.index_select(0, index), self.f0.index_select(0, index)
        return Plan(*(numbers[under_way] for numbers in plan))

    def _try_step(self, plan: Plan) -> None:
        course, rows, y, f0 = self.course, self.rows, self.y, self.f0
        if not rows.is_under_way.any():
            return
        step = self.steps.take(plan, y, f0)
        rows.count_evaluations(self.steps.cost)
        assert step.ratio is not None, "steps are chosen by their error"
        ratio = nan_beside_rows(step.ratio, step.y1) if rows.may_arrive(plan) else step.ratio
        self.last_ratio = ratios = host_floats(ratio)  # the one wait for the device that a step costs
        verdict = rows.judge(plan, ratios)
        if verdict.broken.any():
            self._fail_broken(plan, step, verdict)
            t = self._set_aside(plan.t, places(verdict.broken & ~rows.is_under_way))
            stands, y, f0 = verdict.accepted, self.y, self.f0
            plan = Plan(t, np.where(stands, plan.t1, t), np.where(stands, plan.dt, 0.0))
            if course.retakes:
                step = self.steps.take(plan, y, f0)
        accepted = verdict.accepted
        samples = rows.samples
        hits = rows.pass_outputs(plan, accepted)
        f1 = self._end_slope(plan, step, accepted, hits)
        if hits is not None:
            for values, of in self.steps.outputs(plan, y, f0, step._replace(f1=f1), hits):
                self.gathered.add(values, samples[of.row], of.output)
        for observer in course.observers:
            observer.on_trial(Trial(samples, plan, y, accepted, accepted & rows.is_under_way, hits))
        if accepted.all():
            self.y, self.f0 = step.y1, self.f0 if f1 is None else kept(f1)
        elif accepted.any():
            mask = to_device(accepted, y).unsqueeze(1)
            self.y = torch.where(mask, step.y1, y)
            if f1 is not None:
                self.f0 = torch.where(mask, f1, f0)

    def _end_slope(self, plan: Plan, step: RowStep, accepted: Booleans, hits: Hits | None) -> Tensor | None:
        """f at the end of a step: the step's own, or one evaluation more where a row needs it."""
        if step.f1 is not None:
            return step.f1
        goes_on = accepted & self.rows.is_under_way
        wanted = goes_on.copy()
        if hits is not None and self.steps.tableau.interpolant is None:
            wanted[hits.row[hits.theta < 1.0]] = True
        if not wanted.any():
            return None
        self.rows.count_evaluations(1, wanted)
        return self.course.f(to_device(plan.t1, step.y1), step.y1)

    def _fail_broken(self, plan: Plan, step: RowStep, verdict: Verdict) -> None:
        """Rows whose error is not finite try a smaller step, or fail.

        They fail where nothing is finite, where they were forced, and where they take such steps without end.
        """
        for row in places(verdict.broken):
            y, f0, t, dt = self.y[row], self.f0[row], plan.t[row], plan.dt[row]
            sample = int(self.rows.samples[row])
            is_overflow = is_finite(step.y1[row]) and (step.f1 is None or is_finite(step.f1[row]))
            note = self.overflowed.add if is_overflow else self.overflowed.discard
            note(sample)
            start, *_, end = self.course.times.of_sample(sample)
            if verdict.lost[row] or not (is_finite(f0) and is_finite(y)):
                what = "the vector field or the state became NaN or Inf"
                self._fail(row, self._failure(row).non_finite(t, dt, y, what))
            elif self.crawls[sample].is_endless(t, max(abs(t - start), abs(end - t))):
                self._fail(row, self._failure(row).underflow(t, dt, y))

    def _failure(self, row: int) -> SolveFailure:
        """The sentences of one sample's failure."""
        rows, course = self.rows, self.course
        sample = int(rows.samples[row])
        accepted, tried = int(rows.accepted[row]), int(rows.tried[row])
        counts = Counts(nfe=int(rows.nfe[row]), num_accepted=accepted, num_rejected=tried - accepted)
        clock = Clock(course.times.of_sample(sample))
        failure = SolveFailure(clock, counts, course.control.accuracy, course.y0.dtype)
        failure.stiff_remedy += ' with steps="shared"'
        if self.last_ratio is not None and counts.num_steps:
            failure.last_ratio = float(self.last_ratio[row])
            failure.is_overflow = sample in self.overflowed
        return failure

    def _fail(self, row: int, error: SolverError) -> None:
        """A sample fails: the others go on, or it is raised."""
        sample = int(self.rows.samples[row])
        error = type(error)(f"sample {sample} of {len(self.course.y0)}: {error}")
        if self.course.raises:
            raise error
        self.failures[sample] = error
        self.rows.give_up(row)

    def tell_counts(self) -> None:
        """Add what was done to the counts of the solve."""
        rows, counts = self.rows, self.course.counts
        self.next_steps[rows.samples] = rows.wish
        counts.add_samples(SampleCounts(*(torch.from_numpy(numbers) for numbers in rows.counted())))
        counts.num_forced += rows.num_forced
