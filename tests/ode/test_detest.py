"""The nonstiff DETEST problems, with SciPy's DOP853 at 1e-12 as the referee.

Source: Hull, Enright, Fellen & Sedgwick, "Comparing numerical methods for ordinary differential equations", SIAM J.
Numer. Anal. 9 (1972): classes A (single equations), B (small systems), C (moderate systems), D (orbits), E (higher
order equations), each on [0, 20].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from nodebench.ode import odeint

DTYPE = torch.float64
END = 20.0


class Detest(NamedTuple):
    f: Callable[[Tensor, Tensor], Tensor]
    y0: list[float]


def columns(*entries: Tensor) -> Tensor:
    return torch.stack(entries)


def b5(t: Tensor, y: Tensor) -> Tensor:
    return columns(y[1] * y[2], -y[0] * y[2], -0.51 * y[0] * y[1])


def b4(t: Tensor, y: Tensor) -> Tensor:
    r = torch.sqrt(y[0] ** 2 + y[1] ** 2)
    return columns(-y[1] - y[0] * y[2] / r, y[0] - y[1] * y[2] / r, y[0] / r)


def c1(t: Tensor, y: Tensor) -> Tensor:
    """Radioactive decay chain: each link feeds the next at the same rate."""
    return torch.cat([-y[:1], y[:-2] - y[1:-1], y[-2:-1]])


def c2(t: Tensor, y: Tensor) -> Tensor:
    """The same chain with link i decaying at the rate i."""
    flow = torch.arange(1.0, 10.0, dtype=DTYPE) * y[:-1]
    return torch.cat([-flow[:1], flow[:-1] - flow[1:], flow[-1:]])


def c3(t: Tensor, y: Tensor) -> Tensor:
    """Heat conduction on ten points."""
    zero = torch.zeros(1, dtype=DTYPE)
    padded = torch.cat([zero, y, zero])
    return padded[:-2] - 2 * y + padded[2:]


def orbit(t: Tensor, y: Tensor) -> Tensor:
    r3 = (y[0] ** 2 + y[1] ** 2) ** 1.5
    return columns(y[2], y[3], -y[0] / r3, -y[1] / r3)


def start_of_orbit(eccentricity: float) -> list[float]:
    return [1 - eccentricity, 0.0, 0.0, math.sqrt((1 + eccentricity) / (1 - eccentricity))]


def e1(t: Tensor, y: Tensor) -> Tensor:
    return columns(y[1], -(y[1] / (t + 1) + (1 - 0.25 / (t + 1) ** 2) * y[0]))


PROBLEMS = {
    "A1": Detest(lambda t, y: -y, [1.0]),
    "A2": Detest(lambda t, y: -(y**3) / 2, [1.0]),
    "A3": Detest(lambda t, y: y * torch.cos(t), [1.0]),
    "A4": Detest(lambda t, y: y / 4 * (1 - y / 20), [1.0]),
    "A5": Detest(lambda t, y: (y - t) / (y + t), [4.0]),
    "B1": Detest(lambda t, y: columns(2 * (y[0] - y[0] * y[1]), -(y[1] - y[0] * y[1])), [1.0, 3.0]),
    "B2": Detest(lambda t, y: columns(-y[0] + y[1], y[0] - 2 * y[1] + y[2], y[1] - y[2]), [2.0, 0.0, 1.0]),
    "B3": Detest(lambda t, y: columns(-y[0], y[0] - y[1] ** 2, y[1] ** 2), [1.0, 0.0, 0.0]),
    "B4": Detest(b4, [3.0, 0.0, 0.0]),
    "B5": Detest(b5, [0.0, 1.0, 1.0]),
    "C1": Detest(c1, [1.0] + [0.0] * 9),
    "C2": Detest(c2, [1.0] + [0.0] * 9),
    "C3": Detest(c3, [1.0] + [0.0] * 9),
    "D1": Detest(orbit, start_of_orbit(0.1)),
    "D2": Detest(orbit, start_of_orbit(0.3)),
    "D3": Detest(orbit, start_of_orbit(0.5)),
    "D4": Detest(orbit, start_of_orbit(0.7)),
    "D5": Detest(orbit, start_of_orbit(0.9)),
    "E1": Detest(e1, [0.6713967071418030, 0.09540051444747446]),
    "E2": Detest(lambda t, y: columns(y[1], (1 - y[0] ** 2) * y[1] - y[0]), [2.0, 0.0]),
    "E3": Detest(lambda t, y: columns(y[1], y[0] ** 3 / 6 - y[0] + 2 * torch.sin(2.78535 * t)), [0.0, 0.0]),
    "E4": Detest(lambda t, y: columns(y[1], 0.032 - 0.4 * y[1] ** 2), [30.0, 0.0]),
    "E5": Detest(lambda t, y: columns(y[1], torch.sqrt(1 + y[1] ** 2) / (25 - t)), [0.0, 0.0]),
}


@lru_cache
def reference(name: str) -> Tensor:
    """y(20) by SciPy."""
    f, y0 = PROBLEMS[name]

    def g(t: float, y: np.ndarray) -> np.ndarray:
        return f(torch.tensor(t, dtype=DTYPE), torch.from_numpy(y)).numpy()

    solution = solve_ivp(g, (0.0, END), y0, method="DOP853", rtol=1e-12, atol=1e-12)
    assert solution.success
    return torch.from_numpy(solution.y[:, -1])


def error(name: str, method: str, tolerance: float) -> float:
    """Largest error at t = 20, in units of the tolerance."""
    f, y0 = PROBLEMS[name]
    ys = odeint(
        f,
        torch.tensor(y0, dtype=DTYPE),
        [0.0, END],
        method=method,
        rtol=tolerance,
        atol=tolerance,
        gradient="direct",
    ).ys
    return (ys[-1] - reference(name)).abs().max().item() / tolerance


# Bounds on the global error, in tolerances: orbits (D) add up the errors of their periods, stable chains (C) do not.
MULTIPLES = {"A": 100, "B": 500, "C": 20, "D": 5000, "E": 200}
# Whose last steps are as long as stability allows: what error they leave, within the tolerance, is rounding's choice.
HELD_BY_STABILITY = "C2"


@pytest.mark.parametrize("method", ["bosh3", "dopri5", "tsit5", "dopri8"])
@pytest.mark.parametrize("name", sorted(PROBLEMS))
def test_the_error_stays_within_a_multiple_of_the_tolerance_and_shrinks_with_it(
    name: str, method: str
) -> None:
    coarse, fine = (1e-4, 1e-6) if method == "bosh3" else (1e-5, 1e-8)
    errors = {tolerance: error(name, method, tolerance) for tolerance in (coarse, fine)}
    assert max(errors.values()) < MULTIPLES[name[0]]
    if name != HELD_BY_STABILITY:
        assert errors[fine] * fine < 30 * (fine / coarse) * errors[coarse] * coarse
