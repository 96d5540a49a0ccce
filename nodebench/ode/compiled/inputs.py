"""What compiled steps are called with: times and tolerances as tensors, as other values are no reason to compile."""

from __future__ import annotations

from collections.abc import Hashable

import torch
from torch import Tensor

from nodebench.ode.field import Time, time_tensor
from nodebench.ode.norms import Tolerance

# Left to itself, inductor lays convolutions out with their channels last on the CPU, whose backward is slower.
OPTIONS = {"layout_optimization": False}


def layout(y: Tensor) -> tuple[Hashable, ...]:
    """What a compiled step of a state holds for."""
    return y.shape, y.dtype, y.device


def float64(t: Time, y: Tensor) -> Tensor:
    """A time or step size as a 0-d tensor on y's device."""
    return torch.full((), float(t), dtype=torch.float64, device=y.device)


def as_tensor(tolerance: Tolerance, y: Tensor) -> Tensor:
    """A tolerance as a tensor of y's real dtype."""
    return tolerance if isinstance(tolerance, Tensor) else time_tensor(tolerance, y)
