"""torchdiffeq's adaptive solvers on the field of an ODE block, forwards alone: what ours are compared with."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nodebench.models.ode_block import ODEBlock
from nodebench.ode import Counts, Solution, SolveStats, Status
from nodebench.ode.settings import SolverSettings
from nodebench.ode.status import ERROR_CLASSES

TORCHDIFFEQ = "torchdiffeq"
METHODS = ("dopri5", "bosh3", "dopri8", "adaptive_heun", "fehlberg2")
# How torchdiffeq's assertions begin, and the error that a solve of ours ends in for the same reason.
_FAILURES = {
    "underflow in dt": Status.DT_UNDERFLOW,
    "non-finite values in state": Status.NON_FINITE,
    "max_num_steps exceeded": Status.MAX_STEPS,
}


class TorchdiffeqBlock:
    """Solves the ODE of `own` as an ODEBlock does, by torchdiffeq's odeint.

    Its last step ends on t1, as ours does (option step_t): without, it steps over t1 and interpolates back, and the
    error is that of the interpolation. Its adaptive_heun and fehlberg2 begin a step with a slope from a stage at
    another point, where ours evaluate it anew. Of the settings it heeds method, rtol, atol and max_steps. Raises
    SolverError if the solve fails.
    """

    def __init__(self, own: ODEBlock, solver: SolverSettings) -> None:
        self.vector_field = own.vector_field
        self.solver = solver
        self.t1 = own.t1

    def solve(self, y0: Tensor, ts: Sequence[float]) -> Solution:
        """y at every entry of ts, from y0 at the first."""
        solver = self.solver
        field = _Counted(self.vector_field)
        times = torch.tensor(ts, dtype=y0.dtype, device=y0.device)
        options: dict[str, Any] = {"step_t": times[-1:]}
        if solver.max_steps is not None:
            options["max_num_steps"] = solver.max_steps
        try:
            ys = importlib.import_module(TORCHDIFFEQ).odeint(
                field,
                y0,
                times,
                rtol=solver.rtol,
                atol=solver.atol,
                method=solver.method,
                options=options,
            )
        except AssertionError as error:
            for beginning, status in _FAILURES.items():
                if str(error).startswith(beginning):
                    what = " ".join(str(error).partition(":")[0].split())
                    raise ERROR_CLASSES[status](f"torchdiffeq: {what}") from error
            raise
        return Solution(times, ys, SolveStats(forward=field.counts))


class _Counted:
    """A field that counts its calls and, told by torchdiffeq, the steps; not a module, so that a call costs little."""

    def __init__(self, field: nn.Module) -> None:
        self._field = field
        self.counts = Counts()

    def __call__(self, t: Tensor, y: Tensor) -> Any:
        self.counts.nfe += 1
        return self._field(t, y)

    def callback_accept_step(self, t: Tensor, y: Tensor, dt: Tensor) -> None:
        self.counts.num_accepted = (self.counts.num_accepted or 0) + 1

    def callback_reject_step(self, t: Tensor, y: Tensor, dt: Tensor) -> None:
        self.counts.reject()
