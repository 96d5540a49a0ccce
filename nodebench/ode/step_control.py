"""How an adaptive loop chooses its steps, as values."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from nodebench.ode.controllers import PIDController
from nodebench.ode.norms import Norm, Tolerance, rms_norm


@dataclass(frozen=True)
class StepControl:
    """Tolerance, controller and budgets of an adaptive loop. Step sizes are positive in both directions of time."""

    rtol: Tolerance = 1e-3
    atol: Tolerance = 1e-3
    norm: Norm = rms_norm
    controller: PIDController = field(default_factory=PIDController)
    first_step: float | None = None
    min_step: float = 0.0
    max_step: float = math.inf
    max_steps: int | None = None
    max_nfe: int | None = None
    max_steps_per_output: int | None = None  # steps tried from one output time to the next
    step_ts: tuple[float, ...] = ()  # times to step on exactly
    jump_ts: tuple[float, ...] = ()  # times where f jumps: stepped on, and f evaluated anew behind them
