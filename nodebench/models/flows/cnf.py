"""The paper's continuous normalizing flow: many planar units at once, their parameters functions of time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from nodebench.models.flows.continuous import ContinuousFlow
from nodebench.ode.settings import SolverSettings

VARIANTS = ("paper", "example")


class PlanarField(nn.Module):
    """dz/dt = sum_n g_n u_n tanh(w_n.z + b_n) and its trace sum_n (g_n u_n).w_n (1 - tanh^2(w_n.z + b_n)).

    The trace is linear in the units, so it costs O(width dim) and no autograd. A hypernetwork of t, two hidden layers
    of `hidden_dim` with tanh, gives all u, w, b and the gates g in (0, 1). Two readings of the paper:

    - `paper`: the sum over units, one gate a unit (section 4, "Multiple hidden units" and "Time-dependent dynamics");
    - `example`: the mean over units, one gate a unit and dimension (torchdiffeq, examples/cnf.py).

    y: (dim + 1, N), as ContinuousFlow has it, or (N, dim + 1) with times (N,) of their own. Chen et al. 2018, section 4
    and appendix A; the paper's equation 10 lacks the minus of the trace's sum, which stands for the log-density and
    not, as here, for the log-determinant.
    """

    def __init__(self, width: int, hidden_dim: int, dim: int, variant: str) -> None:
        super().__init__()
        if width < 1 or hidden_dim < 1:
            raise ValueError(
                f"`model.width` is {width}, `model.hidden_dim` {hidden_dim}; allowed: 1 or above"
            )
        if variant not in VARIANTS:
            raise ValueError(f"`model.variant` is {variant!r}; allowed: {', '.join(VARIANTS)}")
        self.dim = dim
        self.width = width
        self.variant = variant
        self.num_gates = width if variant == "paper" else width * dim
        self.hypernetwork = nn.Sequential(
            nn.Linear(1, hidden_dim),
            nn.Tanh(),
            nn.Linear(hidden_dim, hidden_dim),
            nn.Tanh(),
            nn.Linear(hidden_dim, 2 * width * dim + width + self.num_gates),
        )

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        dy: Tensor = self._own_times(t, y) if t.dim() else self.at_times(t.reshape(1))[0](y)
        return dy

    def _own_times(self, t: Tensor, y: Tensor) -> Tensor:
        """dy/dt (N, dim + 1) of points at times (N,) of their own: each has units of its own too."""
        w, u, b = self.unit_parameters(t)
        h = torch.tanh(torch.baddbmm(b, w, y[:, :-1, None]))
        traces = (u * w.transpose(1, 2)).sum(1)
        trace = (traces * (1 - h * h).squeeze(2)).sum(1, keepdim=True)
        return torch.cat([torch.bmm(u, h).squeeze(2), trace], dim=1)

    def at_times(self, ts: Tensor) -> list[Callable[[Tensor], Tensor]]:
        """The field at each of the times (S,), from one evaluation of the hypernetwork."""
        w, u, b = self.unit_parameters(ts)
        traces = (u * w.transpose(1, 2)).sum(
            1, keepdim=True
        )  # (S, 1, width): the trace of each unit at tanh' = 1
        total = traces.sum(2, keepdim=True)
        parts = (tensor.unbind(0) for tensor in (w, u, b, traces, total))
        return [partial(_planar_units, *stage) for stage in zip(*parts, strict=True)]

    def unit_parameters(self, ts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """w (S, width, dim), u (S, dim, width) with gates and, of the example, 1 / width; b (S, width, 1)."""
        num_times, m, d = len(ts), self.width, self.dim
        flat = self.hypernetwork(ts.unsqueeze(1))
        w, u, b, gates = flat.split([m * d, m * d, m, self.num_gates], dim=1)
        gates = torch.sigmoid(gates).view(num_times, -1, m)  # (S, 1 or dim, width)
        u = u.view(num_times, d, m) * (gates if self.variant == "paper" else gates / m)
        return w.view(num_times, m, d), u, b.unsqueeze(2)


def _planar_units(w: Tensor, u: Tensor, b: Tensor, traces: Tensor, total: Tensor, y: Tensor) -> Tensor:
    """dy/dt (dim + 1, N) of y (dim + 1, N) for the units' parameters at one time."""
    h = torch.tanh(torch.addmm(b, w, y[:-1]))
    trace = torch.addmm(total, traces, h * h, alpha=-1.0)
    return torch.cat([torch.mm(u, h), trace])


class CNF(ContinuousFlow):
    """The paper's CNF with `width` = M planar units, on t in [0, t1].

    Raises ValueError for a width below 1 or an unknown variant.
    """

    def __init__(
        self,
        width: int = 64,
        variant: str = "paper",
        hidden_dim: int = 32,
        t1: float = 1.0,
        base_std: float = 1.0,
        dim: int = 2,
        gradient: str = "direct",
        solver: SolverSettings = SolverSettings(),  # noqa: B008 (frozen)
    ) -> None:
        field = PlanarField(width, hidden_dim, dim, variant)
        super().__init__(field, solver, gradient, t1=t1, dim=dim, base_std=base_std)
