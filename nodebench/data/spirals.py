"""Spirals in the plane: the data of the paper's section 5, as its Figure 8 shows them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nodebench.data.checks import check_batch_size, check_noise, check_number
from nodebench.data.errors import DataError
from nodebench.data.splits import draw_splits
from nodebench.data.trajectories import SeriesSet, Trajectories, check_sizes, on_grid, some_observed


def spirals(
    num_observed: int = 100,
    num_points: int = 100,
    horizon: int = 100,
    rho: float = 0.1,
    omega: float = 1.0,
    min_radius: float = 1.5,
    max_radius: float = 2.5,
    noise: float = 0.1,
    num_train: int = 1000,
    num_test: int = 1000,
    batch_size: int = 256,
) -> Trajectories:
    """x(t) = R exp(-rho t) (cos(phi + s omega t), sin(phi + s omega t)) with Gaussian noise of std `noise`.

    R ~ U(min_radius, max_radius), phi ~ U(0, 2 pi), s = 1 for one half of a split and -1 for the other: spirals that
    wind inwards around one shared centre, each from a point of its own. They are seen over one turn, num_points
    equally spaced times on [0, 2 pi / omega) of which num_observed are observed, the same in every run; `horizon`
    more, as densely, are to be extrapolated. Of 200 more spirals the numbers of validation are.

    Chen et al. (2018) give neither curve nor scale nor noise. The curve, its decay of 0.1 a radian, the turn that is
    seen and the noise, about 5 % of the radius, are measured off Figure 8. Raises DataError for settings out of range.
    """
    check_sizes(num_points, num_observed, num_train=num_train, num_test=num_test, horizon=horizon)
    check_batch_size(batch_size)
    for key, value in (("rho", rho), ("omega", omega)):
        check_number(key, value, above=0.0)
    check_number("min_radius", min_radius, above=0.0)
    if not min_radius <= check_number("max_radius", max_radius, above=0.0):
        raise DataError(f"`data.max_radius` is {max_radius}, below data.min_radius={min_radius}; swap them")
    times = torch.arange(num_points + horizon, dtype=torch.float64) * (2 * math.pi / omega / num_points)

    def draw(split: str, size: int, chance: torch.Generator) -> SeriesSet:
        direction = alternating(size)
        radius = torch.rand(size, 1, generator=chance, dtype=torch.float64)
        radius = min_radius + (max_radius - min_radius) * radius
        phase = 2 * math.pi * torch.rand(size, 1, generator=chance, dtype=torch.float64)
        grid = times[:num_points] if split == "train" else times
        clean = spiral(grid, radius, phase, direction[:, None], rho, omega)
        errors = check_noise(noise) * torch.randn(clean.shape, generator=chance, dtype=torch.float64)
        observed = some_observed(size, num_points, num_observed, chance)
        return on_grid(grid, clean, errors, observed, direction)

    train, val, test = draw_splits(draw, num_train, num_test)
    return Trajectories("spirals", train, val, test, batch_size, noise_std=noise or None)


def spiral(
    times: Tensor, radius: Tensor, phase: Tensor, direction: Tensor, rho: float, omega: float
) -> Tensor:
    """Logarithmic spirals (N, T, 2) at times (T,); radius, phase and direction are (N, 1)."""
    angle = phase + direction * omega * times
    length = radius * torch.exp(-rho * times)
    return torch.stack([length * angle.cos(), length * angle.sin()], dim=2)


def alternating(size: int) -> Tensor:
    """1 and -1 in turn, (size,): as many that turn one way as the other."""
    return 1 - 2 * (torch.arange(size) % 2)
