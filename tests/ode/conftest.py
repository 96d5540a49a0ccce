"""Problems with closed forms, and a field that remembers where it was evaluated."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nodebench.ode.drive.controllers import Controller

DTYPE = torch.float64


@dataclass(frozen=True)
class ClosedForm:
    """A vector field and its solution as a function of time."""

    f: Callable[[Tensor, Tensor], Tensor]
    solution: Callable[[float], Tensor]
    t0: float
    t1: float

    @property
    def y0(self) -> Tensor:
        return self.solution(self.t0)

    def reflected(self) -> ClosedForm:
        """The problem with time running backwards: the same states are met at -t."""
        return ClosedForm(lambda t, y: -self.f(-t, y), lambda t: self.solution(-t), -self.t0, -self.t1)


@pytest.fixture
def coupled() -> ClosedForm:
    """Non-autonomous, non-linear, three coupled components, a Jacobian that is not symmetric.

    y1 = exp(sin s), y2 = exp(cos s), y3 = sin s with s = t + t^2 / 10; no method of order 8 or less is exact on it.
    """

    def f(t: Tensor, y: Tensor) -> Tensor:
        y1, y2, y3 = y
        s, ds = t + t * t / 10, 1 + t / 5
        product = torch.exp(torch.sin(s) + torch.cos(s))  # y1 y2 along the solution
        dy3 = ds * torch.cos(s) + 0.3 * (y1 * y2 - product) + 0.5 * (y3 - torch.sin(s))
        return torch.stack([ds * y1 * torch.log(y2), -ds * y2 * torch.log(y1), dy3])

    def solution(t: float) -> Tensor:
        s = t + t * t / 10
        return torch.tensor([math.exp(math.sin(s)), math.exp(math.cos(s)), math.sin(s)], dtype=DTYPE)

    return ClosedForm(f, solution, 0.0, 1.0)


@dataclass
class Recorder:
    """A vector field that keeps the times and states it was called at."""

    f: Callable[..., Any]
    times: list[float] = field(default_factory=list)
    states: list[Tensor] = field(default_factory=list)

    def __call__(self, t: Tensor, y: Tensor, *args: Any) -> Any:
        self.times.append(t.item())
        self.states.append(y.detach().clone())
        return self.f(t, y, *args)


@pytest.fixture
def record() -> type[Recorder]:
    """Wraps a field so that it remembers its calls."""
    return Recorder


class Growth(nn.Module):
    """dy/dt = theta y: y(t) = y0 exp(theta (t - t0))."""

    def __init__(self, theta: float = 0.7) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(theta, dtype=DTYPE))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.theta * y


@pytest.fixture
def growth() -> Callable[..., Growth]:
    """Makes a module dy/dt = theta y."""
    return Growth


class TimeNet(nn.Module):
    """dy/dt = W2 tanh(W1 y + b1 + t v) + c sin y: small, smooth, non-autonomous."""

    def __init__(self, dim: int = 3, hidden: int = 5, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape, generator=generator, dtype=DTYPE) / math.sqrt(shape[-1]))

        self.w1, self.b1, self.v, self.w2 = draw(hidden, dim), draw(hidden), draw(hidden), draw(dim, hidden)

    def forward(self, t: Tensor, y: Tensor, c: Tensor | float = 0.5) -> Tensor:
        return torch.tanh(y @ self.w1.T + self.b1 + t * self.v) @ self.w2.T + c * torch.sin(y)


@pytest.fixture
def time_net() -> Callable[..., TimeNet]:
    """Makes a small smooth net of (t, y), the same for the same seed."""
    return TimeNet


class ScriptedController(Controller):
    """Hands out step factors from a list, whatever the errors were."""

    def __init__(self, factors: list[float]) -> None:
        self.factors = iter(factors)

    def factor(self, error_ratio: float, order: int, history: Any) -> float:
        return next(self.factors)


@pytest.fixture
def scripted() -> type[ScriptedController]:
    """Makes a controller that plays a list of factors."""
    return ScriptedController
