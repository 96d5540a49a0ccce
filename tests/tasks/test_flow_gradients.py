"""The gradient of both tasks' losses is the same however it is computed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nodebench.data.energies import u1
from nodebench.data.toy_densities import eight_gaussians
from nodebench.models.flows import CNF, FFJORD, ContinuousFlow
from nodebench.ode.settings import SolverSettings
from nodebench.tasks.density import Density
from nodebench.tasks.density_matching import DensityMatching

MAKERS: dict[str, Callable[..., ContinuousFlow]] = {
    "cnf_paper": lambda **settings: CNF(width=4, hidden_dim=8, **settings),
    "cnf_example": lambda **settings: CNF(width=4, variant="example", hidden_dim=8, **settings),
    "ffjord_exact": lambda **settings: FFJORD(hidden_dims=(8, 8), **settings),
    "ffjord_rademacher": lambda **settings: FFJORD(hidden_dims=(8, 8), divergence="hutchinson", **settings),
    "ffjord_gaussian": lambda **settings: FFJORD(
        hidden_dims=(8, 8), divergence="hutchinson", noise="gaussian", **settings
    ),
}


def matching_loss(flow: ContinuousFlow) -> Tensor:
    task = DensityMatching(u1(batch_size=8), seed=0, device="cpu")
    batch = task.batch(0)
    return task.loss(flow, batch._replace(noise=batch.noise.double())).loss


def likelihood_loss(flow: ContinuousFlow) -> Tensor:
    task = Density(eight_gaussians(batch_size=8), seed=0, device="cpu")
    return task.loss(flow, task.batch(0).double()).loss


def gradient_of(
    loss: Callable[[ContinuousFlow], Tensor], name: str, gradient: str, solver: SolverSettings
) -> Tensor:
    """The gradient with respect to all parameters, flat, with the same weights and noise every time."""
    torch.manual_seed(0)
    flow = MAKERS[name](gradient=gradient, solver=solver).double().train()
    torch.manual_seed(1)
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss(flow), list(flow.parameters()))])


@pytest.mark.parametrize("loss", [matching_loss, likelihood_loss])
@pytest.mark.parametrize("name", MAKERS)
def test_adjoint_checkpointed_and_direct_give_the_same_training_gradient(
    name: str, loss: Callable[[ContinuousFlow], Tensor]
) -> None:
    tight, loose = (SolverSettings(rtol=tol, atol=tol) for tol in (1e-9, 1e-3))
    direct = gradient_of(loss, name, "direct", tight)
    assert float(direct.norm()) > 0.01
    adjoint = gradient_of(loss, name, "adjoint", tight)
    assert float((adjoint - direct).norm() / direct.norm()) < 1e-6
    # The checkpointed gradient is the direct one of the same steps, whatever the tolerance.
    checkpointed = gradient_of(loss, name, "checkpointed", loose)
    direct = gradient_of(loss, name, "direct", loose)
    assert float((checkpointed - direct).norm() / direct.norm()) < 1e-12
