"""An ODE block as what it does on a fixed grid of steps: plain operations in a row, without a solver, for tracers."""

from __future__ import annotations

from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nodebench.models.ode_block import ODEBlock
from nodebench.ode.methods.tableau import ButcherTableau


class Grid(NamedTuple):
    """`num_steps` equal steps of an explicit Runge-Kutta method."""

    tableau: ButcherTableau
    num_steps: int


class UnrolledSteps(nn.Module):
    """y(t1) of dy/dt = vector_field(t, y) from y(0), over a grid; any shape that the vector field takes.

    The sums of a step are those of its tableau (Hairer, Norsett and Wanner 1993, II.1), so that it agrees with the
    solver as far as rounding goes. Stages that the step's end does not hang on are left out.
    """

    def __init__(self, vector_field: nn.Module, grid: Grid, t1: float) -> None:
        super().__init__()
        self.vector_field = vector_field
        self.grid = grid
        self.t1 = t1

    def forward(self, y: Tensor) -> Tensor:
        tableau, num_steps = self.grid
        dt = self.t1 / num_steps
        for step in range(num_steps):
            ks: list[Tensor] = []
            for stage in range(_needed(tableau)):
                t = torch.tensor(dt * (step + tableau.c[stage]), dtype=y.dtype, device=y.device)
                ks.append(self.vector_field(t, _moved(y, dt, tableau.a[stage], ks)))
            y = _moved(y, dt, tableau.b, ks)
        return y


def unrolled(module: nn.Module, grids: dict[str, Grid]) -> nn.Module:
    """A copy of a net, in evaluation mode, whose ODE blocks are the steps of `grids`, by the blocks' names."""
    copy = deepcopy(module).eval().requires_grad_(False)
    for name, grid in grids.items():
        block = copy.get_submodule(name)
        assert isinstance(block, ODEBlock)
        copy.set_submodule(name, UnrolledSteps(block.vector_field, grid, block.t1))
    return copy


def _needed(tableau: ButcherTableau) -> int:
    """The stages up to the last that the end of a step hangs on; the rest serve the error estimate or the next step."""
    return max(i for i, weight in enumerate(tableau.b) if weight) + 1


def _moved(y: Tensor, dt: float, weights: tuple[float, ...], ks: list[Tensor]) -> Tensor:
    """y + dt * sum_i weights[i] ks[i]."""
    for weight, k in zip(weights, ks, strict=False):
        if weight:
            y = y + (dt * weight) * k
    return y
