"""The paper's numbers beside ours, from the tables with a name that have both."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from nodebench.records import COLUMNS
from nodebench.records.jsonl import is_number
from nodebench.reporting.layout import Table
from nodebench.reporting.named_tables.swap import VERDICT_BEGINS
from nodebench.reporting.named_tables.table1 import NAMES as NETS
from nodebench.reporting.named_tables.table2 import RMSE_FORMAT
from nodebench.reporting.report.strips import Mark
from nodebench.reporting.series_cells import NAMES as SERIES_MODELS
from nodebench.reporting.series_cells import NUM_POINTS, NUMBERS_OBSERVED, PAPERS_DATA
from nodebench.reporting.series_words import LEGEND

WITHIN, LOWER, HIGHER, ONE_SEED = "within our interval", "ours is lower", "ours is higher", "one seed"


@dataclass(frozen=True)
class Comparison:
    """One number of the paper and what the finished seeds here have; `style` is how the numbers are printed."""

    name: str
    mean: float
    interval: float | None
    seeds: int
    paper: float
    style: str
    papers_style: str

    @property
    def mark(self) -> Mark:
        return Mark(self.mean, self.interval, self.paper)

    @property
    def ours(self) -> str:
        interval = "" if self.interval is None else f" ± {self.interval:{self.style}}"
        return f"{self.mean:{self.style}}{interval}"

    @property
    def verdict(self) -> str:
        """Where the paper's number lies, beside our interval; lower is better in all that are compared."""
        if self.interval is None:
            return ONE_SEED
        if abs(self.paper - self.mean) <= self.interval:
            return WITHIN
        return LOWER if self.mean < self.paper else HIGHER


@dataclass(frozen=True)
class Block:
    """The numbers of one table of the paper, in one unit; `remark`: what a reader has to know of all of them."""

    title: str
    remark: str
    comparisons: tuple[Comparison, ...]


def compare_with_paper(tables: Mapping[str, Table]) -> list[Block]:
    """What `tables`, by their names, have of ours beside the paper's; a table without any is left out."""
    blocks = []
    if "table1" in tables:
        remark = (
            "The paper's are single numbers, without seeds; one standard error of 0.42 % is 0.065 points."
        )
        blocks.append(Block("Table 1: test error on MNIST, %", remark, tuple(_table1(tables["table1"].data))))
    if "table2" in tables:
        remark = "The paper's are of its own spirals, which are not published; ours are of like ones."
        title = f"Table 2: RMSE after the window, by points seen of {NUM_POINTS}"
        blocks.append(Block(title, remark, tuple(_table2(tables["table2"].data))))
    return [block for block in blocks if block.comparisons]


def other_findings(tables: Mapping[str, Table]) -> Iterator[str]:
    """What the tables say in words: whether the latent ODE is below the RNNs, and whether a trained net is a flow."""
    if "table2" in tables:
        yield from itertools.takewhile(lambda sentence: sentence != LEGEND[0], tables["table2"].legend)
    for line in tables["swap"].lines if "swap" in tables else ():
        yield from (f"{line.cells[0]}: {note}." for note in line.notes if note.startswith(VERDICT_BEGINS))


def _table1(data: pd.DataFrame) -> Iterator[Comparison]:
    style = COLUMNS["error_test"].format
    for row in data.to_dict("records"):
        mean, interval, paper = (row[f"error_test{end}"] for end in ("", "_interval", "_paper"))
        if is_number(mean) and mean == mean and is_number(paper) and paper == paper:
            stem = ", res stem" if row["stem"] == "res" else ""
            known = interval if is_number(interval) and interval == interval else None
            yield Comparison(f"{NETS[row['row']]}{stem}", mean, known, row["seeds"], paper, style, style)


def _table2(data: pd.DataFrame) -> Iterator[Comparison]:
    rows = {(row["row"], row["measured"], row["data"]): row for row in data.to_dict("records")}
    for model, name in SERIES_MODELS.items():
        ours = rows.get((model, "rmse", PAPERS_DATA))
        papers = rows.get((f"{model}_paper", "rmse", PAPERS_DATA))
        if ours is None or papers is None:
            continue
        for number in NUMBERS_OBSERVED:
            mean, interval, seeds = (ours[f"at_{number}{end}"] for end in ("", "_interval", "_seeds"))
            if is_number(mean) and mean == mean:
                known = interval if is_number(interval) and interval == interval else None
                yield Comparison(
                    *(f"{name}, {number} points", mean, known, int(seeds)),
                    *(papers[f"at_{number}"], RMSE_FORMAT, ".4f"),
                )
