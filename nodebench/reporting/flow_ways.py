"""How a flow gets from noise to data, in numbers: what a reader of Figure 5 sees of its way.

The pictures divide the plane into the cells of a square and all that lies outside of it. Between two distributions over
these, total variation is half the sum of differences: 0 for the same, 1 for nothing in common. It knows no distance: a
distribution moved as a whole by more than its width has nothing in common with the one before.
"""

from __future__ import annotations

import numpy as np

from nodebench.reporting.pictures import Pictures

WAY_COLUMNS = ("tv_step", "tv_two_steps", "steps_away", "mass_least")
TURN_COLUMNS = ("turn_deg", "uneven_most", "uneven_end")
UNEVEN = 0.1  # below it a ring has no direction to speak of


def way_columns(pictures: Pictures) -> dict[str, float]:
    """Of the density at successive shares of time:

    - tv_step, tv_two_steps: the largest total variation between neighbours, and between every second one: a way without
      jumps takes about half as much at half the spacing;
    - steps_away: at how many of them the density comes no nearer to the one at the end;
    - mass_least: the least share of the mass inside the square.

    Empty where a density is not known or there are fewer than three.
    """
    shares = _cells(pictures)
    if len(shares) < 3 or not np.isfinite(shares).all():
        return {}
    left = _total_variation(shares, shares[-1])
    return {
        "tv_step": float(_total_variation(shares[1:], shares[:-1]).max()),
        "tv_two_steps": float(_total_variation(shares[2:], shares[:-2]).max()),
        "steps_away": float((np.diff(left) >= 0).sum()),
        "mass_least": float(1 - shares[:, -1].max()),
    }


def turn_columns(pictures: Pictures, radius: float) -> dict[str, float]:
    """Of the mass within `radius` of the centre, by its second circular moment E[exp(2i angle)]:

    - uneven_most, uneven_end: the largest modulus on the way and the one at the end: 0 for a mass that is the same in
      all directions, 1 for one on a line through the centre;
    - turn_deg: by how much its long axis turns, in degrees, over the shares of time where the modulus is above UNEVEN;
      positive is counter-clockwise, half a turn is none.

    Empty where a density is not known or the mass has no direction for two shares.
    """
    z1, z2 = _centres(pictures)
    inside = np.where(np.hypot(z1, z2) < radius, pictures.density, 0.0)
    mass = inside.sum((1, 2))
    if not np.isfinite(mass).all() or not (mass > 0).all():
        return {}
    moments = (inside * np.exp(2j * np.arctan2(z2, z1))).sum((1, 2)) / mass
    modulus = np.abs(moments)
    angles = np.unwrap(np.angle(moments[modulus > UNEVEN])) / 2
    if len(angles) < 2:
        return {}
    return {
        "turn_deg": float(np.degrees(angles[-1] - angles[0])),
        "uneven_most": float(modulus.max()),
        "uneven_end": float(modulus[-1]),
    }


def _cells(pictures: Pictures) -> np.ndarray:
    """(F, G * G + 1): the mass in every cell, by the density at its centre, and that outside of the square."""
    cell = (2 * pictures.window / pictures.density.shape[1]) ** 2
    inside = pictures.density.reshape(len(pictures.density), -1) * cell
    return np.column_stack([inside, np.maximum(0.0, 1 - inside.sum(1))])


def _total_variation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.abs(a - b).sum(-1) / 2


def _centres(pictures: Pictures) -> tuple[np.ndarray, np.ndarray]:
    """z1 and z2 of the cells' centres, each (G, G)."""
    size = pictures.density.shape[1]
    centres = (np.arange(size) + 0.5) * (2 * pictures.window / size) - pictures.window
    z2, z1 = np.meshgrid(centres, centres, indexing="ij")
    return z1, z2
