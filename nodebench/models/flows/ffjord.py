"""FFJORD: a continuous flow whose field is a network of its own, with the divergence exact or estimated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from nodebench.models.flows.continuous import ContinuousFlow
from nodebench.ode.settings import SolverSettings
from nodebench.ranks import drawn

DIVERGENCES = ("exact", "hutchinson")
NOISES = ("rademacher", "gaussian")

Scales = tuple[tuple[Tensor, Tensor], ...]  # (gate, shift), each (out, 1), of every layer at one time


class ConcatSquash(nn.Module):
    """(W x + b) sigma(gate(t)) + shift(t): a linear layer that time scales and shifts (FFJORD's `concatsquash`)."""

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_dim, out_dim)
        self.gate = nn.Linear(1, out_dim)
        self.shift = nn.Linear(1, out_dim, bias=False)

    def at_times(self, ts: Tensor) -> tuple[Tensor, Tensor]:
        """Gates and shifts, both (S, out, 1), at times (S,). The linear layer's own bias is in the shift."""
        times = ts.unsqueeze(1)
        gates = torch.sigmoid(self.gate(times))
        return gates.unsqueeze(2), (self.linear.bias * gates + self.shift(times)).unsqueeze(2)


class ConcatSquashField(nn.Module):
    """dz/dt by concatsquash layers with tanh between them, and its divergence by tangents carried along.

    Tangents are what forward-mode differentiation carries: J e for the unit vectors e (exact, O(dim) evaluations), or
    for one noise vector e with E[e e^T] = I (Hutchinson: e^T J e estimates tr J without bias, Grathwohl et al. 2019,
    arXiv 1810.01367, section 3.1). So no autograd is needed to evaluate the field, and any gradient mode applies.

    y: (dim + 1, N), as ContinuousFlow has it; noise: (dim, N), None for the exact divergence. With times (N,) of their
    own both are transposed.
    """

    def __init__(self, dim: int, hidden_dims: Sequence[int]) -> None:
        super().__init__()
        if not hidden_dims or any(width < 1 for width in hidden_dims):
            raise ValueError(
                f"`model.hidden_dims` is {list(hidden_dims)}; allowed: one width or more, each 1 or above"
            )
        dims = [dim, *hidden_dims, dim]
        self.dim = dim
        self.layers = nn.ModuleList(ConcatSquash(a, b) for a, b in pairwise(dims))

    def forward(self, t: Tensor, y: Tensor, noise: Tensor | None = None) -> Tensor:
        if t.dim():
            return self._own_times(t, y, noise)
        dy: Tensor = self.at_times(t.reshape(1))[0](y, noise)
        return dy

    def _own_times(self, t: Tensor, y: Tensor, noise: Tensor | None) -> Tensor:
        """dy/dt (N, dim + 1) of points at times (N,) of their own; tangents are (N, width, number)."""
        x, last = y[:, :-1], len(self.layers) - 1
        eye = torch.eye(self.dim, dtype=y.dtype, device=y.device)
        tangents = eye.expand(len(y), -1, -1) if noise is None else noise.unsqueeze(2)
        for i, layer in enumerate(self._layers()):
            gate, shift = layer.at_times(t)
            x = (x @ layer.linear.weight.T) * gate.squeeze(2) + shift.squeeze(2)
            tangents = (layer.linear.weight @ tangents) * gate
            if i < last:
                x = torch.tanh(x)
                tangents = tangents * (1 - x * x).unsqueeze(2)
        along = tangents.diagonal(dim1=1, dim2=2) if noise is None else noise * tangents.squeeze(2)
        return torch.cat([x, along.sum(1, keepdim=True)], dim=1)

    def at_times(self, ts: Tensor) -> list[Callable[..., Tensor]]:
        """The field at each of the times (S,): gates and shifts of all of them at once."""
        per_layer = [layer.at_times(ts) for layer in self._layers()]
        by_time = zip(
            *(zip(*(scale.unbind(0) for scale in layer), strict=True) for layer in per_layer), strict=True
        )
        return [partial(self._evaluate, scales) for scales in by_time]

    def _evaluate(self, scales: Scales, y: Tensor, noise: Tensor | None = None) -> Tensor:
        z = y[: self.dim]
        x, tangents = z, _unit_tangents(z) if noise is None else noise.unsqueeze(1)
        last = len(scales) - 1
        for i, (layer, (gate, shift)) in enumerate(zip(self._layers(), scales, strict=True)):
            weight = gate * layer.linear.weight
            x = torch.addmm(shift, weight, x)
            tangents = torch.mm(weight, tangents.flatten(1)).view(len(weight), *tangents.shape[1:])
            if i < last:
                x = torch.tanh(x)
                tangents = tangents * (1 - x * x).unsqueeze(1)
        if noise is None:
            divergence = tangents.diagonal(dim1=0, dim2=1).sum(-1)  # (N, dim) -> (N,)
        else:
            divergence = (noise * tangents.squeeze(1)).sum(0)
        return torch.cat([x, divergence.unsqueeze(0)])

    def _layers(self) -> list[ConcatSquash]:
        return list(self.layers)  # type: ignore[arg-type]


def _unit_tangents(z: Tensor) -> Tensor:
    """The unit vectors as tangents at every point: (dim, dim, N), [:, i, n] = e_i."""
    dim, num_points = z.shape
    eye = torch.eye(dim, dtype=z.dtype, device=z.device)
    return eye.unsqueeze(2).expand(dim, dim, num_points)


class FFJORD(ContinuousFlow):
    """A continuous flow with a concatsquash network as its field.

    `divergence` hutchinson holds while training, with one noise vector a point and a solve (the estimate must be of
    one field); in evaluation mode the divergence is exact. Raises ValueError for an unknown divergence or noise.
    """

    def __init__(
        self,
        hidden_dims: Sequence[int] = (64, 64, 64),
        divergence: str = "exact",
        noise: str = "rademacher",
        t1: float = 1.0,
        base_std: float = 1.0,
        dim: int = 2,
        gradient: str = "direct",
        solver: SolverSettings = SolverSettings(),  # noqa: B008 (frozen)
    ) -> None:
        for name, value, allowed in (("divergence", divergence, DIVERGENCES), ("noise", noise, NOISES)):
            if value not in allowed:
                raise ValueError(f"`model.{name}` is {value!r}; allowed: {', '.join(allowed)}")
        field = ConcatSquashField(dim, hidden_dims)
        super().__init__(field, solver, gradient, t1=t1, dim=dim, base_std=base_std)
        self.divergence = divergence
        self.noise = noise

    def field_args(self, like: Tensor) -> tuple[Any, ...]:
        if self.divergence == "exact" or not self.training:
            return ()

        # On the CPU, as the base is drawn: the same noise on every device.
        def draw(num_points: int) -> Tensor:
            if self.noise == "gaussian":
                return torch.randn(len(like), num_points, dtype=like.dtype)
            return torch.randint(2, (len(like), num_points), dtype=torch.int8).to(like.dtype) * 2 - 1

        return (drawn(draw, like.shape[1], dim=1).to(like.device),)
