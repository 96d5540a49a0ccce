"""Who takes the steps that a loop decides on. Here: one evaluation after the other. compiled/ takes a step whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from nodebench.ode.clock import Clock, StepRecord
from nodebench.ode.controllers import History
from nodebench.ode.counting import Field
from nodebench.ode.norms import error_ratio
from nodebench.ode.replay import take_step
from nodebench.ode.seams import Quadrature
from nodebench.ode.step import StageBuffer, StageList
from nodebench.ode.step_control import StepControl
from nodebench.ode.tableau import ButcherTableau


class Attempt(NamedTuple):
    """A step's end and its error ratio, 0-d: accepted if at most 1, NaN if the step went wrong."""

    y1: Tensor
    error_ratio: Tensor


class March(NamedTuple):
    """Where an adaptive solve stands: everything that its next step follows from, k_0 = f(t, y) included."""

    t: float
    size: float  # of the step that the controller wants next
    y: Tensor
    k0: Tensor
    history: History
    num_accepted: int = 0
    num_rejected: int = 0
    last_ratio: float | None = None  # the error ratio of the last step tried


class Stepper(Protocol):
    """Takes the steps of one solve, and counts their evaluations."""

    def new_stages(self, y: Tensor, autograd: bool) -> StageBuffer | StageList:
        """Room for the stages of steps from states like y; with `autograd`, of one step."""
        ...

    def take(
        self, record: StepRecord, y0: Tensor, stages: StageBuffer | StageList, *, all_stages: bool
    ) -> Tensor:
        """y1 of a step, k_0 in stages[0] given; `all_stages` fills all of them, an interpolant's too."""
        ...

    def attempt(self, record: StepRecord, y0: Tensor, stages: StageBuffer | StageList) -> Attempt:
        """A step with its error. Of the stages, the last is filled, and all of them if outputs lie inside the step."""
        ...

    def march(self, start: March, until: float, max_tries: int) -> March | None:
        """As many steps as end before the time `until`, `max_tries` at most; None if steps go one by one here."""
        ...


MakeStepper = Callable[[Field, ButcherTableau, Clock, StepControl | None, Quadrature | None], Stepper]


class EagerStepper:
    """Evaluates stage after stage, as the field is called."""

    def __init__(
        self,
        f: Field,
        tableau: ButcherTableau,
        clock: Clock,
        control: StepControl | None,
        quadrature: Quadrature | None,
    ) -> None:
        self._f, self._tableau, self._clock = f, tableau, clock
        self._control, self._quadrature = control, quadrature

    def new_stages(self, y: Tensor, autograd: bool) -> StageBuffer | StageList:
        """See Stepper."""
        return StageList(self._tableau) if autograd else StageBuffer(self._tableau, y)

    def take(
        self, record: StepRecord, y0: Tensor, stages: StageBuffer | StageList, *, all_stages: bool
    ) -> Tensor:
        """See Stepper."""
        return take_step(self._f, self._tableau, self._clock, record, y0, stages, with_error=all_stages)

    def attempt(self, record: StepRecord, y0: Tensor, stages: StageBuffer | StageList) -> Attempt:
        """See Stepper."""
        y1 = self.take(record, y0, stages, all_stages=True)
        return Attempt(y1, self._error_ratio(record, y0, y1, stages))

    def march(self, start: March, until: float, max_tries: int) -> None:
        """None: every step is the loop's own."""

    @torch.no_grad()
    def _error_ratio(
        self, record: StepRecord, y0: Tensor, y1: Tensor, stages: StageBuffer | StageList
    ) -> Tensor:
        control = self._control
        assert control is not None, "only an adaptive loop asks for errors"
        y_error = stages.error(record.dt)
        if self._quadrature is not None:
            y_error, y0, y1 = self._quadrature.extend_error(y_error, y0, y1, record.dt)
        ratio = error_ratio(y_error, y0, y1, control.rtol, control.atol, control.norm)
        return nan_at_overflow(ratio, y1) if record.lands_on == len(self._clock.ts) - 1 else ratio


def nan_at_overflow(error_ratio: Tensor, y1: Tensor) -> Tensor:
    """NaN where a state is not finite: one that overflows makes its own tolerance infinite, and so passes for exact.

    For the last step of a solve; before it, the next step tells.
    """
    return torch.where(torch.isfinite(y1).all(), error_ratio, torch.nan)
