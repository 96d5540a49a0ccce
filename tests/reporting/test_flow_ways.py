"""Ways from noise to data whose numbers are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from nodebench.reporting.flow_ways import TURN_COLUMNS, WAY_COLUMNS, turn_columns, way_columns
from nodebench.reporting.pictures import Pictures

WINDOW, SIZE = 2.0, 80


def pictures(densities: Sequence[np.ndarray]) -> Pictures:
    density = np.stack(densities)
    return Pictures(WINDOW, np.linspace(0, 1, len(density)), density, np.zeros_like(density), density[-1])


def gaussian(
    x: float, y: float = 0.0, stds: tuple[float, float] = (0.2, 0.2), degrees: float = 0.0
) -> np.ndarray:
    """A density whose first axis points `degrees` counter-clockwise from z1."""
    centres = (np.arange(SIZE) + 0.5) * (2 * WINDOW / SIZE) - WINDOW
    z2, z1 = np.meshgrid(centres, centres, indexing="ij")
    angle = np.radians(degrees)
    along = ((z1 - x) * np.cos(angle) + (z2 - y) * np.sin(angle)) / stds[0]
    across = ((z2 - y) * np.cos(angle) - (z1 - x) * np.sin(angle)) / stds[1]
    density: np.ndarray = np.exp(-(along**2 + across**2) / 2) / (2 * np.pi * stds[0] * stds[1])
    return density


def test_a_way_without_jumps_changes_half_as_much_at_half_the_spacing() -> None:
    way = way_columns(pictures([gaussian(x) for x in np.linspace(-0.5, 0.5, 41)]))
    assert way["tv_step"] == pytest.approx(way["tv_two_steps"] / 2, rel=0.01)
    assert way["steps_away"] == 0
    assert way["mass_least"] == pytest.approx(1, abs=1e-6)


def test_a_jump_is_as_large_at_half_the_spacing() -> None:
    way = way_columns(pictures([gaussian(-1.0)] * 5 + [gaussian(1.0)] * 5))
    assert way["tv_step"] == pytest.approx(way["tv_two_steps"]) == pytest.approx(1, abs=1e-5)


def test_the_total_variation_of_two_gaussians_is_that_of_the_closed_form() -> None:
    from scipy.stats import norm

    way = way_columns(pictures([gaussian(-0.15)] * 2 + [gaussian(0.15)]))
    assert way["tv_step"] == pytest.approx(2 * norm.cdf(0.15 / 0.2) - 1, abs=2e-3)


def test_a_detour_leads_away_from_the_end() -> None:
    assert way_columns(pictures([gaussian(x) for x in (-0.2, -0.4, -0.1, 0.0)]))["steps_away"] == 1


def test_mass_that_leaves_the_square_counts() -> None:
    way = way_columns(pictures([gaussian(0.0), gaussian(9.0), gaussian(9.0)]))
    assert way["tv_step"] == pytest.approx(1, abs=1e-6)
    assert way["mass_least"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("turn", [90.0, -120.0])
def test_a_bar_turns_by_what_it_was_turned(turn: float) -> None:
    bars = [gaussian(0, 0, (0.4, 0.1), 20 + turn * share) for share in np.linspace(0, 1, 11)]
    turned = turn_columns(pictures([*bars, gaussian(0.0)]), 1.5)
    assert turned["turn_deg"] == pytest.approx(turn, abs=0.1)
    assert turned["uneven_most"] > 0.5
    assert turned["uneven_end"] == pytest.approx(0, abs=1e-6)


def test_what_lies_outside_the_radius_does_not_turn_it() -> None:
    bars = [gaussian(0, 0, (0.3, 0.1), degrees) + gaussian(1.7, 0) for degrees in (0, 30, 60)]
    assert turn_columns(pictures(bars), 0.8)["turn_deg"] == pytest.approx(60, abs=0.5)


def test_a_mass_without_a_direction_does_not_turn() -> None:
    assert turn_columns(pictures([gaussian(0.0)] * 3), 1.5) == {}


def test_nothing_is_said_of_densities_that_are_not_known_or_too_few() -> None:
    unknown = gaussian(0.0) * np.nan
    assert way_columns(pictures([gaussian(0.0), unknown, gaussian(0.0)])) == {}
    assert turn_columns(pictures([unknown, unknown]), 1.0) == {}
    assert way_columns(pictures([gaussian(0.0)] * 2)) == {}


def test_the_names_are_those_of_the_columns() -> None:
    bars = pictures([gaussian(0, 0, (0.4, 0.1), degrees) for degrees in (0, 10, 20)])
    assert tuple(way_columns(bars)) == WAY_COLUMNS
    assert tuple(turn_columns(bars, 1.5)) == TURN_COLUMNS
