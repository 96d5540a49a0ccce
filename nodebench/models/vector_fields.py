"""Vector fields: modules called as f(t, y) that return dy/dt, of y's shape.

They count nothing and store nothing; the solver counts its calls. t is 0-d, or (B,) where samples have steps of their
own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nodebench.models.residual import group_norm


class TimeConv2d(nn.Module):
    """A 3x3 convolution, padding 1, of x: (B, C, H, W) with the time t, 0-d or (B,), as one more, constant channel.

    conv([t, x]) = conv(x; weight) + conv([t]; time_weight, bias)

    The second term is one map (1, C_out, H, W) for the whole batch, or one for each of (B,) times, so time costs no
    wider convolution and no copy of x. It is no constant: zeros are padded around t, so its border differs. The
    parameters are those of nn.Conv2d(C + 1, C_out, 3), whose weight is cat([time_weight, weight], dim=1), drawn as
    that module draws them; weight is held apart because a slice of the joint weight would be copied at every
    evaluation.

    In an autocast region the first term alone is of lower precision: bfloat16 knows no time between 0.5 and 0.504.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        joint = nn.Conv2d(in_channels + 1, out_channels, 3)
        time_weight, weight = joint.weight.detach().split([1, in_channels], dim=1)
        self.weight = nn.Parameter(weight.clone(memory_format=torch.contiguous_format))
        self.time_weight = nn.Parameter(time_weight.clone(memory_format=torch.contiguous_format))
        self.bias = joint.bias

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        product = F.conv2d(x, self.weight, padding=1)
        if not torch.is_autocast_enabled(x.device.type):
            return product.add_(self.time_term(t, x))
        with torch.autocast(x.device.type, enabled=False):
            return product + self.time_term(t, x)

    def time_term(self, t: Tensor, x: Tensor) -> Tensor:
        """conv([t]; time_weight, bias) on a map of x's height and width: (1, C_out, H, W), or (B, C_out, H, W)."""
        height, width = x.shape[-2:]
        times = t if t.dim() == 0 else t.view(-1, 1, 1, 1)
        return F.conv2d(times.expand(t.numel(), 1, height, width), self.time_weight, self.bias, padding=1)


class ConvVectorField(nn.Module):
    """f of the MNIST ODE-Net: norm, relu, conv with time, norm, relu, conv with time, norm.

    The last operation is a normalisation, so its affine weight sets the scale of f. y: (B, channels, H, W).
    Source: torchdiffeq, examples/odenet_mnist.py (`ODEfunc`).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = group_norm(channels)
        self.conv1 = TimeConv2d(channels, channels)
        self.norm2 = group_norm(channels)
        self.conv2 = TimeConv2d(channels, channels)
        self.norm3 = group_norm(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        hidden = self.conv1(t, self.relu(self.norm1(y)))
        dy: Tensor = self.norm3(self.conv2(t, self.relu(self.norm2(hidden))))
        return dy
