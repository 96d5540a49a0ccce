"""Reads what a run of a point process left to be drawn: a few test sequences with their rates."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nodebench.reporting.pictures import FILE, DamagedPicturesError, read_arrays


@dataclass(frozen=True)
class RatePictures:
    """K test sequences over a grid of G times.

    events (K, n), NaN behind a sequence's last one; grid (G,); rate and rate_true (K, G), learned and true, the latter
    NaN where it is not known; rate_constant is the mean rate of the training events.
    """

    events: np.ndarray
    grid: np.ndarray
    rate: np.ndarray
    rate_true: np.ndarray
    rate_constant: float


def read_rate_pictures(run: Path) -> RatePictures:
    """The sequences in a run folder's pictures.npz. Raises DamagedPicturesError, which names the file."""
    path = run / FILE
    arrays = read_arrays(path, ("events", "grid", "rate", "rate_true", "rate_constant"))
    events, rate = arrays["events"].shape, arrays["rate"].shape
    fits = len(events) == 2 and rate == (events[0], *arrays["grid"].shape) and 0 not in rate
    if not fits or arrays["rate_true"].shape != rate or arrays["rate_constant"].shape != ():
        found = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise DamagedPicturesError(
            f"{path} holds {found}, which do not belong together; train the run again with training.force=true"
        )
    constant = float(arrays.pop("rate_constant"))
    return RatePictures(**arrays, rate_constant=constant)
