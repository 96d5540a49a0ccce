"""What ButcherTableau refuses, and what it says then."""

from __future__ import annotations

import dataclasses
import math

import pytest

from nodebench.ode.methods.tableau import ButcherTableau
from nodebench.ode.methods.tableaus import load_tableaus


def replaced(name: str, **changes: object) -> ButcherTableau:
    return dataclasses.replace(load_tableaus()[name], **changes)  # type: ignore[arg-type]


def test_a_wrong_row_is_named_with_both_numbers() -> None:
    # The slip in torchdiffeq's Gauss-Legendre tableau: a row whose sum is not its c.
    a = ((), (1 / 2,), (0.0, 0.7), (2 / 9, 1 / 3, 4 / 9))
    with pytest.raises(ValueError, match=r"tableau `bosh3`: row 2 of a sums to 0\.7 but c\[2\] is 0\.75"):
        replaced("bosh3", a=a)


def test_weights_that_do_not_sum_to_one_are_refused() -> None:
    with pytest.raises(ValueError, match=r"tableau `heun`: b sums to 0\.75 but the required sum is 1\.0"):
        replaced("heun", b=(1 / 2, 1 / 4))


def test_error_weights_that_do_not_sum_to_zero_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`adaptive_heun`: b_err sums to 1\.0 but the required sum is 0\.0"):
        replaced("adaptive_heun", b_err=(1 / 2, 1 / 2))


def test_an_interpolant_that_does_not_end_at_y1_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`heun`: row 1 of interpolant sums to 0\.25 but b\[1\] is 0\.5"):
        replaced("heun", interpolant=((1.0, -0.5), (0.0, 0.25)))


def test_a_coefficient_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`heun`: b sums to nan"):
        replaced("heun", b=(1 / 2, math.nan))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("c", (0.0,), "c has 1 entries but b has 2"),
        ("a", ((), (1.0,), (0.0, 1.0)), "a has 3 entries but b has 2"),
        ("a", ((), (1.0, 0.0)), "row 1 of a has 2 entries; an explicit method has 1"),
        ("b_err", (0.0,), "b_err has 1 entries but b has 2"),
        ("interpolant", ((1.0,),), "interpolant has 1 entries but b has 2"),
        ("order", 0, "order is 0; it must be at least 1"),
    ],
)
def test_a_wrong_shape_or_order_is_refused(field: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replaced("heun", **{field: value})
