"""Reads pictures.npz, what a run left to be drawn: its arrays, and the pictures of a flow."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FILE = "pictures.npz"


class DamagedPicturesError(ValueError):
    """A pictures.npz that is missing, cut off, or not what a run writes."""


_DAMAGE = (OSError, EOFError, ValueError, TypeError, KeyError, MemoryError, zipfile.BadZipFile, zlib.error)
HALF_A_FRAME = 0.026  # of the 20 that a run records


@contextmanager
def naming_damage(path: Path) -> Iterator[None]:
    """Within, whatever goes wrong in reading a pictures.npz is a DamagedPicturesError that names it."""
    try:
        yield
    except DamagedPicturesError:
        raise
    except FileNotFoundError:
        raise DamagedPicturesError(f"{path} is missing") from None
    except _DAMAGE as error:
        raise DamagedPicturesError(
            f"{path} is cut off or holds other things than a run writes; "
            "train the run again with training.force=true"
        ) from error


def read_arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays called `names` in a pictures.npz, of numbers. Raises DamagedPicturesError, which names the file."""
    with naming_damage(path), open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
        arrays = {name: file[name] for name in names}
        if unfit := [name for name, array in arrays.items() if array.dtype.kind not in "biuf"]:
            raise TypeError(f"{unfit[0]} is no array of numbers")
        return arrays


@dataclass(frozen=True)
class Pictures:
    """A flow on the square (-window, window)^2: F shares of its time, on G x G cells.

    fractions (F,) increases to 1; density (F, G, G) is q at the cells' centres and samples (F, G, G) counts
    samples in the cells; target (G, G) is the target density. The last two axes are (z2, z1).
    """

    window: float
    fractions: np.ndarray
    density: np.ndarray
    samples: np.ndarray
    target: np.ndarray

    def at(self, fraction: float) -> int:
        """The index of the share of time nearest to `fraction`."""
        return int(np.abs(self.fractions - fraction).argmin())

    def has(self, fraction: float) -> bool:
        """Whether a share of time that looks like `fraction` was recorded."""
        return bool(abs(self.fractions[self.at(fraction)] - fraction) < HALF_A_FRAME)


def read_pictures(run: Path) -> Pictures:
    """The pictures in a run folder. Raises DamagedPicturesError, which names the file."""
    path = run / FILE
    arrays = read_arrays(path, ("window", "fractions", "density", "samples", "target"))
    with naming_damage(path):
        window = float(arrays.pop("window"))
    pictures = Pictures(window, **{name: array.astype(float) for name, array in arrays.items()})
    _check(pictures, path)
    return pictures


def _check(pictures: Pictures, path: Path) -> None:
    fractions, grid = pictures.fractions, pictures.target.shape
    shape = (*fractions.shape, *grid)
    if (
        fractions.ndim != 1
        or len(grid) != 2
        or 0 in shape
        or not pictures.density.shape == pictures.samples.shape == shape
        or not pictures.window > 0
    ):
        raise DamagedPicturesError(
            f"{path} holds density {pictures.density.shape}, samples {pictures.samples.shape}, target {grid}, "
            f"fractions {fractions.shape}, window {pictures.window}; a run writes (F, G, G), (F, G, G), (G, G), "
            "(F,) and a half-width > 0"
        )
