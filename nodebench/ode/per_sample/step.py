"""A Runge-Kutta step of every row at once, each from its own time and as long as its own step is.

With k_i scaled by each row's dt, a step is one of size 1: the sums over stages are those of methods/stages.py.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from nodebench.ode.clock import time_dtype
from nodebench.ode.field import Time
from nodebench.ode.interpolation import cubic_hermite
from nodebench.ode.methods.stages import StageBuffer, StageList
from nodebench.ode.methods.tableau import ButcherTableau
from nodebench.ode.norms import Accuracy, error_ratio
from nodebench.ode.per_sample.control import Hits, Plan, RowControl
from nodebench.ode.per_sample.times import Floats


class Slopes(Protocol):
    """dy/dt of rows (b, n) at times (b,), as the steps see it."""

    def __call__(self, t: Tensor, y: Tensor, /) -> Tensor: ...


class Stages(Protocol):
    """The stages of a step, scaled by each row's dt, (b, n) each."""

    def __setitem__(self, i: int, k: Tensor) -> None:
        """Takes k_i unscaled."""
        ...

    def __getitem__(self, i: int) -> Tensor:
        """dt k_i."""
        ...

    def state(self, i: int, y: Tensor, dt: Time) -> Tensor: ...

    def end(self, y: Tensor, dt: Time) -> Tensor: ...

    def error(self, dt: Time) -> Tensor: ...


class Scaled(Protocol):
    """The stages of a step that was taken, scaled by each row's dt."""

    def __getitem__(self, i: int, /) -> Tensor: ...


class ScaledBuffer(StageBuffer):
    """A StageBuffer whose stages are scaled by each row's dt as they come."""

    def begin(self, y: Tensor, dt: Tensor) -> None:
        """A step from y, by each row's dt (b, 1)."""
        self._dt, self._shape = dt, y.shape
        self._start, self._flat = y, y.reshape(-1)

    def __setitem__(self, i: int, k: Tensor) -> None:
        torch.mul(k, self._dt, out=self._rows[i])

    def _add(self, y: Tensor, dt: Time, weights: Tensor, count: int) -> Tensor:
        if self._is_autocast:
            return super()._add(y, dt, weights, count)
        return torch.addmv(self._flat, self._leading[count], weights).view(self._shape)

    def error(self, dt: Time) -> Tensor:
        if self._is_autocast or self._b_err is None:
            return super().error(dt)
        return torch.mv(self._leading[len(self._rows)], self._b_err).view(self._shape)


class ScaledList(StageList):
    """A StageList whose stages are scaled by each row's dt as they come."""

    def __init__(self, tableau: ButcherTableau, dt: Tensor) -> None:
        super().__init__(tableau)
        self.dt = dt

    def __setitem__(self, i: int, k: Tensor) -> None:
        super().__setitem__(i, k * self.dt)


class RowStep(NamedTuple):
    """A step: its end, f there where it was evaluated, its error ratios (b,), and its stages."""

    y1: Tensor
    f1: Tensor | None
    ratio: Tensor | None
    stages: Scaled


class Marched(NamedTuple):
    """Where rows are behind a march: states, slopes, and the error ratios of the last steps."""

    y: Tensor
    f0: Tensor
    last_ratio: Floats | None


