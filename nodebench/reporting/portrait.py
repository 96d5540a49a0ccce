"""One experiment on a screen: its results beside the paper's, and its curves, over all of its seeds."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from nodebench.counted import counted
from nodebench.records import Shown
from nodebench.reporting.beside_paper import papers_numbers
from nodebench.reporting.epochs import curves_unasked, read_epochs, recorded_columns
from nodebench.reporting.layout import Column, Line, Table
from nodebench.reporting.rows import Row
from nodebench.reporting.sparklines import sparkline

ASKED = Shown.TABLE | Shown.AFTER_TRAINING
"""What is shown of a run unasked: in a table, and at the end of its training."""
MAX_SEEDS = 5  # that have a column each


def results(row: Row) -> Table | None:
    """A line a result: the mean over the seeds, the paper's number, each seed's own; None before a seed is finished."""
    columns = [column for column in row.columns if column.shown & ASKED and row.text(column.name)]
    if not columns:
        return None
    papers = papers_numbers(row.first)
    numbers = papers.numbers if papers else {}
    seeds = [replace(row, runs=[run], counted=[run]) for run in row.counted] if row.counted[1:] else []
    shown = seeds if len(seeds) <= MAX_SEEDS else []
    headings = [
        Column("result", is_number=False),
        Column(f"mean of {len(seeds)}" if seeds else "this run"),
        *([Column("paper")] if numbers else []),
        *(Column(f"seed {seed.first.seed}", rank=1) for seed in shown),
    ]
    lines = [
        Line(
            [
                column.name,
                row.text(column.name),
                *([numbers.get(column.name, "")] if numbers else []),
                *(seed.text(column.name) for seed in shown),
            ]
        )
        for column in columns
    ]
    units = dict.fromkeys(column.unit for column in columns if column.unit)
    interval = "±: half the 95 % interval over seeds (Student's t)." if seeds else ""
    paper = (
        f"Paper: Chen et al. 2018, {papers.source}{'; ' * bool(papers.note)}{papers.note}." if papers else ""
    )
    legend = [f"Units: {', '.join(units)}." if units else "", interval, paper]
    return Table(headings, lines, pd.DataFrame(), [sentence for sentence in legend if sentence])


def curves(row: Row) -> Table | None:
    """A line a column: its first number, its curve and its last, means over the seeds.

    Without columns that are 0 throughout; None without two records."""
    names = curves_unasked(recorded_columns(row.runs), row.columns)
    table, _ = read_epochs(row.runs, names)
    means = table.groupby("epoch", sort=True)[["step", *names]].mean()
    if len(means) < 2:
        return None
    last = means.index[-1], means["step"].iloc[-1]
    length = (
        counted(int(last[0]), "epoch")
        if row.first.setting("training.epochs")
        else counted(int(last[1]), "step")
    )
    lines = []
    for name in names:
        told = [f"{value:{row.columns[name].format}}" for value in means[name].dropna()]
        values = [
            float(text.replace(",", "")) for text in told
        ]  # a curve shows no change that its numbers do not
        if any(values):
            lines.append(Line([name, told[0], sparkline(values), told[-1]]))
    headings = [Column("curve", is_number=False), Column("first"), Column(f"over {length}", is_number=False)]
    return Table([*headings, Column("last")], lines, pd.DataFrame()) if lines else None
