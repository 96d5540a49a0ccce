"""Lines of measure.csv, and the order in which they are made."""

from __future__ import annotations

import math
from dataclasses import replace

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
from nodebench.ode.settings import SolverSettings

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
    ((read,), whole, _) = read_rows(header() + write_row(row))
    assert whole == header() + write_row(row)
    assert {name: value for name, value in read.items() if value not in (None, "")} == row
    assert key_of(read) == ("nodebench", "dopri5", 1e-5, "adjoint", 3)


@pytest.mark.parametrize("tol", [*TOLERANCES, 0.00123456789])
def test_a_tolerance_is_found_again_to_the_last_digit(tol: float) -> None:
    ((read,), _, _) = read_rows(header() + write_row({**ROW, "tol": tol}))
    assert key_of(read).tol == tol


def test_a_line_that_was_cut_off_is_left_out() -> None:
    text = header() + write_row(ROW)
    for length in range(len(header()), len(text)):
        assert read_rows(text[:length]) == ([], header(), [])
    assert read_rows(text[: len(header()) - 1]) == ([], "", [])
    assert read_rows("") == ([], "", [])


def test_a_table_from_before_other_libraries_were_measured_is_nodebenchs_own() -> None:
    now = header() + write_row(ROW) + write_row({**ROW, "batch": 4})
    before = "".join(line.partition(",")[2] for line in now.splitlines(keepends=True))
    assert before.startswith("solver,tol")
    assert read_rows(before) == read_rows(now) == read_rows(before + "dopri5,1e-0")
    assert read_rows(before)[1] == now


def test_the_same_solver_of_another_library_is_another_case() -> None:
    own = Case(SolverSettings(rtol=1e-3, atol=1e-3), "adjoint", 2, has_backward=False)
    other = replace(own, library="torchdiffeq")
    assert (own.name, other.name) == ("dopri5", "torchdiffeq dopri5")
    assert order([own, other], {own.key(0), other.key(1)}) == [(other, 0), (own, 1)]


def test_a_table_of_other_columns_is_refused() -> None:
    with pytest.raises(DamagedTableError, match="its first line does not name the columns"):
        read_rows("library,solver,tol\n")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nodebench,dopri5,1\n", f"line 3 has 3 entries in place of {len(COLUMNS)}"),
        (write_row(ROW).replace("116", "1l6"), "line 3 has nfe_forward=1l6, which is no number"),
        (write_row(ROW).replace("116", "\ufffd"), "line 3 is not UTF-8"),
        *(
            (write_row({**ROW, name: None}), f"line 3 does not say which {name} it is about")
            for name in ("library", "solver", "tol", "gradient", "batch")
        ),
    ],
)
def test_a_damaged_line_is_named_and_the_others_are_kept(line: str, message: str) -> None:
    before, after = write_row(ROW), write_row({**ROW, "batch": 4})
    rows, whole, problems = read_rows(header() + before + line + after)
    assert problems == [message]
    assert [key_of(row).batch for row in rows] == [3, 4]
    assert whole == header() + before + after


def test_rows_go_batch_by_batch_and_those_that_are_done_are_left_out() -> None:
    cases = [case(1.0, "direct", 1), case(1.0, "adjoint", 3)]
    keys = [found.key(batch)[3:] for found, batch in order(cases)]
    assert keys == [("direct", 0), ("adjoint", 0), ("adjoint", 1), ("adjoint", 2)]
    left = order(cases, {cases[1].key(0), cases[0].key(0)})
    assert [found.key(batch)[3:] for found, batch in left] == [("adjoint", 1), ("adjoint", 2)]
    assert order([]) == []
