from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nodebench.models.classifiers import MLP, ODENet, ResNet
from nodebench.models.ode_block import ODEBlock, ode_blocks
from nodebench.ode.settings import SolverSettings

NETS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "mlp": (MLP, 238_510),
    "resnet conv": (ResNet, 576_778),
    "resnet res": (lambda: ResNet("res"), 601_482),
    "resnet1 conv": (lambda: ResNet(num_blocks=1), 206_858),
    "resnet1 res": (lambda: ResNet("res", num_blocks=1), 231_562),
    "noblock conv": (lambda: ResNet(num_blocks=0), 132_874),
    "noblock res": (lambda: ResNet("res", num_blocks=0), 157_578),
    "odenet conv": (ODENet, 208_266),
    "odenet res": (lambda: ODENet("res"), 232_970),
    "rknet conv": (lambda: ODENet(gradient="direct"), 208_266),
    "rknet res": (lambda: ODENet("res", gradient="direct"), 232_970),
}
ODE_NETS = [name for name in NETS if name.startswith(("odenet", "rknet"))]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("name", NETS)
def test_every_net_has_the_reference_parameter_count(name: str) -> None:
    make, num_params = NETS[name]
    assert sum(p.numel() for p in make().parameters()) == num_params


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", NETS)
def test_backward_reaches_every_parameter(name: str, dtype: torch.dtype) -> None:
    net = NETS[name][0]().to(dtype)
    images = torch.rand(3, 1, 28, 28, dtype=dtype)
    before = images.clone()

    logits = net(images)
    F.cross_entropy(logits, torch.tensor([0, 3, 9])).backward()

    assert logits.shape == (3, 10)
    assert logits.dtype == dtype
    assert torch.equal(images, before)
    for parameter_name, parameter in net.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.any(), parameter_name


@pytest.mark.parametrize("name", NETS)
def test_a_state_dict_brings_back_the_same_logits(name: str) -> None:
    net, other = NETS[name][0](), NETS[name][0]()
    images = torch.rand(2, 1, 28, 28)
    with torch.no_grad():
        expected, before = net(images), other(images)
        other.load_state_dict(net.state_dict())
        assert torch.equal(other(images), expected)
    assert not torch.equal(before, expected)


@pytest.mark.parametrize("name", NETS)
def test_ode_block_is_there_exactly_in_nets_with_an_ode(name: str) -> None:
    net = NETS[name][0]()
    blocks = ode_blocks(net)
    assert len(blocks) == (name in ODE_NETS)
    assert net.ode_block is (blocks[0] if blocks else None)


def test_the_solver_and_gradient_reach_the_block() -> None:
    solver = SolverSettings(method="euler", dt=0.5)
    net = ODENet(gradient="checkpointed", solver=solver)
    assert isinstance(net.ode_block, ODEBlock)
    assert (net.ode_block.solver, net.ode_block.gradient) == (solver, "checkpointed")


def test_a_net_takes_images_one_by_one_as_in_a_batch() -> None:
    net = ODENet(solver=SolverSettings(method="rk4", dt=0.5)).double()
    images = torch.rand(3, 1, 28, 28, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(net(images)[1:2], net(images[1:2]), rtol=0, atol=1e-12)


def test_a_negative_number_of_blocks_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"`model\.num_blocks` is -1"):
        ResNet(num_blocks=-1)
