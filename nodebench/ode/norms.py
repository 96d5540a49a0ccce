"""Norms of a packed error vector: what "the error is below the tolerance" means.

A norm maps a tensor to a 0-d tensor. All are scaled so that a vector of ones has norm 1; the step is accepted when
the norm of error / (atol + rtol * max(|y0|, |y1|)) is at most 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from nodebench.ode.field import time_tensor

Norm = Callable[[Tensor], Tensor]
Tolerance = float | Tensor  # a tensor broadcasts against the packed state (one tolerance an entry of a tuple)


def rms_norm(x: Tensor) -> Tensor:
    """sqrt(mean |x|^2) over the whole tensor, batch included: torchdiffeq's default."""
    return torch.linalg.vector_norm(x) / math.sqrt(x.numel())


def max_sample_norm(x: Tensor) -> Tensor:
    """Largest RMS over the entries of the first axis: no sample's error hides behind the others'."""
    samples = x.reshape(x.shape[0], -1) if x.dim() else x.reshape(1, 1)
    return torch.linalg.vector_norm(samples, dim=1).max() / math.sqrt(samples.shape[1])


@dataclass(frozen=True)
class MaxBlockNorm:
    """Largest RMS over consecutive blocks of a packed vector: the default for tuple states, as torchdiffeq.

    Equal for equal sizes, as compiled steps are kept by their norm.
    """

    sizes: tuple[int, ...]

    def __call__(self, x: Tensor) -> Tensor:
        sizes = [size for size in self.sizes if size]
        blocks = x.split(sizes)
        return torch.stack(
            [torch.linalg.vector_norm(b) / math.sqrt(n) for b, n in zip(blocks, sizes, strict=True)]
        ).max()


@dataclass(frozen=True)
class LeadingNorm:
    """`norm` of the first `size` entries of a packed vector."""

    norm: Norm
    size: int

    def part(self, x: Tensor) -> Tensor:
        """The entries that count."""
        return x[: self.size]

    def __call__(self, x: Tensor) -> Tensor:
        return self.norm(x[: self.size])


@dataclass(frozen=True)
class SampleNorm:
    """Largest RMS over consecutive blocks of each row of (b, n): one number a sample, (b,), whatever is beside it."""

    sizes: tuple[int, ...]

    def __call__(self, x: Tensor) -> Tensor:
        sizes = [size for size in self.sizes if size]
        if len(sizes) == 1:  # a step's worth of work spares the views
            return torch.linalg.vector_norm(x, dim=1) / math.sqrt(sizes[0])
        norms = [
            torch.linalg.vector_norm(block, dim=1) / math.sqrt(size)
            for block, size in zip(x.split(sizes, dim=1), sizes, strict=True)
        ]
        return torch.stack(norms).amax(0)


NORMS: dict[str, Norm] = {"rms": rms_norm, "max_sample": max_sample_norm}


def error_ratio(
    y_error: Tensor, y0: Tensor, y1: Tensor, rtol: Tolerance, atol: Tolerance, norm: Norm
) -> Tensor:
    """norm(y_error / (atol + rtol * max(|y0|, |y1|))), 0-d; the step is accepted if it is at most 1."""
    if isinstance(norm, LeadingNorm):
        y_error, y0, y1 = norm.part(y_error), norm.part(y0), norm.part(y1)
    scale = torch.maximum(y0.abs(), y1.abs()).mul_(rtol).add_(atol)
    return norm(y_error.div_(scale) if not y_error.requires_grad else y_error / scale)


def nan_beside(number: Tensor, y: Tensor) -> Tensor:
    """The 0-d number, NaN where an entry of y is NaN or infinite; in two operations."""
    parts = torch.view_as_real(y) if y.is_complex() else y
    return torch.add(number, torch.linalg.vector_norm(parts, math.inf), alpha=0)


def nan_beside_rows(numbers: Tensor, y: Tensor) -> Tensor:
    """Numbers (b,), NaN where an entry of that row of y (b, n) is NaN or infinite."""
    parts = torch.view_as_real(y).flatten(1) if y.is_complex() else y
    return numbers + (parts - parts).sum(1)  # a norm over short rows takes five times as long


@dataclass(frozen=True)
class Accuracy:
    """What is asked of a step: its error in `norm`, in units of atol + rtol max(|y0|, |y1|), is at most 1."""

    rtol: Tolerance = 1e-3
    atol: Tolerance = 1e-3
    norm: Norm = rms_norm
    is_shared: ClassVar[bool] = False
    """Whether the steps are those of other rows of a batch too, which other processes solve (see together.py)."""

    def part(self, y: Tensor) -> Tensor:
        """The entries of a packed state that count."""
        return self.norm.part(y) if isinstance(self.norm, LeadingNorm) else y

    def tolerances(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """rtol and atol as tensors of y's real dtype; products with numbers of Python cost twice as much."""
        return _as_tensor(self.rtol, y), _as_tensor(self.atol, y)

    def for_states(self, y: Tensor, riding: int) -> Accuracy:
        """The same for the steps of a solve from y, whose last `riding` entries are integrals that f does not read."""
        return Accuracy(*self.tolerances(y), self.norm)  # a tenth of what dataclasses' replace costs

    def whole(self, *ys: Tensor) -> tuple[Tensor, ...]:
        """The entries of packed states that count."""
        return tuple(self.part(y) for y in ys)

    def norms(self, *xs: Tensor) -> tuple[Tensor, ...]:
        """The norm of each, 0-d, of entries that count."""
        return tuple(self.norm(x) for x in xs)

    def error_ratio(self, y_error: Tensor, y0: Tensor, y1: Tensor) -> Tensor:
        """The error of a step in those units, 0-d; of the rows of all processes once `of_all` has read it."""
        return error_ratio(y_error, y0, y1, self.rtol, self.atol, self.norm)

    def of_all(self, ratio: Tensor) -> float:
        """An error ratio, read: the one wait for the device that a step costs."""
        return ratio.item()

    def alone(self) -> Accuracy:
        """The same of the rows of this process."""
        return self


def _as_tensor(tolerance: Tolerance, y: Tensor) -> Tensor:
    if isinstance(tolerance, Tensor):
        return tolerance
    return time_tensor(min(tolerance, torch.finfo(y.dtype).max), y)  # beyond, torch would refuse it
