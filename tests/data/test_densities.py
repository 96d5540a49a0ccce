from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nodebench.data import DataError, DensityData
from nodebench.data.toy_densities import (
    checkerboard,
    eight_gaussians,
    pinwheel,
    rings,
    swissroll,
    two_circles,
    two_moons,
    two_spirals,
)

ALL = (
    two_circles,
    two_moons,
    pinwheel,
    eight_gaussians,
    checkerboard,
    rings,
    two_spirals,
    swissroll,
)
WITH_NOISE = (two_circles, two_moons, rings, two_spirals, swissroll)
every_density = pytest.mark.parametrize("make", ALL, ids=lambda make: make.__name__)
Make = Callable[..., DensityData]


def draw(data: DensityData, n: int, seed: int = 0, split: str = "train") -> Tensor:
    return data.draw(split, n, torch.Generator().manual_seed(seed))


@every_density
@pytest.mark.parametrize("n", [1, 2, 3, 512, 1001])
def test_a_draw_is_n_float32_points_in_the_plane(make: Make, n: int) -> None:
    data = make()
    points = draw(data, n)
    assert data.name == make.__name__
    assert data.dim == 2
    assert points.shape == (n, 2)
    assert points.dtype == torch.float32
    assert points.isfinite().all()


@every_density
@pytest.mark.parametrize("n", [1, 300])
def test_a_draw_follows_from_the_generator_alone(make: Make, n: int) -> None:
    data = make()
    first = draw(data, n)
    torch.manual_seed(1)
    assert torch.equal(first, draw(make(), n))
    assert torch.equal(first, draw(data, n, split="test"))
    assert not torch.equal(first, draw(data, n, seed=1))
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(data.draw("train", n, generator), first)
    assert not torch.equal(data.draw("train", n, generator), first)


@every_density
def test_the_window_shows_a_density_whole_and_not_from_afar(make: Make) -> None:
    data = make()
    reach = draw(data, 20_000).abs().amax(1)
    assert (reach > data.window).float().mean() < 1e-3
    assert reach.max() > 0.75 * data.window


@every_density
def test_single_points_have_the_mean_and_spread_of_many_at_once(make: Make) -> None:
    data, generator = make(), torch.Generator().manual_seed(0)
    single = torch.cat([data.draw("train", 1, generator) for _ in range(500)])
    many = draw(data, 20_000, seed=1)
    standard_error = many.std(0) / math.sqrt(len(single))
    assert ((single.mean(0) - many.mean(0)).abs() < 5 * standard_error).all()
    assert ((single.std(0) / many.std(0) - 1).abs() < 0.2).all()


def test_half_of_two_circles_is_near_radius_one_and_half_near_one_half() -> None:
    radius = draw(two_circles(), 10_000).norm(dim=1)
    outer = radius > 0.75
    assert outer.float().mean() == pytest.approx(0.5, abs=0.01)
    # A deviation s across a circle of radius r adds s^2 / 2r to the mean distance.
    assert radius[outer].mean() == pytest.approx(1 + 0.06**2 / 2, abs=5e-3)
    assert radius[~outer].mean() == pytest.approx(0.5 + 0.06**2, abs=5e-3)
    assert radius[outer].std() == pytest.approx(0.06, abs=5e-3)


def test_two_moons_are_half_circles_around_two_centres() -> None:
    points = draw(two_moons(noise=0.0), 10_000)
    upper = (points - torch.tensor([-0.5, -0.25])).norm(dim=1)
    lower = (points - torch.tensor([0.5, 0.25])).norm(dim=1)
    assert torch.minimum((upper - 1).abs(), (lower - 1).abs()).max() < 1e-5
    assert (points.mean(0).abs() < 0.02).all()
    torch.testing.assert_close(points.amin(0), torch.tensor([-1.5, -0.75]), atol=1e-3, rtol=0)
    torch.testing.assert_close(points.amax(0), torch.tensor([1.5, 0.75]), atol=1e-3, rtol=0)


def test_eight_gaussians_are_eight_and_equally_likely() -> None:
    points = draw(eight_gaussians(), 16_000)
    angle = torch.arange(8) * math.pi / 4
    centres = 4 / math.sqrt(2) * torch.stack([angle.cos(), angle.sin()], 1)
    distance, nearest = torch.cdist(points, centres).min(1)
    assert (torch.bincount(nearest) / len(points) - 1 / 8).abs().max() < 0.015
    assert distance.square().mean() == pytest.approx(2 * 0.125, rel=0.05)


