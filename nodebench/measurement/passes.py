"""One pass through an ODE block, forward and, where it is wanted, backward from the loss behind it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nodebench.measurement.baselines import TorchdiffeqBlock
from nodebench.models.ode_block import ODEBlock
from nodebench.ode import Solution

Block = ODEBlock | TorchdiffeqBlock
LossGradient = Callable[[Tensor], Tensor]
"""dL/dy1 at y1, through what follows the ODE block."""


@dataclass(frozen=True)
class Pass:
    """The solve and what it gave, without a graph; `gradient` is dL/d(y0, theta), flat.

    What belongs to the backward pass is None without one.
    """

    solution: Solution[Tensor]
    time_forward_ms: float
    gradient: Tensor | None = None
    time_backward_ms: float | None = None

    @property
    def y1(self) -> Tensor:
        """y(t1)."""
        return self.solution.ys[-1]


def run_pass(block: Block, y0: Tensor, loss_gradient: LossGradient | None) -> Pass:
    """Solve from y0, and with `loss_gradient` back again for the gradient in y0 and in the field's parameters.

    Times are the ODE block's alone, synchronised with the device. Raises SolverError if a solve fails.
    """
    y0 = y0.detach().requires_grad_(loss_gradient is not None)
    start = now_ms(y0.device)
    with torch.set_grad_enabled(loss_gradient is not None):
        solution = block.solve(y0, (0.0, block.t1))
    time_forward_ms = now_ms(y0.device) - start
    if loss_gradient is None:
        return Pass(solution, time_forward_ms)
    y1 = solution.ys[-1]
    adj_y1 = loss_gradient(y1.detach())
    start = now_ms(y0.device)
    wanted = [y0, *(theta for theta in block.vector_field.parameters() if theta.requires_grad)]
    grads = torch.autograd.grad(y1, wanted, adj_y1, materialize_grads=True)
    time_backward_ms = now_ms(y0.device) - start
    gradient = torch.cat([grad.reshape(-1) for grad in grads])
    solved = Solution(solution.ts, solution.ys.detach(), solution.stats)
    return Pass(solved, time_forward_ms, gradient, time_backward_ms)


def now_ms(device: torch.device) -> float:
    """The clock, read once the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter() * 1000
