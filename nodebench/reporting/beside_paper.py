"""The paper's numbers that stand beside one run's, by the columns of its summary."""

from __future__ import annotations

from typing import NamedTuple

from nodebench.reporting import series_cells
from nodebench.reporting.named_tables.table1 import papers_row
from nodebench.reporting.paper import TABLE2
from nodebench.reporting.runs import Run


class Papers(NamedTuple):
    """`numbers` as the paper prints them, by column; where it does (`source`), and what there is to note of them."""

    numbers: dict[str, str]
    source: str
    note: str = ""


def papers_numbers(run: Run) -> Papers | None:
    """What the paper has of the experiment that a run is; None where it prints no number of it."""
    if row := papers_row(run):
        paper, note = row
        numbers = {"error_test": f"{paper.error_test:.2f}", "num_params": f"{paper.num_params / 1e6:.2f} M"}
        return Papers(numbers, "Table 1", note)
    data, model, num_observed = series_cells.cell_of(run) or ("", "", 0)
    value = TABLE2.get(model, {}).get(num_observed)
    if data != series_cells.PAPERS_DATA or value is None:
        return None
    return Papers(
        {"rmse": f"{value:.4f}"}, "Table 2", "the paper's spirals are not published; these are made anew"
    )