def test_checkerboard_fills_every_other_square_evenly() -> None:
    points = draw(checkerboard(), 16_000)
    square = (points / 2).floor().long() + 2
    counts = torch.bincount(4 * square[:, 0] + square[:, 1], minlength=16).reshape(4, 4) / len(points)
    colour = torch.arange(4)[:, None] + torch.arange(4)
    assert (counts[colour % 2 == 0] - 1 / 8).abs().max() < 0.015
    assert (counts[colour % 2 == 1] == 0).all()


def test_rings_are_four_circles_of_equal_share() -> None:
    radius = draw(rings(noise=0.0), 16_000).norm(dim=1) / 0.75
    torch.testing.assert_close(radius, radius.round(), atol=1e-5, rtol=0)
    assert (torch.bincount(radius.round().long())[1:] / len(radius) - 1 / 4).abs().max() < 0.02


def test_pinwheel_looks_the_same_after_a_fifth_of_a_turn() -> None:
    points = draw(pinwheel(), 40_000)
    angle = torch.atan2(points[:, 1], points[:, 0])
    share_by_angle = torch.histc(angle, 50, -math.pi, math.pi) / len(points)
    assert (share_by_angle - share_by_angle.roll(10)).abs().max() < 0.01
    assert share_by_angle.max() > 2 * share_by_angle.min()
    assert points.norm(dim=1).mean() == pytest.approx(2, abs=0.05)


def test_two_spirals_are_one_arm_and_the_same_turned_by_half() -> None:
    points = draw(two_spirals(noise=0.0), 10_000)
    radius = 3 * points.norm(dim=1)
    assert (radius < 3 * math.pi + math.sqrt(0.5)).all()
    assert points.mean(0).abs().max() < 0.05
    angle = torch.linspace(0, 3 * math.pi, 2000)
    arm = torch.stack([-angle * angle.cos(), angle * angle.sin()], 1) / 3
    distance = torch.cdist(points, torch.cat([arm, -arm])).amin(1)
    assert distance.max() < math.sqrt(0.5) / 3 + 0.01


def test_swissroll_lies_on_its_spiral() -> None:
    points = draw(swissroll(noise=0.0), 1000)
    radius = 5 * points.norm(dim=1)
    spiral = radius[:, None] / 5 * torch.stack([radius.cos(), radius.sin()], 1)
    torch.testing.assert_close(points, spiral, atol=1e-4, rtol=0)
    assert radius.min() == pytest.approx(1.5 * math.pi, abs=0.1)
    assert radius.max() == pytest.approx(4.5 * math.pi, abs=0.1)


@pytest.mark.parametrize("make", WITH_NOISE, ids=lambda make: make.__name__)
def test_noise_blurs_a_density_and_has_no_other_effect_on_its_mean(make: Make) -> None:
    clean, noisy = draw(make(noise=0.0), 4000), draw(make(noise=0.5), 4000)
    added = noisy.var(0) - clean.var(0)
    torch.testing.assert_close(added, torch.full((2,), 0.25), atol=0.12, rtol=0)
    assert (noisy.mean(0) - clean.mean(0)).abs().max() < 0.12


@every_density
@pytest.mark.parametrize("value", [0, -3, 1.5, True])
def test_a_batch_size_below_one_is_refused_by_name(make: Make, value: object) -> None:
    with pytest.raises(DataError, match=r"`data\.batch_size` is .*; allowed: whole numbers from 1 on"):
        make(batch_size=value)


@pytest.mark.parametrize("make", WITH_NOISE, ids=lambda make: make.__name__)
@pytest.mark.parametrize("value", [-0.1, math.inf, math.nan, "a", None, True])
def test_a_noise_that_is_no_finite_number_from_zero_on_is_refused_by_name(make: Make, value: object) -> None:
    with pytest.raises(DataError, match=r"`data\.noise` is .*; allowed: finite numbers from 0 on"):
        make(noise=value)


def test_a_draw_from_no_split_and_of_no_points_is_refused() -> None:
    with pytest.raises(ValueError, match=r"split 'tset' does not exist; allowed: train, val, test"):
        draw(two_moons(), 4, split="tset")
    with pytest.raises(ValueError, match=r"n is 0; allowed: 1 point or more"):
        draw(two_moons(), 0)
