"""The vector fields of torchdiffeq's examples, and an encoder, written anew from what they compute, with our weights.

They compute what ours compute, in the way that their users run: a time channel concatenated to the image, a trace by
autograd, a recurrent net cell by cell. Source: torchdiffeq, examples/odenet_mnist.py, cnf.py and latent_ode.py.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from nodebench.data.trajectories import Readings
from nodebench.models import ConvVectorField, TimeConv2d
from nodebench.models.flows import PlanarField
from nodebench.models.residual import group_norm
from nodebench.models.sequences.encoders import RecurrentEncoder, backwards


class ConcatConv2d(nn.Module):
    """A 3x3 convolution, padding 1, of x: (B, C, H, W) with the time as one more channel in front."""

    def __init__(self, like: TimeConv2d) -> None:
        super().__init__()
        out_channels, in_channels = like.weight.shape[:2]
        self.conv = nn.Conv2d(in_channels + 1, out_channels, 3, padding=1)
        with torch.no_grad():
            self.conv.weight.copy_(torch.cat([like.time_weight, like.weight], dim=1))
            if self.conv.bias is not None and like.bias is not None:
                self.conv.bias.copy_(like.bias)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        time_channel = torch.ones_like(x[:, :1]) * t
        convolved: Tensor = self.conv(torch.cat([time_channel, x], dim=1))
        return convolved


class ConcatConvField(nn.Module):
    """f of examples/odenet_mnist.py; y (B, channels, H, W)."""

    def __init__(self, like: ConvVectorField) -> None:
        super().__init__()
        channels = like.norm1.num_channels
        self.norm1, self.norm2, self.norm3 = (group_norm(channels) for _ in range(3))
        self.conv1, self.conv2 = ConcatConv2d(like.conv1), ConcatConv2d(like.conv2)
        self.relu = nn.ReLU(inplace=True)
        for name in ("norm1", "norm2", "norm3"):
            getattr(self, name).load_state_dict(getattr(like, name).state_dict())

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        hidden = self.conv1(t, self.relu(self.norm1(y)))
        dy: Tensor = self.norm3(self.conv2(t, self.relu(self.norm2(hidden))))
        return dy


class AutogradTraceField(nn.Module):
    """f of examples/cnf.py: (dz/dt, d log p/dt) of the state (z (N, dim), log p (N, 1)), the trace by autograd.

    `like` is a PlanarField of variant `example`; its hypernetwork lays the units' parameters out in another order.
    """

    def __init__(self, like: PlanarField) -> None:
        super().__init__()
        self.width, self.dim = like.width, like.dim
        self.hypernetwork = copy.deepcopy(like.hypernetwork)
        block, units = self.width * self.dim, torch.arange(self.width * self.dim)
        by_unit = units.view(self.dim, self.width).t().reshape(-1)  # ours: dimension by dimension
        w, u, gates = units, block + by_unit, 2 * block + self.width + by_unit
        b = 2 * block + torch.arange(self.width)
        order = torch.cat([w, u, gates, b])
        last = self.hypernetwork[-1]
        assert isinstance(last, nn.Linear), "the layer that makes the units' parameters"
        with torch.no_grad():
            last.weight.copy_(last.weight[order])
            last.bias.copy_(last.bias[order])

    def forward(self, t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        z = state[0]
        with torch.enable_grad():
            z = z if z.requires_grad else z.detach().requires_grad_()
            w, u, b = self._unit_parameters(t)
            h = torch.tanh(torch.matmul(z.unsqueeze(0).repeat(self.width, 1, 1), w) + b)
            dz = torch.matmul(h, u).mean(0)
            trace = z.new_zeros(len(z))
            for i in range(self.dim):
                (row,) = torch.autograd.grad(dz[:, i].sum(), z, create_graph=True)
                trace = trace + row.contiguous()[:, i]
        return dz, -trace.view(-1, 1)

    def _unit_parameters(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """w (width, dim, 1), u with its gates (width, 1, dim), b (width, 1, 1) at the time t: 0-d."""
        block = self.width * self.dim
        w, u, gates, b = self.hypernetwork(t.reshape(1, 1)).view(-1).split([block, block, block, self.width])
        gated = u.view(-1, 1, self.dim) * torch.sigmoid(gates.view(-1, 1, self.dim))
        return w.view(-1, self.dim, 1), gated, b.view(-1, 1, 1)


class RecognitionRNN(nn.Module):
    """The encoder of examples/latent_ode.py, which reads the gaps between observations here, as ours does.

    `like` is a tanh RNN; `head` makes the posterior of a hidden state, and does so after every reading, as there.
    """

    def __init__(self, like: RecurrentEncoder, head: nn.Linear) -> None:
        super().__init__()
        cell = like.recurrence.cell
        assert isinstance(cell, nn.RNN), "the example's encoder is a tanh RNN"
        from_inputs, from_hidden = (cell.get_parameter(f"weight_{name}_l0") for name in ("ih", "hh"))
        self.i2h = nn.Linear(from_inputs.shape[1] - 1 + len(from_hidden), len(from_hidden))
        with torch.no_grad():
            self.i2h.weight.copy_(torch.cat([from_inputs[:, :-1], from_hidden], dim=1))
            self.i2h.bias.copy_(from_inputs[:, -1])  # of the constant 1 that ours reads
        self.h2o = head

    def forward(self, readings: Readings, t0: float) -> Tensor:
        """The last hidden state of series that are all read as often, (N, hidden_dim)."""
        read = backwards(readings, t0)
        h = read.values.new_zeros(len(read.values), self.i2h.out_features)
        for values, gaps in zip(read.values.unbind(1), read.gaps.unbind(1), strict=True):
            h = torch.tanh(self.i2h(torch.cat([values, gaps[:, None], h], dim=1)))
            self.h2o(h)
        return h
