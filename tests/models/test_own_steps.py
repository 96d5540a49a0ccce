"""Nets whose samples have a step size each: the same functions of (t, y), sample by sample."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nodebench.models.classifiers import ODENet
from nodebench.models.flows import CNF, FFJORD, Flow
from nodebench.models.ode_block import ODEBlock
from nodebench.models.sequences.encoders import ScaledField
from nodebench.models.sequences.latent_ode import LatentField
from nodebench.models.sequences.latent_rate import RateField
from nodebench.models.vector_fields import ConvVectorField
from nodebench.ode.settings import SolverSettings

OWN = SolverSettings(rtol=1e-6, atol=1e-6, steps="per_sample")
SHARED = SolverSettings(rtol=1e-6, atol=1e-6)
TIMES = torch.tensor([0.0, 0.3, 0.9], dtype=torch.float64)


def latent(width: int = 4) -> LatentField:
    return LatentField(width, 8, 1, "tanh")


FIELDS: list[tuple[nn.Module, tuple[int, ...], bool, tuple[Tensor, ...]]] = [
    (ConvVectorField(4), (3, 4, 5, 5), False, ()),
    (CNF(width=5).ode_block.vector_field, (3, 3), True, ()),
    (CNF(width=5, variant="example").ode_block.vector_field, (3, 3), True, ()),
    (FFJORD(hidden_dims=(6, 5)).ode_block.vector_field, (3, 3), True, ()),
    (FFJORD(hidden_dims=(6,)).ode_block.vector_field, (3, 3), True, (torch.ones(3, 2),)),
    (latent(), (3, 4), False, ()),
    (ScaledField(4, 8), (3, 4), False, (torch.ones(3, 1),)),
    (RateField(latent(), nn.Linear(4, 1), 10.0), (3, 5), False, ()),
]


@pytest.mark.parametrize(("field", "shape", "is_transposed", "args"), FIELDS)
def test_a_field_at_times_of_their_own_is_the_field_at_each(
    field: nn.Module, shape: tuple[int, ...], is_transposed: bool, args: tuple[Tensor, ...]
) -> None:
    torch.manual_seed(0)
    field, y = field.double(), torch.randn(shape, dtype=torch.float64)
    args = tuple(arg.double() for arg in args)
    together = field(TIMES, y, *args)
    for i, t in enumerate(TIMES):
        turn = torch.t if is_transposed else torch.clone
        alone = turn(field(t, *(turn(of_all[i : i + 1]) for of_all in (y, *args))))
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("gradient", ["direct", "checkpointed", "adjoint"])
@pytest.mark.parametrize("kind", [CNF, FFJORD])
def test_a_flow_has_the_same_densities_and_gradients(kind: type[Any], gradient: str) -> None:
    found = []
    for solver in (SHARED, OWN):
        torch.manual_seed(0)
        flow: Flow = (kind(width=6) if kind is CNF else kind(hidden_dims=(6,))).double()
        flow.ode_block.solver, flow.ode_block.gradient = solver, gradient
        torch.manual_seed(1)
        points = torch.randn(5, 2, dtype=torch.float64)
        log_prob = flow.log_prob(points)
        grads = torch.autograd.grad(log_prob.sum(), list(flow.parameters()))
        with torch.no_grad():
            ways = flow.trajectory(points, [0.0, 0.5, 1.0])
        found.append((log_prob, ways, *grads))
    for shared, own in zip(*found, strict=True):
        torch.testing.assert_close(own, shared, rtol=1e-4, atol=1e-4)


def test_hutchinsons_noise_goes_with_its_point() -> None:
    torch.manual_seed(0)
    flow = FFJORD(hidden_dims=(6,), divergence="hutchinson").double()
    points = torch.randn(5, 2, dtype=torch.float64)
    values = []
    for solver in (SHARED, OWN):
        flow.ode_block.solver = solver
        torch.manual_seed(2)
        values.append(flow.log_prob(points))
    torch.testing.assert_close(values[1], values[0], rtol=1e-4, atol=1e-4)


def test_an_image_is_called_the_same_alone_and_in_a_batch() -> None:
    torch.manual_seed(0)
    net = ODENet(solver=OWN).double().eval()
    images = torch.rand(3, 1, 28, 28, dtype=torch.float64)
    block = net.ode_block
    assert isinstance(block, ODEBlock)
    with torch.no_grad():
        features = net.stem(images)
        together = block.solve(features, (0.0, 1.0))
        alone = block.solve(features[1:2], (0.0, 1.0))
    torch.testing.assert_close(alone.ys[:, 0], together.ys[:, 1], rtol=1e-9, atol=1e-10)
    of_all, of_one = together.stats.forward.samples, alone.stats.forward.samples
    assert of_all is not None
    assert of_one is not None
    assert of_all.nfe[1] == of_one.nfe[0]
