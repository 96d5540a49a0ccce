"""Convolutions as products of matrices against torch's own, and which of them a reference takes."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from nodebench.measurement.float64_convolution import LARGEST, take_products
from nodebench.measurement.reference import ReferenceSettings, ReferenceSolver
from nodebench.models.classifiers import make_head
from nodebench.models.ode_block import ODEBlock
from nodebench.models.vector_fields import ConvVectorField
from nodebench.ode import odeint
from nodebench.ode.settings import SolverSettings

SIZES = [(6, 6), (7, 7), (1, 1), (2, 7), (5, 3), (4, 6)]


class Convolutions(TorchDispatchMode):
    """Counts torch's convolutions, forward and backward, of images of more than one channel."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket in (torch.ops.aten.convolution, torch.ops.aten.convolution_backward):
            images = args["backward" in str(func)]
            self.count += images.shape[1] > 1
        return func(*args, **(kwargs or {}))


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def noise(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=dtype)


def with_gradients(module: nn.Module, *inputs: Tensor) -> list[Tensor]:
    """The result, and the gradient of its product with noise in the last input and in all parameters."""
    x = inputs[-1].clone().requires_grad_()
    result = module(*inputs[:-1], x)
    adj = torch.linspace(-1, 1, result.numel(), dtype=result.dtype).view_as(result)
    return [result.detach(), *torch.autograd.grad(result, [x, *module.parameters()], adj)]


def largest_difference(found: list[Tensor], expected: list[Tensor]) -> float:
    """Of their entries, over the largest of the tensor."""
    pairs = zip(found, expected, strict=True)
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_are_those_of_torchs_convolution(
    size: tuple[int, int], batch: int, bias: bool
) -> None:
    theirs = nn.Conv2d(5, 8, 3, padding=1, bias=bias).double()
    ours, x = copy.deepcopy(theirs), noise(batch, 5, *size)
    take_products(ours)
    expected = with_gradients(theirs, x)
    with Convolutions() as convolutions:
        found = with_gradients(ours, x)
    assert convolutions.count == 0
    assert largest_difference(found, expected) < 1e-12


@pytest.mark.parametrize("size", [(6, 6), (7, 7)])
def test_a_field_with_time_is_the_same_with_the_same_parameters(size: tuple[int, int]) -> None:
    theirs = ConvVectorField(8).double()
    ours, t, y = copy.deepcopy(theirs), torch.tensor(0.3, dtype=torch.float64), noise(2, 8, *size)
    take_products(ours)
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    with Convolutions() as convolutions:
        found = with_gradients(ours, t, y)
    assert convolutions.count == 0
    # A bias in front of a norm over its channel alone changes nothing, so that its gradient is rounding.
    assert all(
        torch.allclose(a, b, rtol=1e-10, atol=1e-11)
        for a, b in zip(found, with_gradients(theirs, t, y), strict=True)
    )
    y, times = noise(2, 8, *size), noise(2)
    assert torch.allclose(ours(times, y), theirs(times, y), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(
    "settings",
    [
        {"stride": 2, "padding": 1},
        {"padding": 0},
        {"kernel_size": 5, "padding": 1},
        {"padding": 1, "groups": 2},
        {"padding": 2, "dilation": 2},
        {"padding": 1, "padding_mode": "circular"},
    ],
)
def test_what_is_another_convolution_is_left_as_it_is(settings: dict[str, Any]) -> None:
    theirs = nn.Conv2d(**{"in_channels": 4, "out_channels": 4, "kernel_size": 3, **settings}).double()
    ours, x = copy.deepcopy(theirs), noise(2, 4, 6, 6)
    take_products(ours)
    assert torch.equal(ours(x), theirs(x))
    assert type(ours) is nn.Conv2d


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((2, 4, LARGEST + 1, 6), torch.float64),
        ((2, 4, 6, LARGEST + 1), torch.float64),
        ((2, 4, 6, 6), torch.float32),
        ((4, 6, 6), torch.float64),
    ],
)
def test_other_images_go_through_torchs_convolution(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    theirs = nn.Conv2d(4, 4, 3, padding=1).to(dtype)
    ours, x = copy.deepcopy(theirs), noise(*shape, dtype=dtype)
    take_products(ours)
    assert torch.equal(ours(x), theirs(x))


def test_the_reference_takes_none_of_torchs_convolutions_and_is_that_of_the_field_as_it_is() -> None:
    field, head, labels = ConvVectorField(8), make_head(8), torch.tensor([3, 5])
    adj_y1 = noise(2, 8, 6, 6)
    solver = ReferenceSolver(ODEBlock(field, SolverSettings(), "adjoint"), head, lambda *_: adj_y1)
    y0 = noise(2, 8, 6, 6, dtype=torch.float32)
    with Convolutions() as convolutions:
        reference = solver.solve(ReferenceSettings(tol=1e-4), y0, labels, True)
    assert convolutions.count == 0
    assert type(field.conv1).__name__ == "TimeConv2d"
    exact, start = copy.deepcopy(field).double(), y0.double().requires_grad_()
    y1 = odeint(exact, start, (0.0, 1.0), method="dopri5", rtol=1e-4, atol=1e-4, gradient="direct").ys[-1]
    gradient = torch.autograd.grad(y1, [start, *exact.parameters()], adj_y1)
    assert torch.allclose(reference.y1, y1, rtol=1e-10, atol=1e-11)
    assert reference.gradient is not None
    assert torch.allclose(
        reference.gradient, torch.cat([grad.flatten() for grad in gradient]), rtol=1e-9, atol=1e-10
    )
