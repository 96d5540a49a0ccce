"""A batch of Van der Pol oscillators: a field of almost no cost, and many small steps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nodebench.benchmark.comparison import Effort, Setup, compare
from nodebench.benchmark.problems import OWN, Problem, Twin, seeded
from nodebench.benchmark.report import Report

TOL = 1e-5
MU = 10.0
FULL = (256, 10.0, Effort(10))
QUICK = (32, 2.0, Effort(3))


class VanDerPol(nn.Module):
    """x'' = mu (1 - x^2) x' - x as a system; y (B, 2) holds x and x'."""

    def __init__(self, mu: float) -> None:
        super().__init__()
        self.mu = mu

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        x, v = y.unbind(1)
        return torch.stack([v, self.mu * (1 - x * x) * v - x], dim=1)


def vdp(setup: Setup) -> Report:
    """Dopri5 at 1e-5, forward; the batch has one step size, so its steps are those of the fastest phase in it."""
    batch_size, t1, effort = QUICK if setup.quick else FULL
    what = (
        f"{batch_size} Van der Pol oscillators with mu = 10 in different phases, t from 0 to {t1:g}, dopri5 at "
        f"{TOL:g}: forward alone. torchdiffeq has published no such field, so there is one comparison."
    )
    return compare("vdp", what, problem(batch_size, t1, setup.device), None, TOL, effort, setup)


def problem(batch_size: int, t1: float, device: torch.device) -> Problem:
    """Starts drawn evenly from [-2, 2] x [-2, 2]."""
    with seeded():
        y0 = (4 * torch.rand(batch_size, 2) - 2).to(device)
    return Problem(VanDerPol(MU), OWN, y0, (0.0, t1), twin=_twin)


def _twin() -> Twin:
    from nodebench.benchmark import twins

    return twins.van_der_pol(MU)
