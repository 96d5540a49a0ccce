"""The time channel: as a bias map it must be what concatenating a constant channel is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nodebench.models.vector_fields import ConvVectorField, TimeConv2d


def concatenated(conv: TimeConv2d, t: Tensor, x: Tensor) -> Tensor:
    """The reference: torchdiffeq's ConcatConv2d with the same parameters."""
    channel = torch.ones_like(x[:, :1]) * t
    weight = torch.cat([conv.time_weight, conv.weight], dim=1)
    return F.conv2d(torch.cat([channel, x], dim=1), weight, conv.bias, padding=1)


@pytest.mark.parametrize("size", [(6, 6), (1, 1), (5, 8)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_the_time_map_equals_concatenation_in_values_and_all_gradients(
    dtype: torch.dtype, tolerance: float, size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    conv = TimeConv2d(4, 6).to(dtype)
    x = torch.randn(3, 4, *size, dtype=dtype, requires_grad=True)
    t = torch.tensor(0.7, dtype=dtype, requires_grad=True)
    inputs = {"x": x, "t": t, **dict(conv.named_parameters())}
    adj = torch.randn(3, 6, *size, dtype=dtype)

    value, reference = conv(t, x), concatenated(conv, t, x)

    assert_relative(value, reference, tolerance, "value")
    grads = torch.autograd.grad(value, list(inputs.values()), adj)
    expected = torch.autograd.grad(reference, list(inputs.values()), adj)
    assert set(inputs) == {"x", "t", "weight", "time_weight", "bias"}
    for name, grad, reference_grad in zip(inputs, grads, expected, strict=True):
        assert_relative(grad, reference_grad, tolerance, name)


def assert_relative(actual: Tensor, expected: Tensor, tolerance: float, name: str) -> None:
    assert actual.shape == expected.shape, name
    assert (actual - expected).norm() <= tolerance * expected.norm(), name


def test_a_time_a_sample_is_each_samples_own() -> None:
    field = ConvVectorField(64).double()
    t, y = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64), torch.randn(3, 64, 6, 6, dtype=torch.float64)
    alone = torch.cat([field(time, sample.unsqueeze(0)) for time, sample in zip(t, y, strict=True)])
    torch.testing.assert_close(field(t, y), alone)


def test_the_border_of_the_time_map_differs_from_its_inside() -> None:
    conv = TimeConv2d(1, 1)
    t = torch.tensor(1.0)
    time_map = (conv(t, torch.zeros(1, 1, 5, 5)) - conv(0 * t, torch.zeros(1, 1, 5, 5)))[0, 0]
    torch.testing.assert_close(time_map[2, 2], conv.time_weight.sum())
    torch.testing.assert_close(time_map[0, 0], conv.time_weight[0, 0, 1:, 1:].sum())


def test_initial_values_are_those_of_a_convolution_of_one_more_channel() -> None:
    torch.manual_seed(3)
    conv = TimeConv2d(64, 64)
    torch.manual_seed(3)
    joint = nn.Conv2d(65, 64, 3)
    assert torch.equal(torch.cat([conv.time_weight, conv.weight], dim=1), joint.weight)
    assert torch.equal(conv.bias, joint.bias)


def test_parameters_are_contiguous_and_share_no_memory() -> None:
    conv = TimeConv2d(4, 6)
    assert conv.weight.is_contiguous()
    assert conv.weight.untyped_storage().nbytes() == conv.weight.nbytes
    assert conv.time_weight.untyped_storage().nbytes() == conv.time_weight.nbytes


def test_the_vector_field_has_the_papers_parameters_and_keeps_its_input() -> None:
    field = ConvVectorField(64)
    assert sum(p.numel() for p in field.parameters()) == 75_392
    y = torch.randn(2, 64, 6, 6)
    before = y.clone()
    dy = field(torch.tensor(0.5), y)
    assert dy.shape == y.shape
    assert torch.equal(y, before)


def test_the_vector_field_depends_on_time() -> None:
    field, y = ConvVectorField(64), torch.randn(2, 64, 6, 6)
    assert not torch.allclose(field(torch.tensor(0.0), y), field(torch.tensor(1.0), y))


def test_in_an_autocast_region_two_times_that_bfloat16_does_not_tell_apart_stay_two() -> None:
    torch.manual_seed(0)
    conv, x = TimeConv2d(2, 3), torch.zeros(1, 2, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        before, behind = conv(torch.tensor(0.5), x), conv(torch.tensor(0.5001), x)
    assert before.dtype == torch.float32
    torch.testing.assert_close(behind - before, conv(torch.tensor(0.5001), x) - conv(torch.tensor(0.5), x))
    assert not torch.equal(before, behind)
