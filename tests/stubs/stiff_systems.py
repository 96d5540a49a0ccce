"""The stiff systems of the literature: fields of samples (..., d), where they start and end, and what they come to.

The ends were computed by SciPy's Radau at rtol 1e-12 (atol 1e-16, of Van der Pol's 1e-14).

Source: Hairer & Wanner, Solving Ordinary Differential Equations II, 2nd edition, section IV.10.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class StiffSystem(NamedTuple):
    """dy/dt = f(t, y) from y0 at 0 to y1 at t1; `atol` is what a relative tolerance is to be multiplied by."""

    f: Callable[[Tensor, Tensor], Tensor]
    y0: tuple[float, ...]
    t1: float
    atol: float
    y1: tuple[float, ...]


def robertson(t: Tensor, y: Tensor) -> Tensor:
    """A chemical reaction with rates from 0.04 to 3e7."""
    a, b, c = y.unbind(-1)
    slow, back, fast = 0.04 * a, 1e4 * b * c, 3e7 * b * b
    return torch.stack([back - slow, slow - back - fast, fast], -1)


def van_der_pol(t: Tensor, y: Tensor) -> Tensor:
    """The oscillator with mu = 1000."""
    x, v = y.unbind(-1)
    return torch.stack([v, 1000 * (1 - x * x) * v - x], -1)


def hires(t: Tensor, y: Tensor) -> Tensor:
    """High irradiance response of a plant: eight reactants."""
    y1, y2, y3, y4, y5, y6, y7, y8 = y.unbind(-1)
    bound = 280 * y6 * y8
    slopes = [
        -1.71 * y1 + 0.43 * y2 + 8.32 * y3 + 0.0007,
        1.71 * y1 - 8.75 * y2,
        -10.03 * y3 + 0.43 * y4 + 0.035 * y5,
        8.32 * y2 + 1.71 * y3 - 1.12 * y4,
        -1.745 * y5 + 0.43 * y6 + 0.43 * y7,
        -bound + 0.69 * y4 + 1.71 * y5 - 0.43 * y6 + 0.69 * y7,
        bound - 1.81 * y7,
        -bound + 1.81 * y7,
    ]
    return torch.stack(slopes, -1)


def orego(t: Tensor, y: Tensor) -> Tensor:
    """The Oregonator, a model of the Belousov-Zhabotinskii reaction."""
    a, b, c = y.unbind(-1)
    return torch.stack(
        [77.27 * (b + a * (1 - 8.375e-6 * a - b)), (c - (1 + a) * b) / 77.27, 0.161 * (a - c)], -1
    )


SYSTEMS: dict[str, StiffSystem] = {
    "robertson": StiffSystem(
        robertson,
        (1.0, 0.0, 0.0),
        100000.0,
        0.0001,
        (0.01786592114232008, 7.27475146852733e-08, 0.9821340061101689),
    ),
    "van_der_pol": StiffSystem(
        van_der_pol, (2.0, 0.0), 2000.0, 1.0, (1.7061677321704876, -0.0008928097010247924)
    ),
    "hires": StiffSystem(
        hires,
        (1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0057),
        321.8122,
        0.0001,
        (
            0.0007371312573325646,
            0.00014424857263161805,
            5.8887297409675386e-05,
            0.0011756513432831447,
            0.0023863561988312775,
            0.006238968252742645,
            0.0028499983951857325,
            0.0028500016048142547,
        ),
    ),
    "orego": StiffSystem(
        orego, (1.0, 2.0, 3.0), 360.0, 1.0, (1.0008148703185227, 1228.178521549886, 132.0554942846542)
    ),
}
