"""3x3 convolutions of small images in float64 as products of matrices, because torch's own are slow there on a CPU.

Winograd's minimal filtering with one tile, the whole image: image and kernel are polynomials of two variables, and
their product is known from its values at (H + 2)(W + 2) points: 64 multiplications for 6x6 pixels where the sum itself
takes 9 * 36 = 324. At each point all images and channels are one product of matrices. Rounding is that of an
interpolation: of the largest value 2e-14 at 6 pixels a side and 3e-13 at 7.

Source: Lavin & Gray 2016, "Fast Algorithms for Convolutional Neural Networks" (arXiv 1509.09308), F(m x m, 3 x 3).
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nodebench.models.vector_fields import TimeConv2d

# Where polynomials are evaluated, beside infinity: small numbers, whose powers are exact and near to each other.
_POINTS = (0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5, 0.75)
LARGEST = len(_POINTS) - 1  # pixels a side, since n pixels and a kernel of 3 take n + 2 points


def take_products(module: nn.Module) -> None:
    """Have the 3x3 convolutions of `module` taken as products of matrices: those of stride 1, padding 1, one group.

    Its parameters and its other convolutions stay as they are; so does the convolution of images that are larger than
    LARGEST, not in float64 or not on the CPU.
    """
    for part in module.modules():
        if type(part) is TimeConv2d:
            part.__class__ = _TimeConv2d
        elif type(part) is nn.Conv2d and _is_known(part):
            part.__class__ = _Conv2d


def convolve(x: Tensor, weight: Tensor) -> Tensor:
    """F.conv2d(x, weight, padding=1) of x: (B, C, H, W) and weight: (K, C, 3, 3), H and W being LARGEST at most."""
    product: Tensor = _Product.apply(x, weight)
    return product


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.rows, ctx.columns = rows, columns = [_transforms(size) for size in x.shape[-2:]]
        values = _at_points(rows.image, columns.image, x)
        kernels = _at_points(rows.kernel, columns.kernel, weight)
        ctx.save_for_backward(values, kernels)
        return _from_points(rows.result, columns.result, torch.bmm(values, kernels.transpose(1, 2)))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, adj_result: Tensor) -> tuple[Tensor, Tensor]:
        rows, columns = ctx.rows, ctx.columns
        values, kernels = ctx.saved_tensors
        adj = _at_points(rows.result.T, columns.result.T, adj_result)
        adj_x = _from_points(rows.image.T, columns.image.T, torch.bmm(adj, kernels))
        adj_weight = _from_points(rows.kernel.T, columns.kernel.T, torch.bmm(adj.transpose(1, 2), values))
        return adj_x, adj_weight


class _Transforms(NamedTuple):
    """What makes a convolution along one side of n pixels: result @ ((kernel @ weight) * (image @ x)).

    image: (n + 2, n) and kernel: (n + 2, 3) give the values at the points, result: (n, n + 2) what they amount to.
    """

    image: Tensor
    kernel: Tensor
    result: Tensor


@cache
def _transforms(size: int) -> _Transforms:
    """Toom and Cook's product of two polynomials, transposed, which makes it the sums that a net calls convolution."""
    points = np.array(_POINTS[: size + 1])
    from_roots = np.polynomial.polynomial.polyfromroots
    others = [np.delete(points, i) for i in range(len(points))]
    lagrange = [
        [*from_roots(roots), 0.0] / np.prod(p - roots) for p, roots in zip(points, others, strict=True)
    ]
    image = np.array([*lagrange, from_roots(points)])[
        :, 1:-1
    ]  # the first and the last pixel are padded zeros
    return _Transforms(
        *(torch.tensor(matrix) for matrix in (image, _powers(points, 3), _powers(points, size).T))
    )


def _powers(points: np.ndarray, number: int) -> np.ndarray:
    """1, p, p^2, ... for each point, and at infinity the highest power alone."""
    return np.concatenate([np.vander(points, number, increasing=True), np.eye(number)[-1:]])


def _at_points(rows: Tensor, columns: Tensor, maps: Tensor) -> Tensor:
    """rows @ map @ columns^T for each map of (B, C, H, W), its entries along the first axis: (points, B, C)."""
    num_images, num_channels, height, width = maps.shape
    values = columns @ maps.reshape(-1, width).T
    return (rows @ values.view(-1, height).T).view(-1, num_images, num_channels)


def _from_points(rows: Tensor, columns: Tensor, values: Tensor) -> Tensor:
    """rows @ map @ columns^T for each map, whose entries are along the first axis of values: (B, C, H, W)."""
    (height, from_rows), (width, from_columns) = rows.shape, columns.shape
    maps = columns @ (rows @ values.view(from_rows, -1)).view(height, from_columns, -1)
    return maps.view(height * width, -1).T.reshape(*values.shape[1:], height, width)


def _is_known(part: nn.Conv2d) -> bool:
    is_plain = part.groups == 1 and part.padding_mode == "zeros" and part.kernel_size == (3, 3)
    return is_plain and part.stride == part.padding == part.dilation == (1, 1)


def _fits(x: Tensor) -> bool:
    is_small = x.dim() == 4 and max(x.shape[-2:]) <= LARGEST
    return is_small and x.dtype == torch.float64 and x.device.type == "cpu"


class _Conv2d(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        if not _fits(x):
            return super().forward(x)
        product = convolve(x, self.weight)
        return product if self.bias is None else product + self.bias.view(-1, 1, 1)


class _TimeConv2d(TimeConv2d):
    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return convolve(x, self.weight) + self.time_term(t, x) if _fits(x) else super().forward(t, x)
