"""Group normalisation and the pre-activation residual block (He et al. 2016b, arXiv 1603.05027).

Group normalisation makes a net's output for one image independent of the other images of the batch. Initial values
are torch's defaults throughout. Source: torchdiffeq, examples/odenet_mnist.py, the reference for Table 1.
"""

from __future__ import annotations

from torch import Tensor, nn


def group_norm(channels: int) -> nn.GroupNorm:
    """Group normalisation with 32 groups, or one group a channel where there are fewer."""
    return nn.GroupNorm(min(32, channels), channels)


class ResidualBlock(nn.Module):
    """x + conv(relu(norm(conv(relu(norm(x)))))), 3x3 convolutions without bias; x and result (B, C, H, W).

    With a stride the first convolution takes it, and the shortcut is a strided 1x1 convolution of relu(norm(x)), not
    of x: the result is (B, C, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(self, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.norm1 = group_norm(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, stride=stride, padding=1, bias=False)
        self.norm2 = group_norm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Conv2d(channels, channels, 1, stride=stride, bias=False) if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        activated = self.relu(self.norm1(x))
        shortcut = x if self.shortcut is None else self.shortcut(activated)
        residual: Tensor = self.conv2(self.relu(self.norm2(self.conv1(activated))))
        return residual + shortcut
