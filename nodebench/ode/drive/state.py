"""Where a solve stands, and how it ends, as values."""

from __future__ import annotations

from typing import Generic, NamedTuple

from torch import Tensor

from nodebench.ode.drive.scalars import Scalar
from nodebench.ode.status import SolverError


class Pace(NamedTuple):
    """What a step knows, beside its error, of how long the next may be.

    What its error allows, times `safety`, and at most `growth` times its own length.
    """

    safety: float
    growth: float


class LoopState(NamedTuple, Generic[Scalar]):
    """Where an adaptive solve stands: everything that its next step follows from, f0 = f(t, y) included.

    `size` is that of the step the controller wants next. Counts are of the steps that led here from an earlier state,
    and `last_ratio` is the error ratio of the last of them.
    """

    t: Scalar
    size: Scalar
    history: tuple[Scalar, Scalar]
    y: Tensor
    f0: Tensor
    num_accepted: int = 0
    num_rejected: int = 0
    last_ratio: float | None = None


class LoopResult(NamedTuple):
    """Outputs reached, the error if some were not, and the step the controller would take next."""

    outputs: list[Tensor]
    error: SolverError | None
    next_step: float | None
