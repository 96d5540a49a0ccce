"""The float64 solve that errors are measured against, and how far errors are from it.

dopri5 and not a higher order: relu makes the MNIST field's derivative jump, and dopri8 then needs many times more
evaluations to the same error (405 against 56 at 1e-5, 2,056 against 206 at 1e-7; trained net, 100 images).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nodebench.measurement.float64_convolution import take_products
from nodebench.measurement.passes import LossGradient, run_pass
from nodebench.models.ode_block import ODEBlock
from nodebench.ode.settings import SolverSettings


@dataclass(frozen=True)
class ReferenceSettings:
    """`gradient`: checkpointed is exact for the reference's own steps and cheaper than the adjoint at its tolerance."""

    method: str = "dopri5"
    tol: float = 1e-8
    gradient: str = "checkpointed"

    def tighter(self) -> ReferenceSettings:
        """The same a decade tighter."""
        return ReferenceSettings(self.method, self.tol / 10, self.gradient)


@dataclass(frozen=True)
class ReferenceErrors:
    """The reference against one a decade tighter, on the first batch, in the measures of the rows."""

    endpoint: float
    gradient: float


@dataclass(frozen=True)
class Reference:
    """y(t1) and dL/d(y0, theta), flat, in float64; the gradient is None where it was not asked for."""

    y1: Tensor
    gradient: Tensor | None


class ReferenceSolver:
    """Makes references: float64 copies of an ODE block's field and of the head that the loss is taken through.

    loss_gradient: dL/dy1 from a head, y1 and labels. On a device without float64 (mps) the copies are on the CPU.
    """

    def __init__(
        self, block: ODEBlock, head: nn.Module, loss_gradient: Callable[[nn.Module, Tensor, Tensor], Tensor]
    ) -> None:
        self._t1 = block.t1
        self._field, self._head = (_in_float64(part) for part in (block.vector_field, head))
        take_products(self._field)
        self._loss_gradient = loss_gradient

    def solve(
        self, settings: ReferenceSettings, y0: Tensor, labels: Tensor, with_gradient: bool
    ) -> Reference:
        """The reference from y0, which is taken as it is in float32. Raises SolverError if the solve fails."""
        device = _device_for_float64(y0.device)
        solver = SolverSettings(settings.method, rtol=settings.tol, atol=settings.tol)
        block = ODEBlock(self._field, solver, settings.gradient, self._t1)
        labels = labels.to(device)
        loss_gradient: LossGradient | None = None
        if with_gradient:
            loss_gradient = lambda y1: self._loss_gradient(self._head, y1, labels)  # noqa: E731
        found = run_pass(block, y0.to(device).double(), loss_gradient)
        return Reference(found.y1, found.gradient)


def endpoint_error(y1: Tensor, reference: Tensor) -> float:
    """The largest ||y1 - reference|| of a sample, over the largest ||reference||; samples along the first axis."""
    distance = (y1.to(reference) - reference).flatten(1).norm(dim=1)
    return float(distance.max() / reference.flatten(1).norm(dim=1).max())


def relative_error(vector: Tensor, reference: Tensor) -> float:
    """||vector - reference|| / ||reference||."""
    return float((vector.to(reference) - reference).norm() / reference.norm())


def _in_float64(module: nn.Module) -> nn.Module:
    parameter = next(module.parameters())
    return copy.deepcopy(module).to(_device_for_float64(parameter.device)).double()


def _device_for_float64(device: torch.device) -> torch.device:
    return torch.device("cpu") if device.type == "mps" else device
