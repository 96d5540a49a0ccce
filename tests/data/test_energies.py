from __future__ import annotations

import math

import pytest
import torch
from scipy.integrate import quad
from torch import Tensor

from nodebench.data import DataError, EnergyData
from nodebench.data.energies import u1, u2, u3, u4

ENERGIES = (u1(), u2(), u3(), u4())
all_energies = pytest.mark.parametrize("data", ENERGIES, ids=lambda data: data.name)


def density(name: str, x: float, y: float) -> float:
    """exp(-U) straight from Rezende and Mohamed's table, without logarithms or tensors."""
    w1 = math.sin(2 * math.pi * x / 4)
    w2 = 3 * math.exp(-0.5 * ((x - 1) / 0.6) ** 2)
    w3 = 3 / (1 + math.exp(-(x - 1) / 0.3))

    def bell(distance: float, width: float) -> float:
        return math.exp(-0.5 * (distance / width) ** 2)

    return {
        "u1": lambda: bell(math.hypot(x, y) - 2, 0.4) * (bell(x - 2, 0.6) + bell(x + 2, 0.6)),
        "u2": lambda: bell(y - w1, 0.4),
        "u3": lambda: bell(y - w1, 0.35) + bell(y - w1 + w2, 0.35),
        "u4": lambda: bell(y - w1, 0.4) + bell(y - w1 + w3, 0.35),
    }[name]()


def wall_factor(*coordinates: float) -> float:
    return math.exp(-100 * sum(max(abs(c) - 4, 0) ** 2 for c in coordinates))


def points_in(half_width: float, n: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return (2 * torch.rand(n, 2, generator=generator, dtype=dtype) - 1) * half_width


@all_energies
def test_an_energy_is_that_of_the_formulas(data: EnergyData) -> None:
    z = points_in(4.0, 200)
    expected = torch.tensor([density(data.name, *point) for point in z.tolist()], dtype=torch.float64)
    torch.testing.assert_close(data.energy(z).neg().exp(), expected, rtol=1e-10, atol=1e-300)


@pytest.mark.parametrize(
    ("data", "minus_log_z"), list(zip(ENERGIES, (-1.8775, -2.0821, -2.6417, -2.6846), strict=True))
)
def test_the_integral_over_the_box_is_the_known_one(data: EnergyData, minus_log_z: float) -> None:
    assert -data.log_box_normaliser == pytest.approx(minus_log_z, abs=5e-5)
    axis = (torch.arange(400, dtype=torch.float64) + 0.5) / 400 * 8 - 4
    midpoint = (-data.energy(torch.cartesian_prod(axis, axis))).logsumexp(0) + 2 * math.log(8 / 400)
    assert data.log_box_normaliser == pytest.approx(float(midpoint), abs=1e-4)


@all_energies
def test_the_normaliser_agrees_with_scipys_quadrature(data: EnergyData) -> None:
    breaks = [-4, -2, 0, 2, 4]

    def line(x: float) -> float:
        found, _ = quad(
            lambda y: density(data.name, x, y) * wall_factor(x, y),
            *(-5, 5),
            points=breaks,
            limit=200,
            epsabs=1e-7,
            epsrel=1e-7,
        )
        return float(found)

    integral, _ = quad(line, -5, 5, points=breaks, limit=200, epsabs=1e-6, epsrel=1e-6)
    assert data.log_normaliser == pytest.approx(math.log(integral), abs=1e-5)
    assert data.log_normaliser > data.log_box_normaliser


@all_energies
def test_the_wall_stands_outside_the_box_alone(data: EnergyData) -> None:
    inside = points_in(4.0, 100)
    assert torch.equal(data.potential(inside), data.energy(inside))
    outside = torch.tensor([[4.5, 0.0], [-1.0, -6.0], [5.0, -7.0]], dtype=torch.float64)
    wall = data.potential(outside) - data.energy(outside)
    torch.testing.assert_close(wall, torch.tensor([25.0, 400.0, 1000.0], dtype=torch.float64))


@all_energies
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_potential_and_its_gradient_are_finite_in_the_centre_and_far_away(
    data: EnergyData, dtype: torch.dtype
) -> None:
    far = torch.tensor([[1, 0], [0, 1], [-1, 0], [0, -1], [1, 1], [-1, 1], [1, -1]], dtype=dtype)
    z = torch.cat(
        [torch.zeros(1, 2, dtype=dtype), points_in(10, 100, dtype), *(far * 10.0**k for k in range(9))]
    )
    z.requires_grad_()
    potential = data.potential(z)
    assert potential.dtype == dtype
    assert potential.shape == (len(z),)
    assert potential.isfinite().all()
    (gradient,) = torch.autograd.grad(potential.sum(), z)
    assert gradient.isfinite().all()


@all_energies
def test_the_gradient_of_a_potential_is_that_of_its_differences(data: EnergyData) -> None:
    z = points_in(4.5, 20).requires_grad_()
    assert torch.autograd.gradcheck(data.potential, (z,))


@pytest.mark.parametrize("value", [0, -1, 2.5, True, None, "512"])
def test_a_batch_size_below_one_is_refused_by_name(value: object) -> None:
    with pytest.raises(DataError, match=r"`data\.batch_size` is .*; allowed: whole numbers from 1 on"):
        u1(batch_size=value)  # type: ignore[arg-type]
