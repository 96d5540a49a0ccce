"""What every flow is: a base Gaussian carried to the data by an invertible map, and its density."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn


class Flow(nn.Module, ABC):
    """A distribution on R^dim: z0 ~ N(0, base_std^2 I) at the start of time, x = push(z0) at its end.

    log p(x) = log p(z0) - log|det dx/dz0|; of a continuous flow (Chen et al. 2018, theorem 1)

        log p(y(t1)) = log p(y(t0)) - integral from t0 to t1 of tr(df/dy) dt,   t0 = base, t1 = data,

    so the log-determinant is the integral of the trace. `fraction`, from 0 to 1, stops on the way: the distribution
    at t0 + fraction (t1 - t0), or after the first round(fraction K) layers of K.

    Raises ValueError for an empty or non-finite input, one that is not (N, dim), and a fraction beyond [0, 1].
    """

    net_kind: ClassVar[str] = "flow"

    def __init__(self, dim: int = 2, base_std: float = 1.0) -> None:
        super().__init__()
        if dim < 1:
            raise ValueError(f"`dim` is {dim}; a flow needs at least one dimension")
        if not base_std > 0 or not math.isfinite(base_std):
            raise ValueError(f"`model.base_std` is {base_std}; allowed: a finite number above 0")
        self.dim = dim
        self.base_std = base_std

    @abstractmethod
    def push(self, z0: Tensor, fraction: float = 1.0) -> tuple[Tensor, Tensor]:
        """Base points (N, dim) to (points (N, dim), log|det dx/dz0| (N,))."""

    @abstractmethod
    def pull(self, x: Tensor, fraction: float = 1.0) -> tuple[Tensor, Tensor]:
        """The inverse: points (N, dim) to (base points (N, dim), log|det dx/dz0| (N,), that of the push)."""

    @abstractmethod
    def trajectory(self, z0: Tensor, fractions: Sequence[float]) -> Tensor:
        """Where base points (N, dim) are at each of the increasing fractions of time: (len(fractions), N, dim)."""

    def log_prob(self, x: Tensor, fraction: float = 1.0) -> Tensor:
        """log p(x) in nats, (N,), of points (N, dim)."""
        z0, log_det = self.pull(x, fraction)
        return self.base_log_prob(z0) - log_det

    def sample(self, n: int, generator: torch.Generator | None = None, fraction: float = 1.0) -> Tensor:
        """n independent samples, (n, dim)."""
        return self.push(self.draw_base(n, generator), fraction)[0]

    def sample_and_log_prob(
        self, n: int, generator: torch.Generator | None = None, fraction: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """n samples (n, dim) and their log p (n,), by one push; differentiable in the parameters."""
        return self.push_with_log_prob(self.draw_base(n, generator), fraction)

    def push_with_log_prob(self, z0: Tensor, fraction: float = 1.0) -> tuple[Tensor, Tensor]:
        """Where base points (N, dim) go, and log p there (N,)."""
        x, log_det = self.push(z0, fraction)
        return x, self.base_log_prob(z0) - log_det

    def reference_copy(self, tolerance: float) -> Flow:
        """This flow in float64, what has a solver solved to `tolerance`: what numbers called tight are made with."""
        return copy.deepcopy(self).double()

    def draw_base(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n points of the base, (n, dim), on the parameters' device; drawn on the CPU: the same on every device."""
        if n < 1:
            raise ValueError(f"`n` is {n}; allowed: 1 or more samples")
        like = next(self.parameters())
        z0 = torch.randn(n, self.dim, generator=generator, dtype=like.dtype)
        return self.base_std * z0.to(like.device)

    def base_log_prob(self, z0: Tensor) -> Tensor:
        """log N(z0; 0, base_std^2 I), (N,)."""
        log_normaliser = self.dim * (math.log(self.base_std) + 0.5 * math.log(2 * math.pi))
        return -0.5 * (z0 / self.base_std).square().sum(1) - log_normaliser

    def check_points(self, name: str, points: Tensor) -> None:
        """Raise ValueError unless `points` is (N, dim), N >= 1, finite, and of the parameters' dtype."""
        if points.dim() != 2 or points.shape[1] != self.dim or len(points) == 0:
            raise ValueError(
                f"`{name}` has shape {tuple(points.shape)}; this flow takes (N, {self.dim}) with N of at least 1"
            )
        dtype = next(self.parameters()).dtype
        if points.dtype != dtype:
            raise ValueError(f"`{name}` is {points.dtype} and this flow {dtype}; convert one of them")
        is_finite = torch.isfinite(points)
        if not is_finite.all():
            row, column = (~is_finite).nonzero()[0].tolist()
            raise ValueError(
                f"`{name}`[{row}, {column}] is {points[row, column].item()}; every coordinate must be finite"
            )


def check_fraction(fraction: float) -> None:
    """Raise ValueError unless 0 <= fraction <= 1."""
    if not 0 <= fraction <= 1:
        raise ValueError(f"`fraction` is {fraction}; allowed: from 0 (the base) to 1 (the data)")


def check_fractions(fractions: Sequence[float]) -> list[float]:
    """The fractions as floats. Raises ValueError unless they increase, from 0 or above to 1 or below."""
    checked = [float(fraction) for fraction in fractions]
    if not checked or any(a >= b for a, b in pairwise(checked)):
        raise ValueError(f"`fractions` is {checked}; allowed: increasing numbers, at least one")
    for fraction in checked:
        check_fraction(fraction)
    return checked
