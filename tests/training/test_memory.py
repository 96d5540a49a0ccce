"""What a training step keeps and needs, against numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from nodebench.training.memory import measure_memory

CPU = torch.device("cpu")
FLOAT = 4  # bytes
MIB = 2**20


def test_saved_memory_of_a_small_net_is_the_sum_worked_out_by_hand():
    net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
    inputs = torch.randn(7, 3)
    measured = measure_memory(net, lambda: net(inputs).square().sum(), CPU)
    # The first layer keeps its input, tanh its output, which is also the second layer's input; square keeps its own.
    assert measured["memory_saved_mib"] == (7 * 3 + 7 * 5 + 7 * 2) * FLOAT / MIB


def test_storage_that_several_operations_keep_counts_once_and_parameters_not_at_all():
    weight = nn.Parameter(torch.ones(100))
    net = nn.ParameterList([weight])
    inputs = torch.ones(100)
    measured = measure_memory(net, lambda: (weight * inputs[:50].repeat(2) * 1 + weight * inputs).sum(), CPU)
    assert measured["memory_saved_mib"] == 2 * 100 * FLOAT / MIB
    measured = measure_memory(
        net, lambda: (weight * inputs + inputs.view(10, 10).view(100) * weight).sum(), CPU
    )
    assert measured["memory_saved_mib"] == 100 * FLOAT / MIB


def test_what_autograd_lets_go_before_backward_is_not_counted():
    layer = nn.Linear(4, 4)
    inputs = torch.randn(2, 4)

    def loss():
        layer(inputs).exp().sum()  # a graph that nobody keeps
        return layer(inputs).sum()

    assert measure_memory(layer, loss, CPU)["memory_saved_mib"] == 2 * 4 * FLOAT / MIB


def test_recomputation_keeps_less_than_direct_backward():
    net = nn.Sequential(*[nn.Sequential(nn.Linear(16, 16), nn.Tanh()) for _ in range(6)])
    inputs = torch.randn(32, 16, requires_grad=True)
    direct = measure_memory(net, lambda: net(inputs).sum(), CPU)
    recomputed = measure_memory(net, lambda: checkpoint(net, inputs, use_reentrant=True).sum(), CPU)
    assert direct["memory_saved_mib"] == 7 * 32 * 16 * FLOAT / MIB
    assert recomputed["memory_saved_mib"] == 32 * 16 * FLOAT / MIB


def test_peak_on_cpu_is_at_least_what_is_saved_with_the_gradients_and_far_below_twice_that():
    net = nn.Sequential(nn.Linear(256, 256), nn.Tanh(), nn.Linear(256, 256))
    inputs = torch.randn(512, 256)
    measured = measure_memory(net, lambda: net(inputs).square().sum(), CPU)
    activation, weight = 512 * 256 * FLOAT / MIB, 256 * 256 * FLOAT / MIB
    # Live at the peak: two saved activations (the input was there before), gradients of two of them, of a weight.
    assert 3 * activation <= measured["memory_peak_mib"] <= 5 * activation + 3 * weight


def test_measuring_leaves_gradients_buffers_and_random_numbers_as_they_were():
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    inputs = torch.randn(8, 4)
    net(inputs).sum().backward()
    gradients = [parameter.grad for parameter in net.parameters()]
    values = [gradient.clone() for gradient in gradients]
    buffers = [buffer.clone() for buffer in net.buffers()]
    torch.manual_seed(3)
    expected = torch.rand(5)
    torch.manual_seed(3)
    measure_memory(net, lambda: net(inputs).sum(), CPU)
    assert torch.equal(torch.rand(5), expected)
    assert all(
        parameter.grad is gradient for parameter, gradient in zip(net.parameters(), gradients, strict=True)
    )
    assert all(torch.equal(gradient, value) for gradient, value in zip(gradients, values, strict=True))
    assert all(torch.equal(buffer, value) for buffer, value in zip(net.buffers(), buffers, strict=True))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_peak_on_cuda_is_above_what_is_saved():
    device = torch.device("cuda")
    net = nn.Sequential(nn.Linear(256, 256), nn.Tanh(), nn.Linear(256, 256)).to(device)
    inputs = torch.randn(512, 256, device=device)
    measured = measure_memory(net, lambda: net(inputs).square().sum(), device)
    assert measured["memory_peak_mib"] >= 2 * 512 * 256 * FLOAT / MIB