class RowSteps:
    """Takes the steps of one solve. `recorded`: autograd follows them."""

    def __init__(self, tableau: ButcherTableau, f: Slopes, accuracy: Accuracy | None, recorded: bool) -> None:
        self.tableau, self.f, self._recorded = tableau, f, recorded
        self._accuracy = accuracy
        self._c = np.array([*tableau.c[1:], 0.0])[:, None]
        self._ends_at_t1 = [i for i, c in enumerate(tableau.c[1:]) if c == 1.0]
        self._buffer: ScaledBuffer | None = None
        self._made_tolerances: tuple[Tensor, Tensor] | None = None

    @property
    def cost(self) -> int:
        """Evaluations of a step whose first stage is given."""
        return self.tableau.num_stages - 1

    def numbers(self, plan: Plan) -> Floats:
        """The times of all stages but the first, and dt: (s, b)."""
        numbers = plan.t + self._c * plan.dt
        for i in self._ends_at_t1:  # one by one is quicker than by their list
            numbers[i] = plan.t1  # t + dt may round to a time beyond it
        numbers[-1] = plan.dt
        return numbers

    def take(self, plan: Plan, y: Tensor, f0: Tensor) -> RowStep:
        """The step from y, where the slope is f0."""
        tableau = self.tableau
        *times, dt = to_device(self.numbers(plan), y).unbind()  # one copy to the device
        stages: Stages = self._stages(y, dt.unsqueeze(1))
        stages[0] = f0
        state = k = y
        for i, t in enumerate(times, start=1):
            state = stages.state(i, y, 1.0)
            k = self.f(t, state)
            stages[i] = k
        y1 = state if tableau.is_fsal else stages.end(y, 1.0)  # the last row of a FSAL method's a is b
        ratio, tolerances = None, self._tolerances(y)
        if self._accuracy is not None and tolerances is not None:
            with torch.no_grad():
                ratio = error_ratio(stages.error(1.0), y, y1, *tolerances, self._accuracy.norm)
        return RowStep(y1, k if tableau.is_fsal else None, ratio, stages)

    def march(self, rows: RowControl, y: Tensor, f0: Tensor) -> Marched | None:
        """As many steps as end before more than steps happens, or None if they are taken one by one here."""
        return None

    def _tolerances(self, y: Tensor) -> tuple[Tensor, Tensor] | None:
        """rtol and atol beside y, made once; None where no error is measured."""
        if self._made_tolerances is None and self._accuracy is not None:
            self._made_tolerances = self._accuracy.tolerances(y)
        return self._made_tolerances

    def _stages(self, y: Tensor, dt: Tensor) -> Stages:
        if self._recorded:
            return ScaledList(self.tableau, dt)
        if self._buffer is None or self._buffer[0].shape != y.shape:
            self._buffer = ScaledBuffer(self.tableau, y)
        self._buffer.begin(y, dt)
        return self._buffer

    def outputs(
        self, plan: Plan, y: Tensor, f0: Tensor, step: RowStep, hits: Hits
    ) -> list[tuple[Tensor, Hits]]:
        """What a step yields, rows (m, n) and what they are: its end, and what its interpolant has inside."""
        is_end, found = hits.theta == 1.0, []
        if is_end.any():
            ends = Hits(*(numbers[is_end] for numbers in hits))
            found.append((step.y1.index_select(0, to_device(ends.row, y)), ends))
        if not is_end.all():
            inside = Hits(*(numbers[~is_end] for numbers in hits))
            found.append((self._interpolate(plan, y, f0, step, inside), inside))
        return found

    def _interpolate(self, plan: Plan, y: Tensor, f0: Tensor, step: RowStep, hits: Hits) -> Tensor:
        """The outputs inside a step, (m, n), by the tableau's interpolant or by the slopes at both ends."""
        rows = to_device(hits.row, y)
        start = y.index_select(0, rows)
        interpolant = self.tableau.interpolant
        if interpolant is None:
            assert step.f1 is not None, "the loop sees to it"
            dt, theta = to_device(np.stack([plan.dt[hits.row], hits.theta]), y).unsqueeze(2)
            ends = (x.index_select(0, rows) for x in (step.y1, f0, step.f1))
            y1, slope0, slope1 = ends
            return cubic_hermite(start, y1, slope0, slope1, dt, theta)
        used = [i for i, row in enumerate(interpolant) if any(row)]
        powers = hits.theta ** np.arange(1, len(interpolant[0]) + 1)[:, None]
        weights = to_device(np.array([interpolant[i] for i in used]) @ powers, y).unsqueeze(2)
        total = start
        for i, weight in zip(used, weights, strict=True):
            total = torch.addcmul(total, step.stages[i].index_select(0, rows), weight)
        return total


def to_device(numbers: np.ndarray, y: Tensor) -> Tensor:
    """Numbers of the host on y's device: floats in y's real dtype, others as they are."""
    tensor = torch.from_numpy(numbers)
    if tensor.is_floating_point():
        tensor = tensor.to(time_dtype(y))
    return tensor if y.device.type == "cpu" else tensor.to(y.device, non_blocking=True)
