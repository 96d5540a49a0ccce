"""A batch of mixed stiffness: oscillators that need few steps beside some that need a hundred times as many."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import torch
from torch import Tensor, nn

from nodebench.benchmark.bare import bare_contestants
from nodebench.benchmark.comparison import Effort, Setup, compare
from nodebench.benchmark.contestants import State
from nodebench.benchmark.libraries import (
    NODEBENCH,
    OWN_STEPS,
    TORCHDIFFEQ,
    TORCHODE,
    installed,
    make_contestant,
)
from nodebench.benchmark.problems import OWN, Problem, Twin, seeded
from nodebench.benchmark.race import race
from nodebench.benchmark.ratios import COLUMNS as RATIO_COLUMNS
from nodebench.benchmark.ratios import make_ratios
from nodebench.benchmark.report import Report
from nodebench.benchmark.rows import COLUMNS, make_rows, to_markdown
from nodebench.ode import odeint

TOL = 1e-5
LEAST_MU, MOST_MU = 0.1, 100.0
FULL = (256, 10.0, 1.0, Effort(10))
QUICK = (32, 0.5, 0.1, Effort(3))
# The adjoint solves y backwards, where what was attracted to the slow phase is repelled from it.
GRADIENTS = {NODEBENCH: ("direct", "checkpointed"), TORCHDIFFEQ: ("direct",), TORCHODE: ("direct",)}


class MixedVanDerPol(nn.Module):
    """x'' = mu (1 - x^2) x' - x with a mu for each sample; y (B, 3) holds x, x' and log mu, which does not change."""

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        x, v, log_mu = y.unbind(1)
        return torch.stack([v, log_mu.exp() * (1 - x * x) * v - x, torch.zeros_like(x)], dim=1)


def mixed(setup: Setup) -> Report:
    """Dopri5 at 1e-5, forward, and over a shorter time value and gradient."""
    batch_size, t1, gradient_t1, effort = QUICK if setup.quick else FULL
    what = (
        f"{batch_size} Van der Pol oscillators in different phases, with mu from {LEAST_MU:g} to {MOST_MU:g}, evenly "
        f"in its logarithm, which is part of the state; t from 0 to {t1:g}, dopri5 at {TOL:g}: forward alone. "
        "torchdiffeq has published no such field, so there is one comparison."
    )
    report = compare("mixed", what, problem(batch_size, t1, setup.device), None, TOL, effort, setup)
    rows = gradient_rows(problem(batch_size, gradient_t1, setup.device, has_loss=True), effort, setup)
    ratios = make_ratios(rows, TOL)
    page = "\n\n".join(
        [
            report.page.rstrip("\n"),
            work_of_rows(problem(batch_size, t1, setup.device)),
            "## Value and gradient",
            f"The mean of x^2 at t = {gradient_t1:g}, and its gradient in every sample's start and mu.",
            *([to_markdown(ratios, RATIO_COLUMNS)] if len(ratios) else []),
            to_markdown(rows, COLUMNS),
        ]
    )
    return replace(report, page=page + "\n", tables=report.tables | {"gradient": rows})


def work_of_rows(own: Problem) -> str:
    """A sentence: in how many evaluations a sample takes part, of shared steps and of its own."""
    solves = {
        steps: odeint(own.field, own.y0, own.ts, rtol=TOL, atol=TOL, gradient="direct", steps=steps)
        for steps in ("shared", "per_sample")
    }
    samples = solves["per_sample"].stats.forward.samples
    assert samples is not None, "samples with own steps are counted one by one"
    nfe = samples.nfe.double()
    return (
        f"A sample's own steps take {nfe.mean():.0f} evaluations in the mean, {nfe.median():.0f} in the median and "
        f"{nfe.max():.0f} at worst; shared ones take {solves['shared'].stats.forward.nfe} for each."
    )


def gradient_rows(own: Problem, effort: Effort, setup: Setup) -> pd.DataFrame:
    """A row for every library and mode of the gradient of the discrete solve, by shared steps and by own ones."""
    contestants = bare_contestants(own)
    for library in installed(*GRADIENTS):
        modes = GRADIENTS[library]
        own_steps = () if library is TORCHDIFFEQ else tuple(f"{mode}{OWN_STEPS}" for mode in modes)
        contestants += [make_contestant(library, own, mode, TOL) for mode in (*modes, *own_steps)]
    return make_rows(race(contestants, effort.num_rounds, setup.tells("mixed, gradient")), [own])


def problem(batch_size: int, t1: float, device: torch.device, has_loss: bool = False) -> Problem:
    """Starts drawn evenly from [-2, 2] x [-2, 2], and mu evenly in its logarithm."""
    with seeded():
        starts = 4 * torch.rand(batch_size, 2) - 2
        shares = torch.rand(batch_size, 1)
    log_mu = math.log(LEAST_MU) + shares * math.log(MOST_MU / LEAST_MU)
    y0 = torch.cat([starts, log_mu], dim=1).to(device).requires_grad_(has_loss)
    return Problem(MixedVanDerPol(), OWN, y0, (0.0, t1), _mean_square if has_loss else None, twin=_twin)


def _mean_square(ys: State) -> Tensor:
    assert isinstance(ys, Tensor), "this problem's state is one tensor"
    return ys[-1, :, 0].square().mean()


def _twin() -> Twin:
    from nodebench.benchmark import twins

    return twins.mixed_van_der_pol()
