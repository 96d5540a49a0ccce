"""Lines of measure.csv, and the order in which they are made."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from nodebench.measurement import Case, order
from nodebench.ode.settings import SolverSettings
from nodebench.records.measures import (
    NAMES,
    TOLERANCES,
    DamagedTableError,
    Row,
    header,
    key_of,
    read_table,
    write_row,
)

ROW: Row = {
    "library": "nodebench",
    "solver": "dopri5",
    "tol": 1e-5,
    "gradient": "adjoint",
    "batch": 3,
    "nfe_forward": 116,
}


def case(tol: float, gradient: str, num_batches: int) -> Case:
    return Case(SolverSettings(rtol=tol, atol=tol), gradient, num_batches)


def test_a_row_is_read_back_as_it_was_written() -> None:
    row = {**ROW, "recon_error": math.inf, "norm_adjoint": "state"}
    table = read_table(header() + write_row(row))
    (read,) = table.rows.values()
    assert table.text == header() + write_row(row)
    assert {name: value for name, value in read.items() if value not in (None, "")} == row
    assert key_of(read) == ("nodebench", "dopri5", 1e-5, "adjoint", 3)


@pytest.mark.parametrize("tol", [*TOLERANCES, 0.00123456789])
def test_a_tolerance_is_found_again_to_the_last_digit(tol: float) -> None:
    (read,) = read_table(header() + write_row({**ROW, "tol": tol})).rows.values()
    assert key_of(read).tol == tol


def test_a_line_that_was_cut_off_is_left_out() -> None:
    text = header() + write_row(ROW)
    for length in range(len(header()), len(text)):
        assert read_table(text[:length]) == ({}, [], header(), length > len(header()))
    assert read_table(text[: len(header()) - 1]) == ({}, [], "", True)
    assert read_table("") == ({}, [], "", False)


def test_a_table_from_before_other_libraries_were_measured_is_nodebenchs_own() -> None:
    now = header() + write_row(ROW) + write_row({**ROW, "batch": 4})
    before = "".join(line.partition(",")[2] for line in now.splitlines(keepends=True))
    assert before.startswith("solver,tol")
    assert read_table(before) == read_table(now)
    assert read_table(before + "dopri5,1e-0")[:3] == read_table(now)[:3]
    assert read_table(before).text == now


def test_the_same_solver_of_another_library_is_another_case() -> None:
    own = Case(SolverSettings(rtol=1e-3, atol=1e-3), "adjoint", 2, has_backward=False)
    other = replace(own, library="torchdiffeq")
    assert (own.name, other.name) == ("dopri5", "torchdiffeq dopri5")
    assert order([own, other], {own.key(0), other.key(1)}) == [(other, 0), (own, 1)]


def test_a_table_of_other_columns_is_refused() -> None:
    with pytest.raises(DamagedTableError, match="its first line does not name the columns"):
        read_table("library,solver,tol\n")
    with pytest.raises(DamagedTableError):
        read_table("\n" + header())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nodebench,dopri5,1\n", f"line 3 has 3 entries in place of {len(NAMES)}"),
        (write_row(ROW).replace("116", "1l6"), "line 3 has nfe_forward=1l6, which is no number"),
        (write_row(ROW).replace("116", "\ufffd"), "line 3 is not UTF-8"),
        (write_row({**ROW, "tol": -1.0}), "line 3 has tol=-1, which is no tolerance"),
        (write_row({**ROW, "batch": math.nan}), "line 3 has batch=nan, which is no batch"),
        (write_row({**ROW, "batch": 2.5}), "line 3 has batch=2.5, which is no batch"),
        *(
            (write_row({**ROW, name: None}), f"line 3 does not say which {name} it is about")
            for name in ("library", "solver", "tol", "gradient", "batch")
        ),
    ],
)
def test_a_damaged_line_is_named_and_the_others_are_kept(line: str, message: str) -> None:
    before, after = write_row(ROW), write_row({**ROW, "batch": 4})
    table = read_table(header() + before + line + after)
    assert [f"line {number} {reason}" for number, reason in table.problems] == [message]
    assert {number: key_of(row).batch for number, row in table.rows.items()} == {2: 3, 4: 4}
    assert table.text == header() + before + after


def test_rows_go_batch_by_batch_and_those_that_are_done_are_left_out() -> None:
    cases = [case(1.0, "direct", 1), case(1.0, "adjoint", 3)]
    keys = [found.key(batch)[3:] for found, batch in order(cases)]
    assert keys == [("direct", 0), ("adjoint", 0), ("adjoint", 1), ("adjoint", 2)]
    left = order(cases, {cases[1].key(0), cases[0].key(0)})
    assert [found.key(batch)[3:] for found, batch in left] == [("adjoint", 1), ("adjoint", 2)]
    assert order([]) == []
