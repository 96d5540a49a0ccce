"""The continuous normalizing flow of torchdiffeq's example: a training step on two circles."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nodebench.benchmark.comparison import Effort, Setup, compare
from nodebench.benchmark.contestants import State
from nodebench.benchmark.problems import OWN, PUBLISHED_BY, Problem, Twin, last, seeded
from nodebench.benchmark.published import AutogradTraceField
from nodebench.benchmark.report import Report
from nodebench.data.toy_densities import two_circles
from nodebench.models.flows import CNF, PlanarField

TOL = 1e-5
FULL = (512, Effort(15, (1e-3, 1e-4, 1e-6), num_curve_rounds=5))
QUICK = (64, Effort(3, (1e-3,)))


def cnf(setup: Setup) -> Report:
    """Dopri5 at 1e-5 on t from 10 to 0, with other tolerances for the curve of gradient error against time."""
    num_samples, effort = QUICK if setup.quick else FULL
    own, published = problems(64, num_samples, setup.device)
    what = (
        f"A training step of the CNF of torchdiffeq's example, width 64, {num_samples} samples of two circles, t from "
        f"10 to 0, dopri5 at {TOL:g}: the mean negative log-likelihood, and its gradient in the parameters. The same "
        "field has its trace in closed form; the published one takes it by autograd."
    )
    return compare("cnf", what, own, published, TOL, effort, setup)


def problems(width: int, num_samples: int, device: torch.device) -> tuple[Problem, Problem]:
    """Our field on the packed state (3, N), and that of examples/cnf.py on (z, log p), with the same weights.

    They differ in the sign of the last entry: ours carries the integral of the trace, theirs of its negative.
    """
    with seeded():
        flow = CNF(width=width, variant="example", t1=10.0, base_std=math.sqrt(0.1))
    field = flow.ode_block.vector_field
    assert isinstance(field, PlanarField), "the CNF's field"
    published = AutogradTraceField(field).to(device)
    points = two_circles().draw("train", num_samples, torch.Generator().manual_seed(0)).to(device)
    nothing = points.new_zeros(num_samples, 1)

    def loss(ys: State) -> Tensor:
        y1 = last(ys)
        assert isinstance(y1, Tensor), "this problem's state is one tensor"
        return -(flow.base_log_prob(y1[:2].t()) + y1[2]).mean()

    def published_loss(ys: State) -> Tensor:
        z0, log_p = last(ys)
        return -(flow.base_log_prob(z0) - log_p.view(-1)).mean()

    def twin() -> Twin:
        from nodebench.benchmark import twins

        return twins.planar_flow(field.width, field.dim, flow.base_std)

    packed = torch.cat([points, nothing], dim=1).t().contiguous()
    return (
        Problem(field.to(device), OWN, packed, (10.0, 0.0), loss, twin=twin),
        Problem(published, PUBLISHED_BY, (points, nothing), (10.0, 0.0), published_loss),
    )
