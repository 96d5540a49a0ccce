"""The table of a race: times, what a solver costs beyond the bare evaluations, how exact it is, its memory."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from tabulate import tabulate

from nodebench.benchmark.bare import BARE, WITH_VJP, WITHOUT_GRAPH
from nodebench.benchmark.libraries import OWN_STEPS
from nodebench.benchmark.problems import Problem, relative_error
from nodebench.benchmark.race import Result, iqr

# Column to the number format of the Markdown table; the CSV holds them unrounded.
COLUMNS = {
    "library": "",
    "field": "",
    "gradient": "",
    "execution": "",
    "tol": "g",
    "time_forward_ms": ".4g",
    "time_forward_iqr_ms": ".2g",
    "time_backward_ms": ".4g",
    "time_backward_iqr_ms": ".2g",
    "time_ms": ".4g",
    "time_iqr_ms": ".2g",
    "time_first_ms": ".4g",
    "nfe_forward": ".0f",
    "nfe_backward": ".0f",
    "overhead_forward_percent": ".0f",
    "overhead_backward_percent": ".0f",
    "error_solution": ".1e",
    "error_gradient": ".1e",
    "memory_saved_mib": ".4g",
    "memory_peak_mib": ".4g",
}
LEGEND = (
    "Times are medians, `iqr` the distance between the quartiles, `time_first_ms` the warm-up (compiling, where there "
    "is any). Overheads are over NFE times a bare evaluation in the same execution, empty where none was timed: with "
    "the graph in the forward pass of direct, without it in the others; backward of direct over NFE f vector-Jacobian "
    "products, of the others over NFE b evaluations with theirs. They fall below 0 where a solver evaluates less than "
    "whole fields: a hypernetwork once a step, no product for rejected steps. Errors are relative, against a float64 "
    "solve; the gradient's is against that of the continuous problem, so that of direct holds the solver's error too."
)


def make_rows(results: Sequence[Result], problems: Sequence[Problem]) -> pd.DataFrame:
    """One row a result, in COLUMNS; `problems` holds the problem of every field that was raced.

    The memory of every contestant that tells is measured here, and the references are solved.
    """
    by_field = {problem.field_name: problem for problem in problems}
    rows = [_row(result, results, by_field) for result in results]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def to_markdown(rows: pd.DataFrame, formats: dict[str, str]) -> str:
    """A Markdown table without the columns that are empty throughout."""
    shown = [column for column in rows.columns if rows[column].notna().any() and (rows[column] != "").any()]
    cells = [[_text(row[column], formats[column]) for column in shown] for _, row in rows.iterrows()]
    align = ["right" if formats[column] else "left" for column in shown]
    return tabulate(cells, headers=shown, tablefmt="pipe", disable_numparse=True, colalign=align)


def _row(result: Result, results: Sequence[Result], by_field: dict[str, Problem]) -> dict[str, object]:
    contestant, last = result.contestant, result.last
    row: dict[str, object] = {
        "library": contestant.library_name,
        "field": contestant.field,
        "gradient": contestant.gradient,
        "execution": contestant.execution,
        "tol": contestant.tol,
        "time_forward_ms": result.time_forward_ms,
        "time_forward_iqr_ms": iqr(result.times_forward_ms),
        "time_backward_ms": result.time_backward_ms,
        "time_backward_iqr_ms": iqr(result.times_backward_ms) if result.times_backward_ms else None,
        "time_ms": result.time_ms,
        "time_iqr_ms": result.time_iqr_ms,
        "time_first_ms": result.time_first_ms,
        "nfe_forward": last.nfe_forward,
        "nfe_backward": last.nfe_backward,
    }
    if contestant.library_name == BARE:
        return row
    forward, backward = overheads_percent(result, results)
    row |= {"overhead_forward_percent": forward, "overhead_backward_percent": backward}
    if contestant.field in by_field:
        reference = by_field[contestant.field].reference
        row["error_solution"] = relative_error(last.solution, reference.solution)
        if last.gradient is not None and reference.gradient is not None:
            row["error_gradient"] = relative_error(last.gradient, reference.gradient)
    return row | (contestant.measure_memory() if contestant.measure_memory is not None else {})


def overheads_percent(result: Result, results: Sequence[Result]) -> tuple[float | None, float | None]:
    """How much longer forward and backward take than their evaluations alone, in percent; see LEGEND.

    None where the field was not evaluated bare, or otherwise executed, or nothing was evaluated.
    """
    bare = {
        other.contestant.gradient: other
        for other in results
        if other.contestant.library_name == BARE
        and other.contestant.field == result.contestant.field
        and other.contestant.execution == result.contestant.execution
    }
    if WITHOUT_GRAPH not in bare:
        return None, None
    f_ms = bare[WITHOUT_GRAPH].time_forward_ms
    if result.time_backward_ms is None or WITH_VJP not in bare:
        return _percent(result.time_forward_ms, result.last.nfe_forward * f_ms), None
    recorded_ms, vjp_ms = bare[WITH_VJP].time_forward_ms, bare[WITH_VJP].time_backward_ms or 0.0
    nfe_forward, nfe_backward = result.last.nfe_forward, result.last.nfe_backward or 0
    if result.contestant.gradient.removesuffix(OWN_STEPS) == "direct":
        forward, backward = nfe_forward * recorded_ms, nfe_forward * vjp_ms
    else:
        forward, backward = nfe_forward * f_ms, nfe_backward * (recorded_ms + vjp_ms)
    return _percent(result.time_forward_ms, forward), _percent(result.time_backward_ms, backward)


def _percent(time_ms: float, floor_ms: float) -> float | None:
    return 100.0 * (time_ms / floor_ms - 1.0) if floor_ms > 0 else None


def _text(value: object, number_format: str) -> str:
    if value is None or pd.isna(value):
        return ""
    return format(value, number_format)
