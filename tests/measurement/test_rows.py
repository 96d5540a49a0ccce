"""Lines of measure.csv, and the order in which they are made."""

from __future__ import annotations

import math

import pytest

from nodebench.measurement import (
    COLUMNS,
    TOLERANCES,
    Case,
    DamagedTableError,
    Row,
    header,
    order,
    read_rows,
    write_row,
)
from nodebench.measurement.rows import key_of
from nodebench.models.ode_block import SolverSettings

ROW: Row = {"solver": "dopri5", "tol": 1e-5, "gradient": "adjoint", "batch": 3, "nfe_forward": 116}


def case(tol: float, gradient: str, num_batches: int) -> Case:
    return Case(SolverSettings(rtol=tol, atol=tol), gradient, num_batches)


def test_a_row_is_read_back_as_it_was_written() -> None:
    row = {**ROW, "recon_error": math.inf, "norm_adjoint": "state"}
    ((read,), whole) = read_rows(header() + write_row(row))
    assert whole == header() + write_row(row)
    assert {name: value for name, value in read.items() if value not in (None, "")} == row
    assert key_of(read) == ("dopri5", 1e-5, "adjoint", 3)


@pytest.mark.parametrize("tol", [*TOLERANCES, 0.00123456789])
def test_a_tolerance_is_found_again_to_the_last_digit(tol: float) -> None:
    ((read,), _) = read_rows(header() + write_row({**ROW, "tol": tol}))
    assert key_of(read).tol == tol


def test_a_line_that_was_cut_off_is_left_out() -> None:
    text = header() + write_row(ROW)
    for length in range(len(header()), len(text)):
        assert read_rows(text[:length]) == ([], header())
    assert read_rows(text[: len(header()) - 1]) == ([], "")
    assert read_rows("") == ([], "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("solver,tol\n", "its first line does not name the columns"),
        (header() + "dopri5,1\n", f"line 2 has 2 entries in place of {len(COLUMNS)}"),
        (header() + write_row(ROW).replace("116", "1l6"), "line 2 has nfe_forward=1l6, which is no number"),
        (header() + write_row({**ROW, "tol": None}), "line 2 does not say which tol and batch"),
    ],
)
def test_other_damage_is_named_with_its_line(text: str, message: str) -> None:
    with pytest.raises(DamagedTableError, match=message):
        read_rows(text)


def test_rows_go_batch_by_batch_and_those_that_are_done_are_left_out() -> None:
    cases = [case(1.0, "direct", 1), case(1.0, "adjoint", 3)]
    keys = [found.key(batch)[2:] for found, batch in order(cases)]
    assert keys == [("direct", 0), ("adjoint", 0), ("adjoint", 1), ("adjoint", 2)]
    left = order(cases, {cases[1].key(0), cases[0].key(0)})
    assert [found.key(batch)[2:] for found, batch in left] == [("adjoint", 1), ("adjoint", 2)]
    assert order([]) == []
