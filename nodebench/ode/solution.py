"""What a solve returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic

import torch
from torch import Tensor

from nodebench.ode.counts import SolveStats
from nodebench.ode.events import Crossings
from nodebench.ode.packing import Packing, S
from nodebench.ode.status import SolverError, Status


@dataclass
class Solution(Generic[S]):
    """Outputs, counts and outcome of a solve.

    `ys` has shape (len(ts), *y0.shape), or is a tuple of such tensors if y0 is one. `stats.backward` is filled in
    while backward() runs. `status` is SUCCESS unless failures were asked for as values; outputs not reached are NaN
    then, and `message` says what happened; it also says where steps were taken that had not converged. `failures`: of
    samples with steps of their own, the error of each that failed; those outputs of it that it did not reach are NaN.

    `events` holds the crossings of each event that was asked for; where one of them ended the solve, status is EVENT,
    `ended_by` its number, and outputs behind it are NaN. A solve that no event ended comes to ts[-1] and says so.
    """

    ts: Tensor
    ys: S
    stats: SolveStats = field(default_factory=SolveStats)
    status: Status = Status.SUCCESS
    message: str = ""
    packing: Packing = field(default_factory=lambda: Packing(None))
    dense: Callable[[float], Tensor] | None = None
    events: tuple[Crossings[S], ...] = ()
    ended_by: int | None = None
    failures: Mapping[int, SolverError] = field(default_factory=dict)

    def evaluate(self, t: float | Tensor) -> S:
        """y at a time, or at each entry of a 1-D tensor of times (a leading axis), by the method's interpolant.

        Raises ValueError without `dense_output=True`, or for a time outside the solved interval.
        """
        if self.dense is None:
            raise ValueError(
                "this solution keeps no interpolants; solve with dense_output=True to evaluate it"
            )
        if isinstance(t, Tensor) and t.dim():
            values = torch.stack([self.dense(time) for time in t.tolist()])
            state: Any = self.packing.unpack(values, (len(t),))
        else:
            state = self.packing.unpack(self.dense(float(t)))
        return state
