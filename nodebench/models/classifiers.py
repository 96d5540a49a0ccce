"""Classifiers of Table 1: images (B, 1, 28, 28) in [0, 1] to logits (B, 10).

All but the perceptron are stem, middle, head, and differ in the middle alone. Each has an attribute `ode_block`, None
for nets without an ODE. Source: torchdiffeq, examples/odenet_mnist.py; parameters are counted in the tests.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from nodebench.models.ode_block import ODEBlock
from nodebench.models.residual import ResidualBlock, group_norm
from nodebench.models.stems import make_stem
from nodebench.models.vector_fields import ConvVectorField
from nodebench.ode.settings import SolverSettings

NUM_CLASSES = 10
WIDTH = 64


class MLP(nn.Module):
    """784-300-10 perceptron with one hidden layer: the first row of Table 1 (LeCun et al. 1998)."""

    num_outputs: ClassVar[int] = NUM_CLASSES

    def __init__(self) -> None:
        super().__init__()
        self.ode_block: ODEBlock | None = None
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(28 * 28, 300), nn.ReLU(inplace=True), nn.Linear(300, NUM_CLASSES)
        )

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(images)
        return logits


class ResNet(nn.Module):
    """Stem, `num_blocks` residual blocks, head; no blocks at all are a control of what the ODE adds.

    Raises ValueError for an unknown stem or a negative number of blocks.
    """

    num_outputs: ClassVar[int] = NUM_CLASSES

    def __init__(self, stem: str = "conv", num_blocks: int = 6) -> None:
        super().__init__()
        if num_blocks < 0:
            raise ValueError(f"`model.num_blocks` is {num_blocks}; allowed: whole numbers from 0 on")
        self.ode_block: ODEBlock | None = None
        self.stem = make_stem(stem, WIDTH)
        self.blocks = nn.Sequential(*(ResidualBlock(WIDTH) for _ in range(num_blocks)))
        self.head = make_head(WIDTH)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.blocks(self.stem(images)))
        return logits


class ODENet(nn.Module):
    """Stem, one ODE block, head: the paper's ODE-Net, and with gradient `direct` its RK-Net.

    Raises ValueError for an unknown stem.
    """

    num_outputs: ClassVar[int] = NUM_CLASSES
    t1: ClassVar[float] = 1.0

    def __init__(
        self,
        stem: str = "conv",
        gradient: str = "adjoint",
        solver: SolverSettings = SolverSettings(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__()
        self.stem = make_stem(stem, WIDTH)
        self.ode_block = ODEBlock(ConvVectorField(WIDTH), solver, gradient, self.t1)
        self.head = make_head(WIDTH)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.ode_block(self.stem(images)))
        return logits


def make_head(width: int) -> nn.Sequential:
    """Features (B, width, H, W) to logits: norm, relu, mean over the pixels, linear."""
    return nn.Sequential(
        group_norm(width),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, NUM_CLASSES),
    )
