"""Where a loop meets its company: who hears of its steps, what rides along with its state, and what it hands back."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor

from nodebench.ode.clock import StepRecord
from nodebench.ode.status import SolverError
from nodebench.ode.step import StageBuffer, StageList


class Observer(Protocol):
    """Hears of every step of a loop."""

    def on_step(self, t: float, dt: float, y0: Tensor) -> None:
        """A step is about to be tried."""
        ...

    def on_accept(
        self, record: StepRecord, y0: Tensor, y1: Tensor, stages: StageBuffer | StageList, f1: Tensor | None
    ) -> None:
        """A step was accepted; f1 = f(t + dt, y1) where it is known."""
        ...

    def on_reject(self, t: float, dt: float, y0: Tensor) -> None:
        """A step was rejected."""
        ...


class Quadrature(Protocol):
    """Integrals of g(t, y) that ride along a solve: y does not depend on them, so they need no stages of y's."""

    def extend_state(self, y: Tensor) -> Tensor:
        """y with the integrals so far appended, if they count in the norm."""
        ...

    def extend_stage(self, k: Tensor, i: int) -> Tensor:
        """k_i with the integrands of stage i appended, if they count in the norm."""
        ...

    def extend_error(
        self, y_error: Tensor, y0: Tensor, y1: Tensor, dt: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Error and ends of the step with the integrals' own appended, if they count in the norm."""
        ...

    def accept(self, dt: float) -> None:
        """Add the integral over an accepted step."""
        ...


class LoopResult(NamedTuple):
    """Outputs reached, the error if some were not, and the step the controller would take next."""

    outputs: list[Tensor]
    error: SolverError | None
    next_step: float | None
