"""A small perceptron as a field over a long time: what a solver's own work costs a step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nodebench.benchmark.comparison import Effort, Setup, compare
from nodebench.benchmark.problems import OWN, Problem, Twin, seeded
from nodebench.benchmark.report import Report

TOL = 1e-6
FULL = (64, 100.0, Effort(10))
QUICK = (64, 10.0, Effort(3))
# Of those tried, weights whose solution goes round a cycle and does not come to rest.
WEIGHT_SCALE = 4.5
SEED = 3


class MLPField(nn.Module):
    """dy/dt = W2 tanh(W1 y + b1) + b2 - y with 32 hidden units; y (B, 4). Without the last term it would run away."""

    def __init__(self) -> None:
        super().__init__()
        inner, outer = nn.Linear(4, 32), nn.Linear(32, 4)
        with torch.no_grad():
            inner.weight.mul_(WEIGHT_SCALE)
            outer.weight.mul_(WEIGHT_SCALE)
        self.layers = nn.Sequential(inner, nn.Tanh(), outer)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        dy: Tensor = self.layers(y) - y
        return dy


def mlp(setup: Setup) -> Report:
    """Dopri5 at 1e-6, forward."""
    batch_size, t1, effort = QUICK if setup.quick else FULL
    what = (
        f"A 4-32-4 perceptron as a field, batch {batch_size}, t from 0 to {t1:g}, dopri5 at {TOL:g}: forward alone. "
        "torchdiffeq has published no such field, so there is one comparison."
    )
    return compare("mlp", what, problem(batch_size, t1, setup.device), None, TOL, effort, setup)


def problem(batch_size: int, t1: float, device: torch.device) -> Problem:
    """Weights larger than torch draws them, and starts that are normal."""
    with seeded(SEED):
        field = MLPField().to(device)
        y0 = torch.randn(batch_size, 4).to(device)
    return Problem(field, OWN, y0, (0.0, t1), twin=_twin)


def _twin() -> Twin:
    from nodebench.benchmark import twins

    return twins.perceptron()
