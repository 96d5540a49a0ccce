"""Reads what a run of time series left to be drawn: test series with their predictions, and latent trajectories."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from nodebench.reporting.pictures import FILE, DamagedPicturesError, read_arrays

CLOCKWISE, COUNTER_CLOCKWISE = -1, 1
NEGLIGIBLE = 0.01


@dataclass(frozen=True)
class SeriesPictures:
    """K test series of T times in the plane, each with a horizon.

    times (K, T); clean, values and prediction (K, T, 2), NaN where a model predicts nothing; observed and
    is_horizon (K, T), bool; direction (K,), CLOCKWISE, COUNTER_CLOCKWISE or 0 where it is not known.
    """

    times: np.ndarray
    clean: np.ndarray
    values: np.ndarray
    observed: np.ndarray
    is_horizon: np.ndarray
    direction: np.ndarray
    prediction: np.ndarray

    def first(self, direction: int) -> int | None:
        """The first series that turns this way; None where there is none."""
        found = np.flatnonzero(self.direction == direction)
        return int(found[0]) if len(found) else None

    @property
    def true_radius_ratio(self) -> float:
        """How the distance of the noiseless series from 0 changes over the horizon: median of end over beginning."""
        radius = np.linalg.norm(self.clean, axis=2)
        ratios = [
            each[there][-1] / each[there][0] for each, there in zip(radius, self.is_horizon, strict=True)
        ]
        return float(np.median(ratios))


@dataclass(frozen=True)
class LatentPictures:
    """What a latent ODE left of its latent space of L dimensions.

    latent (M, T, L): trajectories of M test series from the means of their posteriors; direction (M,) as of
    SeriesPictures. traversal (L, V, T, 2): decoded at `times` (T,), while one dimension of z(t0) has each of `values`
    (V,) and the others are 0.
    """

    latent: np.ndarray
    direction: np.ndarray
    traversal: np.ndarray
    values: np.ndarray
    times: np.ndarray

    @property
    def clearest_pair(self) -> tuple[int, int, float]:
        """The two dimensions in which a straight line tells the directions apart best, and the share it gets right.

        The shares are of all points of all trajectories, and the line is the least-squares one; of equals the first.
        """
        told = {pair: self._told_apart(pair) for pair in combinations(range(self.latent.shape[2]), 2)}
        best = max(told, key=lambda pair: told[pair])
        return *best, told[best]

    def _told_apart(self, pair: tuple[int, int]) -> float:
        points = self.latent[..., pair].reshape(-1, 2).astype(float)
        wanted = np.repeat(self.direction, self.latent.shape[1]).astype(float)
        features = np.column_stack([points, np.ones(len(points))])
        told = features @ np.linalg.lstsq(features, wanted, rcond=None)[0]
        return float(np.mean(np.sign(told) == wanted))

    @property
    def signed_areas(self) -> np.ndarray:
        """Of every decoded trajectory, closed by its chord, (L, V): positive for one that turns counter-clockwise."""
        x, y = self.traversal[..., 0], self.traversal[..., 1]
        x_next, y_next = np.roll(x, -1, axis=-1), np.roll(y, -1, axis=-1)
        areas: np.ndarray = 0.5 * (x * y_next - x_next * y).sum(-1)
        return areas

    @property
    def sign_changes(self) -> np.ndarray:
        """How often the signed area changes its sign along each dimension, (L,).

        Areas below NEGLIGIBLE of the largest have no sign: of a dimension that does nothing, they are noise.
        """
        areas = self.signed_areas
        signs = np.sign(np.where(np.abs(areas) < NEGLIGIBLE * np.abs(areas).max(), 0.0, areas))
        return np.array([np.count_nonzero(np.diff(row[row != 0])) for row in signs])


def read_series_pictures(run: Path) -> SeriesPictures:
    """The series in a run folder's pictures.npz. Raises DamagedPicturesError, which names the file."""
    path = run / FILE
    arrays = read_arrays(path, tuple(SeriesPictures.__annotations__))
    shape, grid = arrays["prediction"].shape, arrays["times"].shape
    wanted = {name: shape if name in ("clean", "values", "prediction") else shape[:2] for name in arrays}
    wanted["direction"] = shape[:1]
    _check(path, arrays, wanted, len(shape) == 3 and len(grid) == 2 and 0 not in shape)
    masks = {name: arrays[name].astype(bool) for name in ("observed", "is_horizon")}
    if shape[2] != 2 or not masks["is_horizon"].any(1).all() or not np.isfinite(arrays["clean"]).all():
        raise DamagedPicturesError(f"{path} holds no series in the plane with a horizon and known values")
    return SeriesPictures(**{**arrays, **masks})


def read_latent_pictures(run: Path) -> LatentPictures:
    """The latent space in a run folder's pictures.npz. Raises DamagedPicturesError, which names the file."""
    path = run / FILE
    names = ("latent", "latent_direction", "traversal", "traversal_values", "traversal_times")
    arrays = read_arrays(path, names)
    latent, traversal = arrays["latent"].shape, arrays["traversal"].shape
    wanted = {
        "latent_direction": latent[:1],
        "traversal_values": traversal[1:2],
        "traversal_times": traversal[2:3],
    }
    fits = len(latent) == 3 and len(traversal) == 4 and latent[2:] == traversal[:1] and latent[2:] > (1,)
    fits = fits and traversal[3] == 2 and 0 not in (*latent, *traversal)
    _check(path, arrays, wanted, fits)
    return LatentPictures(*(arrays[name] for name in names))


def _check(path: Path, arrays: dict[str, np.ndarray], wanted: dict[str, tuple[int, ...]], fits: bool) -> None:
    if not fits or any(arrays[name].shape != shape for name, shape in wanted.items()):
        found = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise DamagedPicturesError(
            f"{path} holds {found}, which do not belong together; train the run again with training.force=true"
        )
