from __future__ import annotations

import math

import pytest
import torch

from nodebench.data import DataError, SeriesSet, Trajectories
from nodebench.data.periodic import periodic

BOTH = pytest.mark.parametrize("variant", ["text", "code"])


def small(variant: str, **keys: float) -> Trajectories:
    return periodic(variant, **{"num_train": 30, "num_test": 400, **keys})  # type: ignore[arg-type]


def fitted(series: SeriesSet, lowest: float, highest: float) -> torch.Tensor:
    """Of each series the frequency of the sine that fits its clean values best, among many: (N,)."""
    assert series.clean is not None
    clean = series.clean[..., 0].double() - series.clean[:, :1, 0].double()
    frequency = torch.linspace(lowest, highest, 401, dtype=torch.float64)
    sines = torch.sin(2 * math.pi * frequency[:, None, None] * series.own_times.double())
    return frequency[(sines - clean).square().mean(2).argmin(0)]


@BOTH
def test_a_window_is_seen_and_what_follows_is_to_be_extrapolated(variant: str) -> None:
    data = small(variant)
    data.check()
    assert (len(data.train), len(data.test), data.dim, data.t0) == (30, 400, 1, 0.0)
    assert data.val is not None
    assert len(data.val) == 100
    assert data.train.values.shape == (30, 50, 1)
    assert not data.train.is_horizon.any()
    times = data.test.own_times
    assert times.shape == (400, 100)
    assert torch.equal(times > 2.5, data.test.is_horizon)
    assert (data.test.is_horizon.sum(1) == 50).all()
    assert float(times.max()) < 5
    assert (data.test.observed.sum((1, 2)) == 20).all()
    assert small(variant, horizon_end=10.0).test.own_times.shape == (400, 200)


@BOTH
def test_times_increase_strictly_and_are_uniform(variant: str) -> None:
    times = small(variant, num_points=1000, num_observed=20).train.own_times
    assert (times[:, 0] == 0).all()
    assert (times.diff(dim=1) > 0).all()
    counts = torch.histc(times, bins=5, min=0, max=2.5) / times.numel()
    assert counts.sub(0.2).abs().max() < 0.05


@BOTH
def test_clean_values_are_sines_of_one_amplitude_and_frequencies_in_the_range(variant: str) -> None:
    series = small(variant).test
    assert series.clean is not None
    frequency = fitted(series, 0.3, 0.9)
    assert 0.39 < frequency.min() < 0.42
    assert 0.78 < frequency.max() < 0.81
    curve = torch.sin(2 * math.pi * frequency[:, None] * series.own_times)
    torch.testing.assert_close(
        series.clean[..., 0] - series.clean[:, :1, 0], curve.float(), atol=0.05, rtol=0.0
    )


def test_the_text_has_own_times_gaussian_noise_and_standard_normal_offsets() -> None:
    data = small("text", noise=0.5)
    assert data.noise_std == 0.5
    assert data.test.times.shape == (400, 100)
    assert not torch.equal(data.test.times[0], data.test.times[1])
    assert data.test.clean is not None
    errors = data.test.values - data.test.clean
    assert float(errors.std()) == pytest.approx(0.5, rel=0.03)
    assert abs(float(errors.mean())) < 0.02
    offset = data.test.clean[:, 0, 0]
    assert float(offset.std()) == pytest.approx(1, rel=0.15)
    assert abs(float(offset.mean())) < 0.2


def test_the_code_has_one_set_of_times_uniform_noise_and_offsets_near_1() -> None:
    data = small("code", noise=0.5)
    assert data.test.times.shape == (100,)
    assert torch.equal(data.train.times, data.test.times[:50])
    assert data.test.clean is not None
    errors = (data.test.values - data.test.clean)[..., 0]
    assert (errors[:, 0] == 0).all()
    assert -1e-6 < float(errors.min()) < 0.001
    assert 0.499 < float(errors.max()) <= 0.5 + 1e-6
    assert data.noise_std == pytest.approx(float(errors[:, 1:].std()), rel=0.02)
    offset = data.test.clean[:, 0, 0]
    assert float(offset.std()) == pytest.approx(0.1, rel=0.15)
    assert float(offset.mean()) == pytest.approx(1, abs=0.02)


@BOTH
def test_data_are_the_same_every_time_and_splits_do_not_depend_on_each_other(variant: str) -> None:
    first, second = small(variant), small(variant, num_train=7)
    torch.testing.assert_close(first.test.values, second.test.values, rtol=0, atol=0)
    assert not torch.equal(first.train.values[:7], first.test.values[:7, :50])


@BOTH
def test_fewer_observations_are_some_of_more(variant: str) -> None:
    few, many = small(variant, num_observed=10).test, small(variant, num_observed=30).test
    assert torch.equal(few.values, many.values)
    assert not (few.observed & ~many.observed).any()


def test_without_noise_there_is_no_standard_deviation_of_it() -> None:
    data = small("code", noise=0)
    assert data.noise_std is None
    assert data.test.clean is not None
    assert torch.equal(data.test.values, data.test.clean)


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"variant": "paper"}, r"`data\.variant` is 'paper'; allowed: text, code"),
        ({"horizon_end": 2.5}, r"`data\.horizon_end` is 2\.5; allowed: finite numbers above 2\.5"),
        (
            {"horizon_end": 2.501},
            r"`data\.horizon_end` is 2\.501, so close to 2\.5 that no point lies between",
        ),
        ({"horizon_end": 11}, r"`data\.horizon_end` is 11; allowed: numbers up to 10"),
        ({"num_observed": 51}, r"`data\.num_observed` is 51, and a series has data\.num_points=50"),
        ({"noise": -1}, r"`data\.noise` is -1"),
        ({"num_test": 0}, r"`data\.num_test` is 0"),
        ({"batch_size": 0}, r"`data\.batch_size` is 0"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(keys: dict[str, object], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        periodic(**keys)  # type: ignore[arg-type]
