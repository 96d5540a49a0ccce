"""Which gradients torchdiffeq hands out where nodebench would refuse the call, or hand out none."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


def unrecorded(func: Callable[..., Any], y0: Any, t: Tensor) -> torch.no_grad:
    """A context without autograd, for a solve that cannot be recorded; a warning if something there requires grad."""
    state = (y0,) if isinstance(y0, Tensor) else tuple(y0)
    params = func.parameters() if isinstance(func, nn.Module) else ()
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (*state, t, *params)):
        warnings.warn(
            "`scipy_solver` records nothing, so its outputs have no gradient; use odeint_adjoint for gradients",
            stacklevel=3,
        )
    return torch.no_grad()


def with_zero_gradients(ys: Tensor, tensors: Sequence[Tensor]) -> Tensor:
    """Outputs of which tensors that they do not depend on have a gradient of zero, not none."""
    if not (tensors and torch.is_grad_enabled()):
        return ys
    attached: Tensor = _ZeroGradients.apply(ys, *tensors)
    return attached


class _ZeroGradients(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ys: Tensor, *tensors: Tensor) -> Tensor:
        ctx.save_for_backward(*tensors)
        return ys.view_as(ys)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, ...]:
        return *grad_outputs, *(torch.zeros_like(tensor) for tensor in ctx.saved_tensors)
