"""A user's own series: what a net is given of them, what is asked, how they are split, and what is said about them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from nodebench.data import DataError, SeriesSet, Trajectories
from nodebench.data.series import series

NAN = np.nan


def ragged(folder: Path, count: int = 20) -> str:
    """A .csv of series s0, s1 ...: series i has 4 + i % 3 times k + i / 100, x1 = i, and x2 = k but at time 1."""
    lines = ["id,time,x1,x2"]
    for i in range(count):
        lines += [f"s{i},{k + i / 100},{i},{'' if k == 1 else k}" for k in range(4 + i % 3)]
    (folder / "mine.csv").write_text("\n".join(lines))
    return str(folder / "mine.csv")


def gridded(folder: Path, num_series: int = 20, num_times: int = 12, **more: np.ndarray) -> str:
    values = np.random.default_rng(0).normal(size=(num_series, num_times, 1))
    np.savez(folder / "mine.npz", **{"values": values, "times": np.arange(num_times), **more})  # type: ignore[arg-type]
    return str(folder / "mine.npz")


def which(part: SeriesSet) -> list[int]:
    """The numbers of the series in a split of `ragged`."""
    return [round(x) for x in part.values[:, 0, 0].tolist()]


def num_seen(part: SeriesSet) -> list[int]:
    return part.observed.any(2).sum(1).tolist()


def test_a_ragged_csv_is_the_same_as_a_set_of_series(tmp_path: Path) -> None:
    data = series(ragged(tmp_path))
    data.check()
    assert (data.name, data.dim, data.noise_std, data.t0) == ("series", 2, None, 0.0)
    assert data.test.clean is None
    assert data.test.direction is None
    for part in data.splits.values():
        for row, i in enumerate(which(part)):
            length = 4 + i % 3
            times = [k + i / 100 for k in range(length)]
            padded = times + [times[-1]] * (part.own_times.shape[1] - length)
            assert part.own_times[row].tolist() == pytest.approx(padded)
            is_there = torch.zeros(part.values.shape[1:], dtype=torch.bool)
            is_there[:length] = True
            is_there[1, 1] = False
            assert torch.equal(part.is_there[row], is_there)
            assert torch.equal(part.observed[row], is_there)
            column = torch.arange(len(padded)).float()
            expected = torch.stack([torch.full_like(column, i), column], dim=1) * is_there
            assert torch.equal(part.values[row], expected)
        readings = part.readings()
        assert readings.lengths.tolist() == [4 + i % 3 for i in which(part)]
        assert not part.is_horizon.any()


def test_the_splits_share_no_series_and_hold_all_of_them_together(tmp_path: Path) -> None:
    data = series(ragged(tmp_path), val_share=0.2, test_share=0.3)
    assert data.val is not None
    parts = [which(data.train), which(data.val), which(data.test)]
    assert [len(part) for part in parts] == [10, 4, 6]
    assert sorted([*parts[0], *parts[1], *parts[2]]) == list(range(20))
    assert parts[2] != sorted(parts[2])


def test_a_split_is_the_same_every_time(tmp_path: Path) -> None:
    first = series(ragged(tmp_path), num_observed=2)
    torch.manual_seed(3)
    second = series(ragged(tmp_path), num_observed=2)
    assert torch.equal(first.test.values, second.test.values)
    assert torch.equal(first.train.observed, second.train.observed)


def test_times_that_all_series_share_are_one_grid(tmp_path: Path) -> None:
    data = series(gridded(tmp_path))
    assert all(part.times.shape == (12,) for part in data.splits.values())
    assert series(ragged(tmp_path)).train.times.dim() == 2
    lengths = np.full(20, 12)
    lengths[::2] = 11
    assert series(gridded(tmp_path, lengths=lengths)).train.times.dim() == 2


def test_what_comes_after_the_window_is_asked_in_a_test_and_in_no_training_series(tmp_path: Path) -> None:
    data = series(gridded(tmp_path), window_end=7, time_scale=10)
    data.check()
    assert data.train.times.tolist() == pytest.approx([k / 10 for k in range(8)])
    assert not data.train.is_horizon.any()
    assert data.test.times.tolist() == pytest.approx([k / 10 for k in range(12)])
    assert torch.equal(data.test.is_horizon, (torch.arange(12) > 7).expand(2, -1))
    assert num_seen(data.test) == [8, 8]


def test_a_window_may_end_at_a_time_that_float32_rounds(tmp_path: Path) -> None:
    data = series(gridded(tmp_path, times=np.arange(12) / 10), window_end=0.7)
    assert data.train.times.shape == (8,)


def test_windows_of_ragged_series_end_where_they_should(tmp_path: Path) -> None:
    data = series(ragged(tmp_path), window_end=3.1)
    data.check()
    for part in data.splits.values():
        inside = part.own_times <= 3.1
        assert torch.equal(part.is_horizon, ~inside)
        assert torch.equal(part.observed, part.is_there & inside[..., None])
    assert data.train.own_times.max() <= 3.1


@pytest.mark.parametrize("num_observed", [2, 5, 8, 100])
def test_so_many_times_are_observed_or_all_that_there_are(tmp_path: Path, num_observed: int) -> None:
    data = series(gridded(tmp_path), num_observed=num_observed, window_end=7)
    for part in data.splits.values():
        assert num_seen(part) == [min(num_observed, 8)] * len(part)
    more = series(gridded(tmp_path), num_observed=num_observed + 1, window_end=7)
    assert not (data.test.observed & ~more.test.observed).any()


def test_times_without_a_value_are_kept_and_count_as_no_observation(tmp_path: Path) -> None:
    values = np.ones((10, 4, 1))
    values[:, 2] = NAN
    data = series(gridded(tmp_path, 10, values=values, times=np.arange(4)), num_observed=3)
    assert data.test.values.shape == (1, 4, 1)
    assert data.test.observed[0, :, 0].tolist() == [True, True, False, True]


@pytest.mark.parametrize(
    ("text", "keys", "sentence"),
    [
        (
            "a,0,1\nb,0,1\nb,1,1\n",
            {},
            r"mine\.csv: id 'a' \(from row 2\) has 1 observation; allowed: 2 or more, one to read",
        ),
        ("a,0,1\na,1,\nb,0,1\nb,1,1\n", {}, r"id 'a' \(from row 2\) has 1 observation; allowed: 2 or more"),
        (
            "a,0,1\na,9,1\n",
            {"window_end": 5},
            r"id 'a' \(from row 2\) has 1 observation up to data\.window_end=5; allowed",
        ),
        (
            "a,0,1\na,1,1\nb,0,1\nb,1,1\n",
            {},
            r"mine\.csv has 2 series; 1 for validation and 1 for the test leave",
        ),
        (
            "a,0,1\na,1,1\nb,0,1\nb,1,1\nc,0,1\nc,1,1\n",
            {"window_end": 5},
            r"has no value after data\.window_end=5 in its 1 test series; lower data\.window_end",
        ),
    ],
)
def test_files_of_which_no_test_can_be_made_are_refused(
    tmp_path: Path, text: str, keys: dict[str, float], sentence: str
) -> None:
    (tmp_path / "mine.csv").write_text(f"id,time,x\n{text}")
    with pytest.raises(DataError, match=sentence):
        series(str(tmp_path / "mine.csv"), **keys)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"num_observed": 1}, r"`data\.num_observed` is 1; allowed: whole numbers from 2"),
        ({"window_end": NAN}, r"`data\.window_end` is nan; allowed: finite numbers, or null"),
        ({"time_scale": 0}, r"`data\.time_scale` is 0; allowed: finite numbers above 0"),
        ({"test_share": 1}, r"`data\.test_share` is 1; allowed: numbers above 0 and below 1"),
        (
            {"val_share": 0.6, "test_share": 0.4},
            "12 for validation and 8 for the test leave none to train on",
        ),
        ({"batch_size": 0}, r"`data\.batch_size` is 0"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(
    tmp_path: Path, keys: dict[str, float], sentence: str
) -> None:
    with pytest.raises(DataError, match=sentence):
        series(ragged(tmp_path), **keys)  # type: ignore[arg-type]


def test_a_file_of_another_kind_is_refused() -> None:
    with pytest.raises(
        DataError, match=r"`data\.path` is mine\.npy; allowed: files that end in \.csv or \.npz"
    ):
        series("mine.npy")


def with_window(folder: Path, **arrays: np.ndarray) -> Trajectories:
    path = gridded(folder, **arrays)
    return series(path, window_end=float(np.load(path)["times"].reshape(-1)[-2]))


def test_ordinary_series_are_taken_without_a_word(tmp_path: Path) -> None:
    assert with_window(tmp_path).notes == ()


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (
            {"times": 50.0 * np.arange(12)},
            r"times go from 0 to 550, which is long .*; data\.time_scale=55 divides them so that they span about 10",
        ),
        (
            {"values": 300 + np.random.default_rng(0).normal(size=(20, 12, 2))},
            r"coordinate 0 \(counting from 0\) \(and 1 more\) has mean 300 .*, and a net starts from 0 and 1",
        ),
        (
            {"values": np.random.default_rng(0).normal(size=(20, 12, 2)) * [1, 0] + [0, 3]},
            r"coordinate 1 \(counting from 0\) is 3 at every time; drop it",
        ),
        (
            {
                "values": np.where(
                    np.arange(480).reshape(20, 12, 2) == 7, NAN, np.random.default_rng(0).normal()
                )
            },
            "some observations lack a coordinate, .* model.mask_input=true",
        ),
    ],
)
def test_what_is_odd_is_said(tmp_path: Path, arrays: dict[str, np.ndarray], words: str) -> None:
    notes = with_window(tmp_path, **arrays).notes
    assert any(re.search(words, note) for note in notes), notes


def test_a_scale_of_time_that_was_advised_is_enough(tmp_path: Path) -> None:
    path = gridded(tmp_path, times=500.0 * np.arange(12))
    (note,) = series(path, num_observed=3, time_scale=10).notes
    assert "data.time_scale=550 divides" in note
    assert series(path, num_observed=3, time_scale=550).notes == ()


def test_a_test_that_asks_for_nothing_is_said_to(tmp_path: Path) -> None:
    (note,) = series(gridded(tmp_path)).notes
    assert note.startswith("all values are given, so a test has no error of a prediction to tell")
    assert series(gridded(tmp_path), num_observed=3).notes == ()
