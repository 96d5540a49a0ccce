"""torchdiffeq's norms: of the state, and of the augmented state (t, y, adj_y, *adj_params) of the adjoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from nodebench.ode.gradients.problem import AdjointNorm
from nodebench.ode.norms import LeadingNorm, MaxBlockNorm, Norm, rms_norm
from nodebench.ode.packing import Packing


def state_norm(options: Mapping[str, Any], packing: Packing) -> Norm:
    """The user's norm, called with the state as the user wrote it, or the largest RMS of the state's entries."""
    norm = options.get("norm")
    if norm is None:
        return rms_norm if packing.shapes is None else MaxBlockNorm(packing.sizes)
    if not callable(norm):
        raise ValueError(f"`options` has norm={norm!r}; it must be a function of the state to a 0-d tensor")
    return lambda y: norm(packing.unpack(y))


def adjoint_norm(
    options: Mapping[str, Any],
    norm: Norm,
    packing: Packing,
    shape: torch.Size,
    params: Sequence[Tensor],
) -> AdjointNorm:
    """The norm that `adjoint_options` asks for, given the forward solve's.

    Default: the largest of the norms of y and adj_y and the RMS of each parameter's integral; `seminorm` leaves the
    parameters out; a function gets all of it as a tuple. dL/dt is no part of the state here: its entry is 0.
    """
    wanted = options.get("norm")
    if wanted == "seminorm":
        return lambda y_sizes, param_sizes: LeadingNorm(
            _over_state(norm, sum(y_sizes), shape), 2 * sum(y_sizes)
        )
    if wanted is None:
        return lambda y_sizes, param_sizes: _over_everything(norm, sum(y_sizes), shape, param_sizes)
    if not callable(wanted):
        raise ValueError(
            f"`adjoint_options` has norm={wanted!r}; it must be `seminorm` or a function of the tuple "
            "(t, y, adj_y, *adj_params) to a 0-d tensor"
        )
    shapes = [param.shape for param in params]
    return lambda y_sizes, param_sizes: _of_user(wanted, packing, sum(y_sizes), shape, shapes)


def _over_state(norm: Norm, n: int, shape: torch.Size) -> Norm:
    return lambda x: torch.maximum(norm(x[:n].view(shape)), norm(x[n : 2 * n].view(shape)))


def _over_everything(norm: Norm, n: int, shape: torch.Size, param_sizes: Sequence[int]) -> Norm:
    over_state = _over_state(norm, n, shape)
    if not any(param_sizes):
        return over_state
    over_params = MaxBlockNorm(tuple(param_sizes))
    return lambda x: torch.maximum(over_state(x), over_params(x[2 * n :]))


def _of_user(
    norm: Callable[[tuple[Tensor, ...]], Tensor],
    packing: Packing,
    n: int,
    shape: torch.Size,
    param_shapes: Sequence[torch.Size],
) -> Norm:
    def of_augmented(x: Tensor) -> Tensor:
        y, adj_y, *params = x.split([n, n, *(s.numel() for s in param_shapes)])
        halves = [packing.unpack(half.view(shape)) for half in (y, adj_y)]
        entries = [e for half in halves for e in (half if isinstance(half, tuple) else (half,))]
        shaped = (param.view(s) for param, s in zip(params, param_shapes, strict=True))
        return norm((x.new_zeros(()), *entries, *shaped))

    return of_augmented
