"""The functions a vector field may offer to be told of the steps: callback_step, _accept_step and _reject_step."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nodebench.ode.clock import StepRecord
from nodebench.ode.compat.options import ADAPTIVE, SCIPY
from nodebench.ode.counts import Counts
from nodebench.ode.methods.method import Course, Method, Step, Steps
from nodebench.ode.methods.traits import Traits
from nodebench.ode.status import SolverError

Callback = Callable[[Tensor, Any, Tensor], Any]
_NAMES = ("callback_step", "callback_accept_step", "callback_reject_step")


@dataclass(frozen=True)
class Callbacks:
    """The three where they are given, each called as callback(t0, y0, dt); `view` makes y0 of a packed state.

    t0 and dt are 0-d float64 tensors on the CPU, wherever the state lives; dt is positive in both directions of time.
    """

    found: dict[str, Callback]
    view: Callable[[Tensor], Any]

    def call(self, name: str, record: StepRecord, y0: Tensor) -> None:
        """Tell of a step from y0."""
        callback = self.found.get(name)
        if callback is not None:
            times = torch.tensor([record.t, abs(record.dt)], dtype=torch.float64)
            callback(times[0], self.view(y0), times[1])


class Told:
    """What the callbacks are told in one solve: each step before it is tried, and what became of it.

    It observes what is accepted; what it heard of before the counts of rejected steps grew was rejected.
    """

    def __init__(self, callbacks: Callbacks, counts: Counts) -> None:
        self._callbacks, self._counts = callbacks, counts
        self._num_rejected = counts.num_rejected or 0
        self._latest: tuple[StepRecord, Tensor] | None = None
        self.has_begun = False

    def try_step(self, record: StepRecord, y0: Tensor) -> None:
        """A step is about to be tried; more than once for the same one is once."""
        if self._latest is not None and self._latest[0] is record:
            return
        self.settle()
        self._latest = record, y0
        self._callbacks.call("callback_step", record, y0)

    def on_accept(self, record: StepRecord, y0: Tensor, f0: Tensor, step: Step) -> None:
        """See Observer."""
        self._callbacks.call("callback_accept_step", record, y0)

    def settle(self) -> None:
        """Tell of the latest step if it was rejected."""
        num_rejected = self._counts.num_rejected or 0
        if self._latest is not None and num_rejected > self._num_rejected:
            self._callbacks.call("callback_reject_step", *self._latest)
        self._num_rejected = num_rejected


@dataclass(frozen=True)
class TellingMethod:
    """A method whose steps are told of before they are taken, in the first solve that begins."""

    method: Method
    told: Told

    @property
    def traits(self) -> Traits:
        """See Method."""
        return self.method.traits

    def begin(self, course: Course) -> Steps:
        """See Method. What is taken again to look for a fault is not told of again."""
        steps = self.method.begin(course)
        if self.told.has_begun:
            return steps
        self.told.has_begun = True
        return _TellingSteps(steps, self.told)


@dataclass(frozen=True)
class _TellingSteps(Steps):
    steps: Steps
    told: Told

    def first(self, record: StepRecord, y0: Tensor) -> Tensor:
        """See Steps. On a grid, f at the start of a step is part of it."""
        if record.dt:
            self.told.try_step(record, y0)
        return self.steps.first(record, y0)

    def hold(self, f1: Tensor) -> Tensor:
        """See Steps."""
        return self.steps.hold(f1)

    def take(self, record: StepRecord, y0: Tensor, f0: Tensor) -> Step | SolverError:
        """See Steps."""
        self.told.try_step(record, y0)
        return self.steps.take(record, y0, f0)

    def cost(self, record: StepRecord) -> int:
        """See Steps."""
        return self.steps.cost(record)


def find_callbacks(
    func: Any, method: str, view: Callable[[Tensor], Any], suffix: str = ""
) -> Callbacks | None:
    """func's callbacks, if it has any; those that the method never calls get a warning, as there.

    Fixed steps are neither accepted nor rejected, and SciPy tells nothing. `view` makes of a packed state what the
    callbacks are to see.
    """
    found = {name: getattr(func, name + suffix) for name in _NAMES if hasattr(func, name + suffix)}
    supported = _NAMES if method in ADAPTIVE else () if method in SCIPY else _NAMES[:1]
    silent = sorted(name + suffix for name in found if name not in supported)
    if silent:
        warnings.warn(f"method `{method}` never calls {', '.join(silent)}", stacklevel=3)
    heard = {name: callback for name, callback in found.items() if name in supported}
    return Callbacks(heard, view) if heard else None
