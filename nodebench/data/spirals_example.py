"""The spirals of torchdiffeq's examples/latent_ode.py, continued beyond what they are seen over."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nodebench.data.checks import check_batch_size, check_noise
from nodebench.data.errors import DataError
from nodebench.data.spirals import alternating
from nodebench.data.splits import draw_splits
from nodebench.data.trajectories import SeriesSet, Trajectories, check_sizes, on_grid, some_observed

END = 6 * math.pi
GRID_SIZE = 500  # of times on [0, END] in the example, from which the steps between observations are
FIRST_START, LAST_START = 100, 399  # places on that grid
GROWTH, CENTRE = 0.3, 5.0


def spirals_example(
    num_observed: int = 100,
    num_points: int = 100,
    horizon: int = 100,
    noise: float = 0.3,
    num_train: int = 1000,
    num_test: int = 1000,
    batch_size: int = 256,
) -> Trajectories:
    """Pieces of two curves that wind outwards around two centres, with Gaussian noise of std `noise`.

    Counter-clockwise around (5, 0): angle s, radius 0.3 s. Clockwise around (-5, 0): angle v = 6 pi + 1 - s, radius
    15 / v. A piece is num_points times on from a start s of its own, 6 pi / 499 apart and counted from 0, num_observed
    of them observed, and then `horizon` more. Half of a split goes either way (the example tosses a coin), and of 200
    more pieces the numbers of validation are. Starts are 100 ... 399 steps of the grid, of clockwise pieces only those
    whose horizon ends before s = 6 pi: at 6 pi + 1 their radius is infinite.

    These are not the paper's data: they wind the other way, and where a spiral is says how it turns. Raises DataError
    for settings out of range.
    """
    check_sizes(num_points, num_observed, num_train=num_train, num_test=num_test, horizon=horizon)
    check_batch_size(batch_size)
    check_noise(noise)
    num_times = num_points + horizon
    last_clockwise = min(LAST_START, GRID_SIZE - 1 - num_times)
    if last_clockwise < FIRST_START:
        raise DataError(
            f"`data.num_points` and `data.horizon` are {num_points} and {horizon}; allowed: at most "
            f"{GRID_SIZE - 1 - FIRST_START} together, so that clockwise spirals end before their radius is infinite"
        )
    steps = torch.arange(num_times, dtype=torch.float64)

    def draw(split: str, size: int, chance: torch.Generator) -> SeriesSet:
        steps_of_split = steps[:num_points] if split == "train" else steps
        direction = alternating(size)
        num_starts = torch.where(direction == 1, LAST_START, last_clockwise) - FIRST_START + 1
        start = FIRST_START + torch.floor(
            torch.rand(size, generator=chance, dtype=torch.float64) * num_starts
        )
        clean = example_spiral(_time(start[:, None] + steps_of_split), direction[:, None])
        errors = noise * torch.randn(clean.shape, generator=chance, dtype=torch.float64)
        observed = some_observed(size, num_points, num_observed, chance)
        centre = torch.stack([direction * CENTRE, torch.zeros(size)], dim=1)
        return on_grid(_time(steps_of_split), clean, errors, observed, direction, centre)

    train, val, test = draw_splits(draw, num_train, num_test)
    return Trajectories("spirals_example", train, val, test, batch_size, noise_std=noise or None)


def example_spiral(s: Tensor, direction: Tensor) -> Tensor:
    """The curves at s (N, T), as (N, T, 2): where direction (N, 1) is 1 the one that turns counter-clockwise."""
    angle = torch.where(direction == 1, s, END + 1 - s)
    radius = torch.where(direction == 1, GROWTH * s, 50 * GROWTH / angle)
    return torch.stack([radius * angle.cos() + direction * CENTRE, radius * angle.sin()], dim=2)


def _time(steps: Tensor) -> Tensor:
    return steps * (END / (GRID_SIZE - 1))
