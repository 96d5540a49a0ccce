"""How fast a field is where a solve failed, by a power iteration: what its stability has to do with it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nodebench.ode.field import Field, Time

TURNS = 5  # evaluations


@torch.no_grad()
def fastest_rate(f: Field, t: Time, y: Tensor, f0: Tensor) -> float:
    """About the largest |lambda| of df/dy at (t, y), where the slope is f0; by TURNS evaluations and waits.

    Each is at y and a small step along what the last one changed: differences stand in for products with df/dy. NaN if
    one is not finite, 0 of a field that does not depend on y.

    Source: Hairer & Wanner, Solving Ordinary Differential Equations II, 2nd edition, section IV.2 (before eq. 2.27).
    """
    largest = torch.linalg.vector_norm(y, math.inf).item()
    length = math.sqrt(torch.finfo(y.dtype).eps) * (largest or 1.0)
    direction = (
        torch.arange(1, y.numel() + 1, dtype=y.real.dtype, device=y.device).cos().view_as(y).to(y.dtype)
    )
    rate = 0.0
    for _ in range(TURNS):
        size = torch.linalg.vector_norm(direction).item()
        if not 0 < size < math.inf:
            return size
        direction = (f(t, y + direction * (length / size)) - f0) / length
        rate = torch.linalg.vector_norm(direction).item()
    return rate
