"""Stems: from grey images (B, 1, 28, 28) to the features (B, width, H, W) that the middle of a net works on.

Source: torchdiffeq, examples/odenet_mnist.py (`--downsampling-method`).
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from nodebench.models.residual import ResidualBlock, group_norm


def conv_stem(width: int) -> nn.Sequential:
    """Three convolutions, two of them strided: 28 -> 26 -> 13 -> 6 pixels a side."""
    return nn.Sequential(
        nn.Conv2d(1, width, 3),
        group_norm(width),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, width, 4, stride=2, padding=1),
        group_norm(width),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, width, 4, stride=2, padding=1),
    )


def res_stem(width: int) -> nn.Sequential:
    """A convolution and two strided residual blocks: 28 -> 26 -> 13 -> 7 pixels a side."""
    return nn.Sequential(
        nn.Conv2d(1, width, 3),
        ResidualBlock(width, stride=2),
        ResidualBlock(width, stride=2),
    )


STEMS: dict[str, Callable[[int], nn.Sequential]] = {"conv": conv_stem, "res": res_stem}


def make_stem(name: str, width: int) -> nn.Sequential:
    """The stem of that name; ValueError if there is none."""
    if name not in STEMS:
        raise ValueError(f"`model.stem` is {name!r}; allowed: {', '.join(STEMS)}")
    return STEMS[name](width)
