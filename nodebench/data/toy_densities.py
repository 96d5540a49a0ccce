"""Eight densities in the plane that flows are tried on.

two_circles and two_moons are those of Chen et al. (2018), section 4.1; the other six have the shapes and scales
of the toy data of FFJORD (Grathwohl et al. 2019, arXiv 1810.01367), every point drawn independently.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nodebench.data.checks import check_noise
from nodebench.data.densities import DensityData, endless

# scikit-learn spaces its points evenly along each curve, so a set of one point would always be the same one:
# a smaller draw takes the first points of a shuffled set of this size.
_SMALLEST_SET = 512


def two_circles(noise: float = 0.06, batch_size: int = 512) -> DensityData:
    """Circles of radius 1 and 0.5, with Gaussian noise: as torchdiffeq's examples/cnf.py draws them."""
    from sklearn.datasets import make_circles

    check_noise(noise)

    def points(n: int, generator: torch.Generator) -> Tensor:
        size, state = max(n, _SMALLEST_SET), _random_state(generator)
        drawn = make_circles(size, shuffle=True, noise=noise, factor=0.5, random_state=state)[0]
        return torch.as_tensor(drawn[:n], dtype=torch.float32)

    return endless("two_circles", points, batch_size=batch_size, window=1.5)


def two_moons(noise: float = 0.07, batch_size: int = 512) -> DensityData:
    """Two half circles of radius 1, one inside the other's opening, centred on 0, with Gaussian noise."""
    from sklearn.datasets import make_moons

    check_noise(noise)

    def points(n: int, generator: torch.Generator) -> Tensor:
        size, state = max(n, _SMALLEST_SET), _random_state(generator)
        drawn = make_moons(size, shuffle=True, noise=noise, random_state=state)[0]
        return torch.as_tensor(drawn[:n], dtype=torch.float32) - torch.tensor([0.5, 0.25])

    return endless("two_moons", points, batch_size=batch_size, window=2.0)


def pinwheel(batch_size: int = 512) -> DensityData:
    """Five blades, bent clockwise as they go outwards."""

    def points(n: int, generator: torch.Generator) -> Tensor:
        blade = torch.randint(5, (n,), generator=generator)
        along, across = torch.randn(2, n, generator=generator)
        along, across = 1 + 0.3 * along, 0.1 * across
        angle = -(2 * math.pi / 5 * blade + 0.25 * along.exp())
        x = along * angle.cos() - across * angle.sin()
        y = along * angle.sin() + across * angle.cos()
        return 2 * torch.stack([x, y], dim=1)

    return endless("pinwheel", points, batch_size=batch_size, window=4.0)


def eight_gaussians(batch_size: int = 512) -> DensityData:
    """Gaussians of deviation 0.5 / sqrt(2), evenly spaced on a circle of radius 4 / sqrt(2)."""

    def points(n: int, generator: torch.Generator) -> Tensor:
        angle = 2 * math.pi / 8 * torch.randint(8, (n,), generator=generator)
        return (4 * _on_unit_circle(angle) + 0.5 * torch.randn(n, 2, generator=generator)) / math.sqrt(2)

    return endless("eight_gaussians", points, batch_size=batch_size, window=4.0)


def checkerboard(batch_size: int = 512) -> DensityData:
    """Every other one of the 16 squares of side 2 that tile [-4, 4]^2, each filled evenly."""

    def points(n: int, generator: torch.Generator) -> Tensor:
        column, row = torch.randint(4, (n,), generator=generator), torch.randint(2, (n,), generator=generator)
        corner = torch.stack([column, 2 * row + column % 2], dim=1)
        return 2 * (corner + torch.rand(n, 2, generator=generator)) - 4

    return endless("checkerboard", points, batch_size=batch_size, window=4.0)


def rings(noise: float = 0.08, batch_size: int = 512) -> DensityData:
    """Four circles of radius 0.75, 1.5, 2.25 and 3 with as many points each, with Gaussian noise."""
    check_noise(noise)

    def points(n: int, generator: torch.Generator) -> Tensor:
        radius = 0.75 * (1 + torch.randint(4, (n, 1), generator=generator))
        circle = _on_unit_circle(2 * math.pi * torch.rand(n, generator=generator))
        return radius * circle + noise * torch.randn(n, 2, generator=generator)

    return endless("rings", points, batch_size=batch_size, window=4.0)


def two_spirals(noise: float = 0.1, batch_size: int = 512) -> DensityData:
    """Two arms of one and a half turns out to radius pi, each the other one turned by half, with Gaussian noise.

    Before the noise a point is moved by up to 1/6 along both axes: to the right and up on one arm, to the left and
    down on the other.
    """
    check_noise(noise)

    def points(n: int, generator: torch.Generator) -> Tensor:
        angle = 3 * math.pi * torch.rand(n, generator=generator).sqrt()
        arm = torch.stack([-angle * angle.cos(), angle * angle.sin()], dim=1)
        arm = (arm + 0.5 * torch.rand(n, 2, generator=generator)) / 3
        sign = 2 * torch.randint(2, (n, 1), generator=generator) - 1
        return sign * arm + noise * torch.randn(n, 2, generator=generator)

    return endless("two_spirals", points, batch_size=batch_size, window=4.0)


def swissroll(noise: float = 0.2, batch_size: int = 512) -> DensityData:
    """A spiral of one and a half turns from radius 0.3 pi to 0.9 pi, with Gaussian noise."""
    check_noise(noise)

    def points(n: int, generator: torch.Generator) -> Tensor:
        angle = 1.5 * math.pi * (1 + 2 * torch.rand(n, generator=generator))
        spiral = angle[:, None] * _on_unit_circle(angle) / 5
        return spiral + noise * torch.randn(n, 2, generator=generator)

    return endless("swissroll", points, batch_size=batch_size, window=4.0)


def _on_unit_circle(angle: Tensor) -> Tensor:
    """(N,) angles to (N, 2) points."""
    return torch.stack([angle.cos(), angle.sin()], dim=1)


def _random_state(generator: torch.Generator) -> int:
    """A seed for scikit-learn, drawn from the generator."""
    return int(torch.randint(2**32, (), generator=generator))
