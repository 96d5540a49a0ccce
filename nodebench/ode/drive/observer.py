"""Who hears of the steps of a loop."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from nodebench.ode.clock import StepRecord
from nodebench.ode.methods.method import Step


class Observer(Protocol):
    """Hears of every step that a loop accepts."""

    def on_accept(self, record: StepRecord, y0: Tensor, f0: Tensor, step: Step) -> None:
        """A step from y0, where the slope is f0, was accepted; step.f1 is there where anyone needed it."""
        ...
