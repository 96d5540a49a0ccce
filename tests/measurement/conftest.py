"""A net with a linear ODE of four dimensions between two linear layers, whose solution is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nodebench.data import ImageData, ImageSet
from nodebench.models.classifiers import ODENet
from nodebench.models.ode_block import ODEBlock
from nodebench.ode.settings import SolverSettings
from nodebench.tasks.classification import Classification

NUM_IMAGES = 230  # two whole batches and a part of one


class LinearField(nn.Module):
    """dy/dt = A y, A neither symmetric nor diagonal."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.tensor([[0.2, -1.0], [1.5, -0.3]]))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return y @ self.matrix.T


@pytest.fixture
def net() -> ODENet:
    torch.manual_seed(0)
    net = ODENet()
    net.stem = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 2))
    net.ode_block = ODEBlock(LinearField(), SolverSettings(), "adjoint")
    net.head = nn.Sequential(nn.Linear(2, 10))
    return net


@pytest.fixture
def images() -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (NUM_IMAGES, 1, 28, 28), dtype=torch.uint8, generator=generator)
    return ImageSet(pixels, torch.arange(NUM_IMAGES) % 10)


@pytest.fixture
def task(images: ImageSet) -> Classification:
    data = ImageData("noise", images, None, images, 10, "none", 8)
    return Classification(data, 0, "cpu", label_smoothing=0.1)
