"""How fast a field is where a solve failed, by a power iteration: what its stability has to do with it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

MANY_STEPS = 100  # beside which one wait more for the device is nothing
LIMITED = 0.75  # of what stability allows, as the longest steps are now accepted and now rejected
TURNS = 5  # evaluations

T = TypeVar("T")


@torch.no_grad()
def fastest_rate(
    f: Callable[[T, Tensor], Tensor], t: T, y: Tensor, f0: Tensor, dim: int | None = None
) -> Tensor:
    """About the largest |lambda| of df/dy at (t, y), where the slope is f0; by TURNS evaluations.

    Of the whole state, in one entry, or where it is many along `dim`, of each. An evaluation is at y and a small step
    along what the last one changed: differences stand in for products with df/dy. NaN if one is not finite, 0 of a
    field that does not depend on y.

    Source: Hairer & Wanner, Solving Ordinary Differential Equations II, 2nd edition, section IV.2 (before eq. 2.27).
    """

    def norm(x: Tensor, order: float = 2.0) -> Tensor:
        return torch.linalg.vector_norm(x, order, dim=dim, keepdim=True)

    largest = norm(y, math.inf)
    length = math.sqrt(torch.finfo(y.dtype).eps) * torch.where(largest > 0, largest, 1.0)
    direction = (
        torch.arange(1, y.numel() + 1, dtype=y.real.dtype, device=y.device).cos().view_as(y).to(y.dtype)
    )
    for _ in range(TURNS):
        size = norm(direction)
        direction = (f(t, y + direction * torch.where(size == 0, 0.0, length / size)) - f0) / length
    return norm(direction)
