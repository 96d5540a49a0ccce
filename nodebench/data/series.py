"""A user's own irregular time series, from a .csv or .npz file.

Every series may have times of its own, lack coordinates and be of another length. Nothing is standardised, so that
errors are in the units of the file; what looks odd is said (`oddities`). Which series are held out, and which of their
observations are not given, follow fixed seeds, whatever the run's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from nodebench.counted import counted
from nodebench.data.checks import check_batch_size, check_count, check_finite_or_null, check_number
from nodebench.data.errors import DataError
from nodebench.data.oddities import oddities_of_series
from nodebench.data.series_files import OneSeries, SeriesFile, read_series
from nodebench.data.splits import split_by_shares
from nodebench.data.tables import file_at
from nodebench.data.trajectories import SeriesSet, Trajectories

LEAST_OBSERVED = 2  # one to read, and one to predict
_OBSERVED_SEED = 1


def series(
    path: str,
    num_observed: int | None = None,
    window_end: float | None = None,
    time_scale: float = 1.0,
    val_share: float = 0.1,
    test_share: float = 0.1,
    batch_size: int = 256,
) -> Trajectories:
    """The series in the file at `path`, a share of them held out for validation and another for the test.

    path: a .csv with a header id,time,x1,x2 and so on, the rows of an id together and in the order of time, an empty
    cell where nothing was observed; or an .npz with values (N, T, D), NaN where nothing was observed, times (T,) or
    (N, T) and, if they differ, lengths (N,).
    num_observed: how many times of a series a net is given, chosen at random; None or more than it has: all of them.
    window_end: the last time that belongs to the window, in the units of the file; what comes later is to be
    extrapolated and is in no training series. None: nothing is.
    time_scale: what all times are divided by.

    Raises DataError, naming the file and, where there is one, the row and column.
    """
    file = file_at(path, ".csv", ".npz")
    check_batch_size(batch_size)
    check_number("time_scale", time_scale, above=0.0)
    if num_observed is not None:
        check_count("num_observed", num_observed, at_least=LEAST_OBSERVED)
    check_finite_or_null("window_end", window_end)
    found = read_series(file, time_scale)
    end = math.inf if window_end is None else window_end / time_scale
    observed = _choose(file, found, num_observed, window_end, end)
    splits = {}
    for split, rows in split_by_shares(len(found.series), "series", val_share, test_share, path).items():
        chosen = [found.series[row] for row in rows.tolist()]
        splits[split] = _padded(chosen, [observed[row] for row in rows.tolist()], end, split == "train")
    test = splits["test"]
    if window_end is not None and not (test.is_horizon[..., None] & test.is_there).any():
        raise DataError(
            f"{path} has no value after data.window_end={window_end:g} in its {counted(len(test), 'test series')}; "
            "lower data.window_end, or raise data.test_share"
        )
    notes = _notes(found, time_scale, test)
    return Trajectories("series", splits["train"], splits["val"], test, batch_size, notes=notes)


def _choose(
    file: Path, found: SeriesFile, num_observed: int | None, window_end: float | None, end: float
) -> list[np.ndarray]:
    """Of each series which of its times (n,) are observed: num_observed of those up to `end` that have a value.

    A smaller number chooses some of the times of a larger one. Raises DataError for a series with fewer than two.
    """
    chance = torch.Generator().manual_seed(_OBSERVED_SEED)
    chosen = []
    for series in found.series:
        there = np.flatnonzero(~np.isnan(series.values).all(1) & (series.times <= np.float32(end)))
        if len(there) < LEAST_OBSERVED:
            until = "" if window_end is None else f" up to data.window_end={window_end:g}"
            raise DataError(
                f"{file}: {series.name} has {counted(len(there), 'observation')}{until}; allowed: {LEAST_OBSERVED} or "
                "more, one to read and one to predict"
            )
        is_observed = np.zeros(len(series.times), dtype=bool)
        is_observed[there[torch.randperm(len(there), generator=chance)[:num_observed]]] = True
        chosen.append(is_observed)
    return chosen


def _padded(
    found: Sequence[OneSeries], observed: Sequence[np.ndarray], end: float, is_train: bool
) -> SeriesSet:
    """The series side by side, shorter ones with their last time repeated; without what comes after `end` to train on.

    Times are (T,) if they are the same for all.
    """
    if is_train:
        inside = [series.times <= np.float32(end) for series in found]
        observed = [own[kept] for own, kept in zip(observed, inside, strict=True)]
        found = [
            OneSeries(series.name, series.times[kept], series.values[kept])
            for series, kept in zip(found, inside, strict=True)
        ]
    shape = len(found), max(len(series.times) for series in found), found[0].values.shape[1]
    times, values = np.zeros(shape[:2], np.float32), np.full(shape, np.nan, np.float32)
    is_observed = np.zeros(shape[:2], dtype=bool)
    for row, (series, own) in enumerate(zip(found, observed, strict=True)):
        length = len(series.times)
        times[row, :length], times[row, length:] = series.times, series.times[-1]
        values[row, :length], is_observed[row, :length] = series.values, own
    is_there = ~np.isnan(values)
    is_horizon = times > np.float32(end)
    is_shared = all(np.array_equal(series.times, found[0].times) for series in found)
    return SeriesSet(
        times=torch.from_numpy(times[0] if is_shared else times),
        values=torch.from_numpy(np.nan_to_num(values)),
        is_there=torch.from_numpy(is_there),
        observed=torch.from_numpy(is_there & is_observed[..., None]),
        is_horizon=torch.from_numpy(is_horizon),
    )


def _notes(found: SeriesFile, time_scale: float, test: SeriesSet) -> tuple[str, ...]:
    times = np.concatenate([series.times for series in found.series])
    values = np.concatenate([series.values for series in found.series])
    notes = list(oddities_of_series(times, values, found.coordinates, time_scale))
    if torch.equal(test.observed, test.is_there):
        notes.append(
            "all values are given, so a test has no error of a prediction to tell; data.window_end keeps later ones "
            "back, to be extrapolated, and data.num_observed some in between"
        )
    return tuple(notes)
