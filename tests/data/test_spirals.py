"""The spirals of Figure 8 and those of torchdiffeq's example."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nodebench.data import DataError, SeriesSet, Trajectories
from nodebench.data.spirals import spirals
from nodebench.data.spirals_example import example_spiral, spirals_example

BOTH = pytest.mark.parametrize("make", [spirals, spirals_example])
Make = Callable[..., Trajectories]


def small(make: Make, **keys: float) -> Trajectories:
    return make(**{"num_train": 20, "num_test": 50, **keys})


def clean(series: SeriesSet) -> Tensor:
    assert series.clean is not None
    return series.clean


def turn(points: Tensor) -> Tensor:
    """The angle through which each curve (N, T, 2) turns around the origin, counter-clockwise: (N,)."""
    angle = torch.atan2(points[..., 1], points[..., 0]).diff(dim=1)
    return torch.remainder(angle + math.pi, 2 * math.pi).sub(math.pi).sum(1)


@BOTH
def test_a_window_is_seen_and_as_much_is_to_be_extrapolated(make: Make) -> None:
    data = small(make)
    data.check()
    assert data.val is not None
    assert (len(data.train), len(data.val), len(data.test), data.dim, data.t0) == (20, 200, 50, 2, 0.0)
    assert data.train.values.shape == (20, 100, 2)
    assert not data.train.is_horizon.any()
    assert data.test.times.shape == (200,)
    assert not data.test.is_horizon[:, :100].any()
    assert data.test.is_horizon[:, 100:].all()
    steps = data.test.times.double().diff()
    torch.testing.assert_close(steps, steps.mean().expand(199), rtol=0, atol=1e-6)


@BOTH
def test_half_of_a_split_turns_either_way(make: Make) -> None:
    series = small(make).test
    direction = series.direction
    assert direction is not None
    assert int(direction.sum()) == 0
    centre = torch.zeros(50, 1, 2)
    if make is spirals_example:
        centre[..., 0] = 5.0 * direction[:, None]
    assert torch.equal(turn(clean(series) - centre).sign(), direction.float())


@BOTH
def test_noise_is_gaussian_of_the_size_that_is_said(make: Make) -> None:
    data = small(make, noise=0.2)
    assert data.noise_std == 0.2
    errors = data.test.values - clean(data.test)
    assert float(errors.std()) == pytest.approx(0.2, rel=0.03)
    assert abs(float(errors.mean())) < 0.01
    without = small(make, noise=0)
    assert without.noise_std is None
    assert torch.equal(without.test.values, clean(without.test))


@BOTH
def test_data_are_the_same_every_time_and_splits_do_not_depend_on_each_other(make: Make) -> None:
    first, second = small(make), small(make, num_train=6)
    assert torch.equal(first.test.values, second.test.values)
    assert torch.equal(first.test.observed, second.test.observed)
    assert not torch.equal(first.train.values, first.test.values[:20, :100])


@BOTH
def test_fewer_observations_are_some_of_more_in_the_same_series(make: Make) -> None:
    few, many = small(make, num_observed=30).test, small(make, num_observed=50).test
    assert torch.equal(few.values, many.values)
    assert (few.observed.any(2).sum(1) == 30).all()
    assert (many.observed.any(2).sum(1) == 50).all()
    assert not (few.observed & ~many.observed).any()
    assert torch.equal(few.observed[..., 0], few.observed[..., 1])


@BOTH
@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"num_observed": 101}, r"`data\.num_observed` is 101, and a series has data\.num_points=100"),
        ({"num_observed": 1}, r"`data\.num_observed` is 1; allowed: whole numbers from 2"),
        ({"horizon": 0}, r"`data\.horizon` is 0; allowed: whole numbers from 1"),
        ({"num_train": 0}, r"`data\.num_train` is 0"),
        ({"noise": -0.1}, r"`data\.noise` is -0\.1"),
        ({"batch_size": 0}, r"`data\.batch_size` is 0"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(
    make: Make, keys: dict[str, object], sentence: str
) -> None:
    with pytest.raises(DataError, match=sentence):
        make(**keys)


def test_spirals_wind_inwards_around_the_origin_by_rho_a_radian() -> None:
    series = small(spirals, rho=0.2, omega=2.0, min_radius=1.0, max_radius=3.0).test
    radius = clean(series).norm(dim=2)
    assert (radius[:, 0] > 1.0).all()
    assert (radius[:, 0] < 3.0).all()
    torch.testing.assert_close(radius, radius[:, :1] * torch.exp(-0.2 * series.times))
    # A turn of the window, less its last step.
    torch.testing.assert_close(turn(clean(series)[:, :100]).abs(), torch.full((50,), 2 * math.pi * 0.99))


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"rho": 0}, r"`data\.rho` is 0; allowed: finite numbers above 0"),
        ({"omega": -1}, r"`data\.omega` is -1"),
        ({"min_radius": 3}, r"`data\.max_radius` is 2\.5, below data\.min_radius=3"),
    ],
)
def test_a_shape_out_of_range_is_refused_by_name(keys: dict[str, float], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        spirals(**keys)  # type: ignore[arg-type]


def test_the_curves_of_the_example_are_those_of_torchdiffeq_on_its_grid() -> None:
    """generate_spiral2d of examples/latent_ode.py with a=0, b=0.3, in its own words."""
    ts = torch.linspace(0, 6 * math.pi, 500, dtype=torch.float64)
    zs_cw = 6 * math.pi + 1.0 - ts
    rs_cw = 0.3 * 50.0 / zs_cw
    clockwise = torch.stack([rs_cw * torch.cos(zs_cw) - 5.0, rs_cw * torch.sin(zs_cw)], dim=1)
    rw_cc = 0.3 * ts
    counter = torch.stack([rw_cc * torch.cos(ts) + 5.0, rw_cc * torch.sin(ts)], dim=1)
    both = example_spiral(ts.expand(2, -1), torch.tensor([[-1], [1]]))
    torch.testing.assert_close(both, torch.stack([clockwise, counter]))


def test_pieces_of_the_example_start_where_torchdiffeqs_do_and_clockwise_ones_end_before_6_pi() -> None:
    series = spirals_example(num_train=1, num_test=2000, horizon=100).test
    assert series.direction is not None
    step = 6 * math.pi / 499
    for direction, last_start in ((1, 399), (-1, 299)):
        own = clean(series)[series.direction == direction].double()
        own[..., 0] -= 5.0 * direction
        radius = own.norm(dim=2)
        s = radius / 0.3 if direction == 1 else 6 * math.pi + 1 - 15 / radius
        start = s[:, 0] / step
        torch.testing.assert_close(start, start.round(), rtol=0, atol=1e-3)
        assert (round(float(start.min())), round(float(start.max()))) == (100, last_start)
        torch.testing.assert_close(s - s[:, :1], series.times.double().expand_as(s), rtol=0, atol=1e-4)
        if direction == -1:
            assert float(s.max()) < 6 * math.pi


def test_an_example_without_room_before_the_singularity_is_refused() -> None:
    spirals_example(horizon=299, num_train=2, num_test=2).check()
    with pytest.raises(DataError, match=r"are 100 and 300; allowed: at most 399 together"):
        spirals_example(horizon=300)
