"""Sines of one amplitude and many frequencies at irregular times: the toy data of Rubanova et al. (2019)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nodebench.data.checks import check_batch_size, check_noise, check_number
from nodebench.data.errors import DataError
from nodebench.data.splits import draw_splits
from nodebench.data.trajectories import SeriesSet, Trajectories, check_sizes, on_grid, some_observed

VARIANTS = ("text", "code")
WINDOW = 2.5
LONGEST = 10.0
NUM_VAL = 100
FREQUENCIES = 0.4, 0.8  # periods a unit of time
_APART = 0.01  # mean gaps, so that no two times are one number in float32
_TIMES_SEED = 3


def periodic(
    variant: str = "text",
    num_observed: int = 20,
    num_points: int = 50,
    horizon_end: float = 5.0,
    noise: float = 0.01,
    num_train: int = 700,
    num_test: int = 200,
    batch_size: int = 50,
) -> Trajectories:
    """x(t) = c + sin(2 pi f t), f ~ U(0.4, 0.8), at num_points irregular times on [0, 2.5].

    num_observed of them are observed; as many more for every 2.5 up to `horizon_end` are to be extrapolated. The
    paper (section 4.1) and its code differ:

    text: every series has times of its own, c ~ N(0, 1), the noise is Gaussian of std `noise`.
    code: all series share one set of times, c ~ N(1, 0.1), the noise is U(0, noise), of the first point 0.

    In both the first time is 0 and others are uniform. Frequency range, phase 0 and `noise`, of which the paper says
    nothing, are the code's. `clean` is the curve; the code's noise has mean noise / 2. The paper's 1,000 series are
    800 to train on, of which 100 are held out for validation here, and 200 for the test. Raises DataError for settings
    out of range.
    """
    if variant not in VARIANTS:
        raise DataError(f"`data.variant` is {variant!r}; allowed: {', '.join(VARIANTS)}")
    check_sizes(num_points, num_observed, num_train=num_train, num_test=num_test)
    check_batch_size(batch_size)
    check_noise(noise)
    if check_number("horizon_end", horizon_end, above=WINDOW) > LONGEST:
        raise DataError(f"`data.horizon_end` is {horizon_end}; allowed: numbers up to {LONGEST:g}")
    num_ahead = round(num_points * (horizon_end - WINDOW) / WINDOW)
    if num_ahead < 1:
        raise DataError(
            f"`data.horizon_end` is {horizon_end}, so close to {WINDOW} that no point lies between; raise it"
        )

    def draw_times(size: int, chance: torch.Generator) -> Tensor:
        """(size, num_points + num_ahead), increasing."""
        first = torch.zeros(size, 1, dtype=torch.float64)
        window = _uniform_times(size, num_points - 1, WINDOW, chance)
        return torch.cat(
            [first, window, WINDOW + _uniform_times(size, num_ahead, horizon_end - WINDOW, chance)], 1
        )

    shared = draw_times(1, torch.Generator().manual_seed(_TIMES_SEED))

    def draw(split: str, size: int, chance: torch.Generator) -> SeriesSet:
        times = draw_times(size, chance) if variant == "text" else shared
        times = times[:, :num_points] if split == "train" else times
        lowest, highest = FREQUENCIES
        frequency = lowest + (highest - lowest) * torch.rand(size, 1, generator=chance, dtype=torch.float64)
        offset = torch.randn(size, 1, generator=chance, dtype=torch.float64)
        offset = offset if variant == "text" else 1 + 0.1 * offset
        clean = offset + torch.sin(2 * math.pi * frequency * times)
        errors = _errors(variant, clean, chance)
        observed = some_observed(size, num_points, num_observed, chance)
        grid = times if variant == "text" else times[0]
        return on_grid(grid, clean[..., None], noise * errors[..., None], observed)

    train, val, test = draw_splits(draw, num_train, num_test, NUM_VAL)
    # The standard deviation of U(0, 1) is 1 / sqrt(12).
    noise_std = noise if variant == "text" else noise / math.sqrt(12)
    return Trajectories("periodic", train, val, test, batch_size, noise_std=noise_std or None)


def _uniform_times(size: int, num_times: int, length: float, chance: torch.Generator) -> Tensor:
    """(size, num_times), increasing on (0, length): uniform, were they not kept a little apart."""
    gap = length / (num_times + 1)
    free = (1 - _APART) * length * torch.rand(size, num_times, generator=chance, dtype=torch.float64)
    return free.sort(1).values + _APART * gap * torch.arange(1, num_times + 1, dtype=torch.float64)


def _errors(variant: str, like: Tensor, chance: torch.Generator) -> Tensor:
    """Of `noise` 1: standard normal, or uniform on [0, 1) and 0 for the first of each series."""
    if variant == "text":
        return torch.randn(like.shape, generator=chance, dtype=like.dtype)
    errors = torch.rand(like.shape, generator=chance, dtype=like.dtype)
    errors[:, 0] = 0
    return errors
