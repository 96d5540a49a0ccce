"""Vector fields that the tests of several files solve, and what they ask of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

DTYPE = torch.float64


def leaf(*values: float) -> Tensor:
    """A vector that requires grad."""
    return torch.tensor(values, dtype=DTYPE, requires_grad=True)


def decay(t: Tensor, y: Tensor) -> Tensor:
    return -y


class Tanh(nn.Module):
    """tanh(W y + b t) (1 + sin(frequency t)) - 0.3 y: not linear, not autonomous, its Jacobian not symmetric."""

    def __init__(self, size: int = 3, dtype: torch.dtype = DTYPE, frequency: float = 3) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(size, size, generator=generator, dtype=dtype))
        self.bias = nn.Parameter(torch.randn(size, generator=generator, dtype=dtype))
        self.frequency = frequency

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(y @ self.weight.T + self.bias * t) * (1 + torch.sin(self.frequency * t)) - 0.3 * y


class Swing(nn.Module):
    """A driven swing: two components, non-autonomous; keeps the times it was called at."""

    def __init__(self) -> None:
        super().__init__()
        self.stiffness = nn.Parameter(torch.tensor([4.0, 0.1], dtype=DTYPE))
        self.times: list[float] = []

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        self.times.append(t.item())
        x, v = y
        return torch.stack([v, -self.stiffness[0] * torch.sin(x) - self.stiffness[1] * v + torch.cos(3 * t)])


class ListeningSwing(Swing):
    """Keeps (t, dt) and state of every step that compat's callbacks tell of; with `_adjoint`, of the backward solve."""

    def __init__(self, suffix: str = "") -> None:
        super().__init__()
        self.states: list[Any] = []
        self.tried, self.accepted, self.rejected = (
            self._heard(f"callback_{kind}{suffix}") for kind in ("step", "accept_step", "reject_step")
        )

    def _heard(self, callback: str) -> list[tuple[float, float]]:
        steps: list[tuple[float, float]] = []

        def keep(t: Tensor, y: Any, dt: Tensor) -> None:
            steps.append((t.item(), dt.item()))
            self.states.append(y)

        setattr(self, callback, keep)
        return steps


class Driven(nn.Module):
    """y' = A y + b sin 2t, A not symmetric; exact(t) in closed form, as (y, sin 2t, cos 2t) obeys a linear system."""

    def __init__(self) -> None:
        super().__init__()
        self.A = nn.Parameter(torch.tensor([[-0.5, 2.0], [-1.0, 0.1]], dtype=DTYPE))
        self.b = nn.Parameter(torch.tensor([1.0, -0.3], dtype=DTYPE))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return y @ self.A.T + self.b * torch.sin(2 * t)

    def exact(self, y0: Tensor, ts: Tensor) -> Tensor:
        wave = torch.stack([torch.sin(2 * ts[0]), torch.cos(2 * ts[0])])
        drive = torch.stack([self.b, torch.zeros_like(self.b)], dim=1)
        rotation = torch.tensor([[0.0, 2.0], [-2.0, 0.0]], dtype=DTYPE)
        zeros = torch.zeros(2, 2, dtype=DTYPE)
        system = torch.cat([torch.cat([self.A, drive], 1), torch.cat([zeros, rotation], 1)])
        start = torch.cat([y0, wave])
        return torch.stack([(torch.linalg.matrix_exp(system * (t - ts[0])) @ start)[:2] for t in ts])


def outputs_and_gradients(
    field: nn.Module, solve: Callable[[Tensor, Tensor], Tensor], y0: Tensor, ts: list[float]
) -> list[Tensor]:
    """ys and the gradients of a loss over all of them, to y0, ts and the parameters."""
    y0, times = y0.clone().requires_grad_(), torch.tensor(ts, dtype=DTYPE, requires_grad=True)
    ys = solve(y0, times)
    weights = torch.arange(1.0, 1.0 + ys.numel(), dtype=ys.dtype).view_as(ys)
    gradients = torch.autograd.grad((weights * ys**2).sum(), [y0, times, *field.parameters()])
    return [ys.detach(), *gradients]
