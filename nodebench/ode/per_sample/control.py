"""What each sample's next step follows from: one entry a row of the batch, on the host, in float64."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from nodebench.ode.budget import Limits
from nodebench.ode.drive.control import StepControl
from nodebench.ode.drive.controllers import Controller, PIDController
from nodebench.ode.drive.decide import decide, reaches
from nodebench.ode.drive.state import LoopState
from nodebench.ode.per_sample.times import Floats, SampleTimes

Booleans = NDArray[np.bool_]
Integers = NDArray[np.int64]


class Plan(NamedTuple):
    """A step of every row: from t to t1, which are equal where a row has arrived or failed. `dt` is t1 - t."""

    t: Floats
    t1: Floats
    dt: Floats


class Verdict(NamedTuple):
    """What became of a step, row by row: it stands; its error was not finite, and so it was at min_step."""

    accepted: Booleans
    broken: Booleans
    lost: Booleans


class Hits(NamedTuple):
    """Outputs that a step passes or meets: output `output` of the row `row`, at the share `theta` of the step."""

    row: Integers
    output: Integers
    theta: Floats


class RowControl:
    """Where every row stands: its time, the size that its controller wants next, its history, its next output.

    `samples` says which sample a row is; `is_under_way` is false for one that has arrived, or failed.
    """

    def __init__(self, times: SampleTimes, control: StepControl, order: int) -> None:
        num_samples = len(times.ts)
        self.times, self._control, self._order = times, control, order
        self._controller = _of_arrays(control.controller)
        self.samples = np.arange(num_samples)
        self.t = times.ts[:, 0].copy()
        self.wish = np.full(num_samples, control.first_step or math.nan)
        first, second = self._controller.initial_history
        self.history = np.full(num_samples, first), np.full(num_samples, second)
        self.is_under_way = times.spans > 0
        self._ends, self._finest = times.ts[:, -1], times.finest
        self._next_output = np.ones(num_samples, dtype=np.int64)
        self._due = times.ts[:, min(1, times.ts.shape[1] - 1)].copy()
        stops = {direction_free * times.direction for direction_free in control.step_ts}
        self._stops = np.array(
            sorted(stops)
        )  # in the order that they are met, as times of a clock that runs forwards
        # Of the rows: steps that stand, steps tried, evaluations; and of the samples that have left the batch.
        self.accepted, self.tried, self.nfe = (np.zeros(num_samples, dtype=np.int64) for _ in range(3))
        self.num_forced = 0
        self._counted = np.zeros((3, num_samples), dtype=np.int64)

    def count_evaluations(self, number: int, rows: Booleans | None = None) -> None:
        """So many evaluations of the rows under way, or of some."""
        self.nfe += number * (self.is_under_way if rows is None else rows)

    def counted(self) -> tuple[Integers, Integers, Integers]:
        """Accepted and rejected steps, and evaluations, of every sample (B,)."""
        self._counted[:, self.samples] = self.accepted, self.tried - self.accepted, self.nfe
        accepted, rejected, nfe = self._counted
        return accepted, rejected, nfe

    def stop(self) -> Floats:
        """The next time that each row has to meet: one of step_ts, or its end."""
        if not len(self._stops):
            return self._ends
        direction = self.times.direction
        place = np.searchsorted(self._stops, direction * self.t, side="right")
        ahead = np.append(self._stops, np.inf)[place]
        return direction * np.minimum(ahead, direction * self._ends)

    def until(self) -> Floats:
        """The next time at which more happens to a row than a step: an output, or a required time."""
        if not len(self._stops) and self.times.ts.shape[1] == 2:
            return self._ends
        direction = self.times.direction
        return direction * np.minimum(direction * self.stop(), direction * self._due)

    def propose(self) -> Plan:
        """The next step of every row: as long as its controller wants, clipped to the next time that must be met."""
        control, stop, size = self._control, self.stop(), self.wish
        if control.min_step:
            size = np.maximum(size, control.min_step)
        if control.max_step < math.inf:
            size = np.minimum(size, control.max_step)
        is_clipped = reaches(size, np.abs(stop - self.t), self.times.rounding)
        t1 = np.where(is_clipped, stop, self.t + self.times.direction * size)
        t1 = np.where(self.is_under_way, t1, self.t)
        return Plan(self.t, t1, t1 - self.t)

    def too_small(self, plan: Plan) -> Booleans:
        """The rows whose step the clock does not resolve, short of a time that must be met."""
        size = np.abs(plan.dt)
        is_small = self.is_under_way & (size < self._finest)
        if is_small.any():
            is_small &= size < self.resolution()
            is_small &= np.abs(self.stop() - self.t) > size
        return is_small

    def resolution(self) -> Floats:
        """The smallest step worth taking where each row is: see Clock.resolution."""
        spans = self.times.spans[self.samples]
        return np.maximum(10 * np.spacing(np.abs(self.t)), 1e-20 * spans)

    def may_arrive(self, plan: Plan) -> bool:
        """Whether the step of any row ends its solve."""
        return bool((self.is_under_way & (plan.t1 == self._ends)).any())

    def arrives(self, plan: Plan) -> Booleans:
        """The rows whose solve ends with their step."""
        return self.is_under_way & (plan.t1 == self._ends)

    def judge(self, plan: Plan, ratio: Floats) -> Verdict:
        """Decide about a step by its error ratios: the new sizes and histories, and the time of rows that go on."""
        under_way, size, least = self.is_under_way, np.abs(plan.dt), self._control.min_step
        with np.errstate(all="ignore"):
            # Rows that stand still have steps of 0, and no other row has.
            forced: Any = np.minimum(size, self.wish) <= least if least else False
            # None of what the decision is about is y or f0.
            state: LoopState[Any] = LoopState(self.t, self.wish, self.history, None, None)  # type: ignore[arg-type]
            decision = decide(state, ratio, size, forced, self._controller, self._order)
            is_finite = np.isfinite(ratio)
            accepted = under_way & decision.accepted & is_finite
            broken = under_way & ~is_finite
            wish = np.where(under_way, decision.size, self.wish)
            if broken.any():
                wish = np.where(broken, size * self._controller.factor_min, wish)
        self.wish, self.history = wish, decision.history
        self.t = np.where(accepted, plan.t1, plan.t)
        self.accepted += accepted
        self.tried += under_way
        if least:
            self.num_forced += int((accepted & forced & (ratio > 1.0)).sum())
        return Verdict(accepted, broken, forced & broken)

    def pass_outputs(self, plan: Plan, accepted: Booleans) -> Hits | None:
        """The outputs that accepted steps pass or meet; rows that have met their last one are no longer under way."""
        direction, num_outputs, found = self.times.direction, self.times.ts.shape[1], []
        while True:
            row = np.nonzero(accepted & self.is_under_way & (direction * (plan.t1 - self._due) >= 0))[0]
            if not len(row):
                break
            output, due = self._next_output[row], self._due[row]
            theta = np.where(due == plan.t1[row], 1.0, (due - plan.t[row]) / plan.dt[row])
            found.append(Hits(row, output, theta))
            self._next_output[row] = output + 1
            self.is_under_way[row[output + 1 == num_outputs]] = False
            following = np.minimum(output + 1, num_outputs - 1)
            self._due[row] = self.times.ts[self.samples[row], following]
        if not found:
            return None
        return Hits(*(np.concatenate(parts) for parts in zip(*found, strict=True)))

    def tries_left(self, cost: int) -> Floats:
        """Steps of `cost` evaluations that no limit ends, and one more evaluation: see Limits.num_tries."""
        limits, left = self._control.budget, np.full(len(self.t), np.inf)
        assert isinstance(limits, Limits), "what odeint is told"
        if limits.max_steps is not None:
            left = np.minimum(left, limits.max_steps - self.tried)
        if limits.max_nfe is not None:
            left = np.minimum(left, (limits.max_nfe - self.nfe) // cost - 1)
        return left

    def marched(
        self,
        t: Floats,
        wish: Floats,
        first: Floats,
        second: Floats,
        accepted: Floats,
        tried: Floats,
        *,
        cost: int,
    ) -> None:
        """Where the rows are behind steps that were taken and counted elsewhere, of `cost` evaluations each."""
        self.t, self.wish, self.history = t, wish, (first, second)
        self.accepted += accepted.astype(np.int64)
        self.tried += tried.astype(np.int64)
        self.nfe += cost * tried.astype(np.int64)

    def give_up(self, row: int) -> None:
        """A row that failed goes no further."""
        self.is_under_way[row] = False

    def keep(self, rows: Integers) -> None:
        """Leave all rows but these out of the batch."""
        self.counted()
        self.accepted, self.tried, self.nfe = self.accepted[rows], self.tried[rows], self.nfe[rows]
        self.samples, self.t, self.wish = self.samples[rows], self.t[rows], self.wish[rows]
        self.history = self.history[0][rows], self.history[1][rows]
        self.is_under_way, self._ends = self.is_under_way[rows], self._ends[rows]
        self._finest, self._next_output, self._due = (
            self._finest[rows],
            self._next_output[rows],
            self._due[rows],
        )


class _OfTensors(Controller):
    """A controller that is told tensors where we have arrays: they share their memory."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    @property
    def initial_history(self) -> tuple[float, float]:
        return self._controller.initial_history

    @property
    def factor_min(self) -> float:
        return self._controller.factor_min

    def factor(self, error_ratio: Any, order: int, history: tuple[Any, Any]) -> Any:
        tensors = torch.from_numpy(history[0]), torch.from_numpy(history[1])
        return _array(self._controller.factor(torch.from_numpy(error_ratio), order, tensors))  # type: ignore[arg-type]

    def remember(self, error_ratio: Any, history: tuple[Any, Any]) -> tuple[Any, Any]:
        tensors = torch.from_numpy(history[0]), torch.from_numpy(history[1])
        remembered = self._controller.remember(torch.from_numpy(error_ratio), tensors)  # type: ignore[arg-type]
        return _array(remembered[0]), _array(remembered[1])


def _array(number: Any) -> Any:
    return number.numpy() if isinstance(number, torch.Tensor) else number


class _WithoutMemory(PIDController):
    """A controller that asks for no history need not make one of a whole batch at every step."""

    def remember(self, error_ratio: Any, history: tuple[Any, Any]) -> tuple[Any, Any]:
        return history


def _of_arrays(controller: Controller) -> Controller:
    """The controller for arrays."""
    if type(controller) is PIDController and not (controller.proportional or controller.derivative):
        return _WithoutMemory(**vars(controller))
    return controller if isinstance(controller, PIDController) else _OfTensors(controller)
