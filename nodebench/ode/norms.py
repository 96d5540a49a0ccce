"""Norms of a packed error vector: what "the error is below the tolerance" means.

A norm maps a tensor to a 0-d tensor. All are scaled so that a vector of ones has norm 1; the step is accepted when
the norm of error / (atol + rtol * max(|y0|, |y1|)) is at most 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Norm = Callable[[Tensor], Tensor]
Tolerance = float | Tensor  # a tensor broadcasts against the packed state (one tolerance an entry of a tuple)


def rms_norm(x: Tensor) -> Tensor:
    """sqrt(mean |x|^2) over the whole tensor, batch included: torchdiffeq's default."""
    return torch.linalg.vector_norm(x) / math.sqrt(x.numel())


def max_sample_norm(x: Tensor) -> Tensor:
    """Largest RMS over the entries of the first axis: no sample's error hides behind the others'."""
    samples = x.reshape(x.shape[0], -1) if x.dim() else x.reshape(1, 1)
    return torch.linalg.vector_norm(samples, dim=1).max() / math.sqrt(samples.shape[1])


def max_block_norm(sizes: Sequence[int]) -> Norm:
    """Largest RMS over consecutive blocks of a packed vector: the default for tuple states, as torchdiffeq."""
    sizes = [size for size in sizes if size]
    scales = [1 / math.sqrt(size) for size in sizes]

    def norm(x: Tensor) -> Tensor:
        blocks = x.split(sizes)
        return torch.stack(
            [torch.linalg.vector_norm(b) * s for b, s in zip(blocks, scales, strict=True)]
        ).max()

    return norm


def leading_norm(norm: Norm, size: int) -> Norm:
    """`norm` of the first `size` entries of a packed vector."""
    return lambda x: norm(x[:size])


NORMS: dict[str, Norm] = {"rms": rms_norm, "max_sample": max_sample_norm}


def error_ratio(
    y_error: Tensor, y0: Tensor, y1: Tensor, rtol: Tolerance, atol: Tolerance, norm: Norm
) -> Tensor:
    """norm(y_error / (atol + rtol * max(|y0|, |y1|))), 0-d; the step is accepted if it is at most 1."""
    scale = torch.maximum(y0.abs(), y1.abs()).mul_(rtol).add_(atol)
    return norm(y_error.div_(scale) if not y_error.requires_grad else y_error / scale)
