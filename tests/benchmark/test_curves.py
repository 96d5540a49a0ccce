from __future__ import annotations

import pandas as pd
import pytest

from nodebench.benchmark.curves import (
    Point,
    curves_of,
    describe_curves,
    draw_curves,
    least_ratio,
    time_at_error,
)
from nodebench.benchmark.rows import COLUMNS

STEEP = [Point(1e-4, 100.0), Point(1e-2, 1.0)]  # time = 1e-2 / error
FLAT = [Point(1e-4, 20.0), Point(1e-2, 5.0)]


@pytest.mark.parametrize(
    ("error", "time_ms"), [(1e-4, 100.0), (1e-3, 10.0), (1e-2, 1.0), (1.0, 1.0), (5e-5, None)]
)
def test_time_is_a_power_of_the_error_between_points_and_not_extrapolated(
    error: float, time_ms: float | None
) -> None:
    found = time_at_error([STEEP], error)
    assert found is None if time_ms is None else found == pytest.approx(time_ms)


def test_the_best_mode_may_change_with_the_error() -> None:
    assert time_at_error([STEEP, FLAT], 1e-4) == 20.0
    assert time_at_error([STEEP, FLAT], 1e-2) == 1.0
    assert time_at_error([], 1e-2) is None
    assert time_at_error([[]], 1e-2) is None


def test_the_least_ratio_is_found_where_our_best_mode_changes() -> None:
    theirs = [[Point(1e-4, 100.0), Point(1e-2, 5.0)]]  # 5 times ours at both ends
    halfway = (100.0 * 5.0) ** 0.5 / 10.0  # STEEP and FLAT both take 10 at an error of 1e-3
    assert least_ratio(theirs, [STEEP, FLAT]) == pytest.approx(halfway, rel=0.02)


def test_libraries_that_reach_no_common_error_have_no_ratio() -> None:
    assert least_ratio([STEEP], []) is None
    assert least_ratio([], []) is None


def make_rows(points: list[tuple[str, str, str, float, float, float]]) -> pd.DataFrame:
    names = ["library", "field", "gradient", "tol", "error_gradient", "time_ms"]
    return pd.DataFrame(points, columns=names).reindex(columns=list(COLUMNS)).assign(execution="eager")


ROWS = make_rows(
    [
        ("nodebench", "nodebench", "direct", 1e-2, 1e-1, 1.0),
        ("nodebench", "nodebench", "direct", 1e-3, 1e-3, 10.0),
        ("torchdiffeq", "nodebench", "adjoint-full", 1e-2, 1e-1, 20.0),
        ("torchdiffeq", "nodebench", "adjoint-full", 1e-3, 1e-2, 40.0),
    ]
)


def test_curves_hold_the_points_of_a_mode_and_keep_compiled_ones_apart() -> None:
    assert curves_of(ROWS, "nodebench", "nodebench") == {"direct": [(1e-3, 10.0), (1e-1, 1.0)]}
    both = pd.concat([ROWS, ROWS.assign(execution="compiled")])
    assert list(curves_of(both, "nodebench", "nodebench")) == ["direct", "direct, compiled"]
    assert curves_of(ROWS, "torchode", "nodebench") == {}


def test_the_time_to_the_others_error_is_told() -> None:
    at_error, best = describe_curves(ROWS, 1e-3)
    assert "torchdiffeq on nodebench's field, adjoint-full at 0.001 (1.0e-02 in 40 ms)" in at_error
    assert "best mode 3.162 ms, ratio 12.65" in at_error
    assert best.endswith("over all errors that both reach: 12.65.")


def test_the_time_to_the_error_of_a_backsolve_is_told_too() -> None:
    compiled = ROWS.replace({"torchdiffeq": "diffrax", "adjoint-full": "backsolve"})
    assert "of diffrax on nodebench's field, backsolve at 0.001" in describe_curves(compiled, 1e-3)[0]


def test_an_error_that_we_do_not_reach_is_told() -> None:
    out_of_reach = ROWS.assign(error_gradient=[1e-1, 5e-2, 1e-1, 1e-2])
    assert "nodebench at none of these tolerances" in describe_curves(out_of_reach, 1e-3)[0]


def test_without_baselines_nothing_is_told() -> None:
    assert describe_curves(ROWS[ROWS["library"] == "nodebench"], 1e-3) == []


def test_the_figure_has_a_line_for_every_mode() -> None:
    (axes,) = draw_curves(ROWS).axes
    assert [line.get_label() for line in axes.lines] == ["nodebench, direct", "torchdiffeq, adjoint-full"]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.lines[0].get_xydata().tolist() == [[10.0, 1e-3], [1.0, 1e-1]]


def test_a_library_has_one_colour_in_every_figure_on_every_field() -> None:
    theirs = ROWS[ROWS["library"] == "torchdiffeq"]
    more = [theirs.assign(library="diffrax"), theirs.assign(field="torchdiffeq")]
    colours = []
    for rows in (pd.concat([ROWS, *more]), theirs):
        (axes,) = draw_curves(rows).axes
        colours += [(str(line.get_label()).partition(",")[0], line.get_color()) for line in axes.lines]
    assert len(set(colours)) == len({library for library, _ in colours}) == 3


def test_no_library_is_left_out_of_the_figure() -> None:
    libraries = ("torchdiffeq", "torchode", "diffrax")
    same_field = [ROWS.replace({"torchdiffeq": library}) for library in libraries]
    published = ROWS[ROWS["library"] == "torchdiffeq"].assign(field="torchdiffeq")
    (axes,) = draw_curves(pd.concat([*same_field, published])).axes
    assert [str(line.get_label()).partition(",")[0] for line in axes.lines] == [
        "nodebench",
        *libraries,
        "torchdiffeq",
    ]
