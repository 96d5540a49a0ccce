"""What compiled steps are called with: times as tensors, as other values are no reason to compile."""

from __future__ import annotations

from collections.abc import Hashable

import torch
from torch import Tensor, nn

from nodebench.ode.field import Time

# Left to itself, inductor lays convolutions out with their channels last on the CPU, whose backward is slower.
# And it shares a loop of 1024 products among threads, where waking them takes longer than the loop: steps of a small
# field, which fusible.py makes such loops of, took 1.3 times as long on two threads as on one.
OPTIONS = {"layout_optimization": False, "cpp.min_chunk_size": 16_384}


def layout(y: Tensor) -> tuple[Hashable, ...]:
    """What a compiled step of a state holds for."""
    return y.shape, y.dtype, y.device


def float64(t: Time, y: Tensor) -> Tensor:
    """A time or step size as a 0-d tensor on y's device."""
    return torch.full((), float(t), dtype=torch.float64, device=y.device)


def requiring_grad(tensor: Tensor) -> Tensor:
    """The tensor as one that requires grad, and no nn.Parameter, which would be another kind to the compiler."""
    if not tensor.requires_grad:
        return tensor.detach().requires_grad_()
    return tensor.view_as(tensor) if isinstance(tensor, nn.Parameter) else tensor
