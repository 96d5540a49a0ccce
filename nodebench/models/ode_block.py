"""The ODE block: a layer whose output is the solution at t = t1 of an ODE that starts in its input at t = 0."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from nodebench.ode import Solution, SolverError, SolveStats, odeint
from nodebench.ode.settings import SolverSettings, of_a_solve
from nodebench.ranks import together

EAGER_EVALUATIONS = 3
"""Of batches of one shape, where `compiles_evaluation`: a shape that comes no oftener, as an odd last batch, is not
worth its half minute of compiling."""


class ODEBlock(nn.Module):
    """y(t1) of dy/dt = vector_field(t, y), y(0) = the input; any shape that the vector field takes.

    `solver` may be replaced at any time. `default_max_nfe` is the budget of a solve whose solver has none and chooses
    its steps; None: no limit. The counts of a solve are in its `Solution`, those of a net's in `recorded_solves`.

    What `solver.compile` compiles are the solves of training. With `compiles_evaluation` those of evaluation are as
    well, from the fourth batch of a shape on: for who evaluates hundreds of them (docs/decisions/0032).
    """

    default_max_nfe: int | None = None
    compiles_evaluation: bool = False

    def __init__(
        self, vector_field: nn.Module, solver: SolverSettings, gradient: str, t1: float = 1.0
    ) -> None:
        super().__init__()
        self.vector_field = vector_field
        self.solver = solver
        self.gradient = gradient
        self.t1 = t1
        self._recordings: list[list[SolveStats]] = []  # those that are open
        self._dtype_of_products = torch.float32  # in the autocast region of the last solve
        self._evaluated: Counter[Hashable] = Counter()  # solves by the shape of their batch, see _is_compiled

    def __getstate__(self) -> dict[str, Any]:
        """Without the open recordings and what was compiled: they are of this block, not of its copies."""
        return {**self.__dict__, "_recordings": [], "_evaluated": Counter()}

    def forward(self, y0: Tensor) -> Tensor:
        return _end_of(self.solve(y0, (0.0, self.t1)))

    def solve(self, y0: Tensor, ts: Sequence[float] | Tensor, args: tuple[Any, ...] = ()) -> Solution[Tensor]:
        """Solve dy/dt = vector_field(t, y, *args) with this block's settings and return y at every entry of ts.

        In an autocast region the vector field alone is evaluated as it asks, also by the backward pass, which autocast
        does not reach by itself: state, sums, error, time and the adjoint's integrals are in float32.

        Raises SolverError if the solve fails.
        """
        settings = of_a_solve(self.solver)
        if settings["max_nfe"] is None and settings["dt"] is None:
            settings["max_nfe"] = self.default_max_nfe
        settings["compile"] = settings["compile"] if self._is_compiled(y0) else False
        shared_with = together() if self.solver.sync else None
        adjoint = {f"adjoint_{name}": value for name, value in vars(self.solver.adjoint).items()}
        stats = SolveStats()
        for recording in self._recordings:
            recording.append(stats)
        keywords = {"gradient": self.gradient, "stats": stats, "together": shared_with, **settings, **adjoint}
        device = y0.device.type
        if not torch.is_autocast_enabled(device):
            return odeint(self.vector_field, y0, ts, args, **keywords)
        self._dtype_of_products = torch.get_autocast_dtype(device)
        y0 = y0.float() if y0.dtype in (torch.bfloat16, torch.float16) else y0
        with torch.autocast(device, enabled=False):
            parameters = tuple(self.vector_field.parameters())
            return odeint(self._lowered_field, y0, ts, args, params=parameters, **keywords)

    def _is_compiled(self, y0: Tensor) -> bool:
        """Whether the solve that begins in y0 is to be compiled, where `solver.compile` says so."""
        if self.training or not self.compiles_evaluation:
            return self.training
        shape = y0.shape, y0.dtype, y0.device
        self._evaluated[shape] += 1
        return self._evaluated[shape] > EAGER_EVALUATIONS

    def _lowered_field(self, t: Tensor, y: Tensor, *args: Any) -> Tensor:
        """The vector field with products in lower precision, whose result the solver casts back.

        A method, as what is compiled is kept with f's owner. No cast weight is kept, see precision.products_in_bf16.
        """
        with torch.autocast(y.device.type, self._dtype_of_products, cache_enabled=False):
            dy: Tensor = self.vector_field(t, y, *args)
        return dy

    @torch.no_grad()
    def reconstruction_error(self, y0: Tensor, there: Solution[Tensor] | None = None) -> float:
        """||z - y0|| / ||y0|| over the whole batch, where z is y0 solved from t = 0 to t1 and back to 0.

        Small where the solve stands for an ODE, whose flow can be inverted; large where the net has come to depend on
        the solver's errors (Ott et al. 2021, "ResNet after all?"). Infinite if a solve fails or overflows, or if the
        one back takes a thousand times the evaluations of the one there. `there`: the solve from y0 to t1, where it has
        been made already.
        """
        own = self.solver
        try:
            there = self.solve(y0, (0.0, self.t1)) if there is None else there
        except SolverError:
            return math.inf
        if own.max_nfe is None:
            self.solver = replace(own, max_nfe=1000 * there.stats.forward.nfe)
        try:
            returned = _end_of(self.solve(_end_of(there), (self.t1, 0.0)))
        except SolverError:
            return math.inf
        finally:
            self.solver = own
        error = float((returned - y0).norm() / y0.norm())
        return error if math.isfinite(error) else math.inf


def ode_blocks(module: nn.Module) -> list[ODEBlock]:
    """Every ODE block in a net, wherever it is; empty for a net without an ODE."""
    return [part for part in module.modules() if isinstance(part, ODEBlock)]


@contextmanager
def recorded_solves(module: nn.Module) -> Iterator[list[SolveStats]]:
    """A list that gains every solve which the net's ODE blocks begin while this is open, in order.

    A forward solve's counts grow while it runs, the backward one's while backward() does: read them afterwards. A copy
    of the net is not recorded. Recordings may be open inside each other.
    """
    blocks = ode_blocks(module)
    solves: list[SolveStats] = []
    try:
        for block in blocks:
            block._recordings.append(solves)
        yield solves
    finally:
        for block in blocks:
            block._recordings = [other for other in block._recordings if other is not solves]


def _end_of(solution: Solution[Tensor]) -> Tensor:
    return solution.ys[-1]
