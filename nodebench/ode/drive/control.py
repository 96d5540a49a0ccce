"""How an adaptive loop chooses its steps, as values."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from nodebench.ode.budget import Budget, Limits
from nodebench.ode.drive.controllers import Controller, PIDController
from nodebench.ode.norms import Accuracy


@dataclass(frozen=True)
class StepControl:
    """Tolerance, controller and budget of an adaptive loop. Step sizes are positive in both directions of time."""

    accuracy: Accuracy = field(default_factory=Accuracy)
    controller: Controller = field(default_factory=PIDController)
    first_step: float | None = None
    min_step: float = 0.0
    max_step: float = math.inf
    budget: Budget = field(default_factory=Limits)
    step_ts: tuple[float, ...] = ()  # times to step on exactly
    jump_ts: tuple[float, ...] = ()  # times where f jumps: stepped on, and f evaluated anew behind them
