"""The ODE block of the MNIST net: value and gradient of a convolutional field on a 64x6x6 state."""

from __future__ import annotations

import torch

from nodebench.benchmark.comparison import Effort, Setup, compare
from nodebench.benchmark.contestants import State
from nodebench.benchmark.problems import OWN, PUBLISHED_BY, Problem, last, seeded
from nodebench.benchmark.published import ConcatConvField
from nodebench.benchmark.report import Report
from nodebench.models import ConvVectorField

TOL = 1e-3
FULL = (128, Effort(9, (1e-1, 1e-2, 1e-4), 2, (3e-2, 3e-3, 3e-4, 3e-5, 1e-5)))
QUICK = (4, Effort(2, (1e-2,)))


def odenet(setup: Setup) -> Report:
    """Dopri5 at 1e-3 on t from 0 to 1, with other tolerances for the curve of gradient error against time."""
    batch_size, effort = QUICK if setup.quick else FULL
    own, published = problems(64, batch_size, setup.device, 1e-5 if setup.quick else 1e-8)
    what = (
        f"The ODE block of the MNIST net at its random start, state ({batch_size}, 64, 6, 6), dopri5 at {TOL:g}: "
        "value, and gradient in state and parameters."
    )
    return compare("odenet", what, own, published, TOL, effort, setup)


def problems(
    channels: int, batch_size: int, device: torch.device, reference_tol: float
) -> tuple[Problem, Problem]:
    """Our field and that of examples/odenet_mnist.py with the same weights; the loss is a random linear one."""
    with seeded():
        field = ConvVectorField(channels)
        published = ConcatConvField(field).to(device)
        y0 = torch.randn(batch_size, channels, 6, 6).to(device).requires_grad_()
        weights = torch.randn(y0.shape).to(device)

    def loss(ys: State) -> torch.Tensor:
        y1 = last(ys)
        assert isinstance(y1, torch.Tensor), "this problem's state is one tensor"
        return (weights * y1).sum()

    # relu is not smooth, so a method of high order has nothing to gain
    reference = ("dopri5", reference_tol, "checkpointed")
    return (
        Problem(field.to(device), OWN, y0, (0.0, 1.0), loss, *reference),
        Problem(published, PUBLISHED_BY, y0, (0.0, 1.0), loss, *reference),
    )
