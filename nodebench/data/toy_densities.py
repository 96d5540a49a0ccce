"""Eight densities in the plane that flows are tried on; all but two in the shapes and scales of FFJORD's toy data.

Source: Grathwohl et al. (2019), arXiv 1810.01367, whose toy data this code draws anew. two_circles and two_moons
are those of Chen et al. (2018), section 4.1.
"""

from __future__ import annotations

import torch
from sklearn.datasets import make_circles, make_moons
from torch import Tensor

from nodebench.data.checks import check_noise
from nodebench.data.densities import DensityData, endless

# scikit-learn spaces its points evenly along each curve, so a set of one point would always be the same one:
# a smaller draw takes the first points of a shuffled set of this size.
_SMALLEST_SET = 512


def two_circles(noise: float = 0.06, batch_size: int = 512) -> DensityData:
    """Circles of radius 1 and 0.5, with Gaussian noise: as torchdiffeq's examples/cnf.py draws them."""
    check_noise(noise)

    def points(n: int, generator: torch.Generator) -> Tensor:
        size, state = max(n, _SMALLEST_SET), _random_state(generator)
        drawn = make_circles(size, shuffle=True, noise=noise, factor=0.5, random_state=state)[0]
        return torch.as_tensor(drawn[:n], dtype=torch.float32)

    return endless("two_circles", points, batch_size=batch_size, window=1.5)


def two_moons(noise: float = 0.07, batch_size: int = 512) -> DensityData:
    """Two half circles of radius 1, one inside the other's opening, centred on 0, with Gaussian noise."""
    check_noise(noise)

    def points(n: int, generator: torch.Generator) -> Tensor:
        size, state = max(n, _SMALLEST_SET), _random_state(generator)
        drawn = make_moons(size, shuffle=True, noise=noise, random_state=state)[0]
        return torch.as_tensor(drawn[:n], dtype=torch.float32) - torch.tensor([0.5, 0.25])

    return endless("two_moons", points, batch_size=batch_size, window=2.0)


def _random_state(generator: torch.Generator) -> int:
    """A seed for scikit-learn, drawn from the generator."""
    return int(torch.randint(2**32, (), generator=generator))
