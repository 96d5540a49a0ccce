"""Figure 4: planar normalizing flows and continuous ones, fitted to densities known up to a constant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nodebench.reporting.cells import NO_RUN, num_steps
from nodebench.reporting.figures.drawing.drawing import Drawing, NothingToDrawError
from nodebench.reporting.figures.drawing.panels import new_figure, place, show_density, show_words, write
from nodebench.reporting.figures.drawing.style import (
    GREY,
    MODEL_COLOURS,
    MODEL_MARKERS,
    MODEL_NAMES,
    PALE,
    WIDTH,
)
from nodebench.reporting.flow_cells import FlowCell, find_flow_cell, seeds_note
from nodebench.reporting.recipes import Recipes
from nodebench.reporting.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import Container
    from matplotlib.figure import Figure

TARGETS = ("u1", "u3", "u4")  # the paper's targets 1, 2, 3
EXPERIMENTS = {"planar_nf": "fig4_nf", "cnf": "fig4_cnf"}
LETTERS = {"planar_nf": "K", "cnf": "M"}
UNITS = (2, 4, 8, 16, 32)
PICTURED = (2, 8, 32)
BESIDE = {"planar_nf": 0.88, "cnf": 1.14}  # where the dots of single seeds stand, as a factor of K or M

# Inches.
PANEL, GAP, BLOCK_GAP = 0.92, 0.05, 0.16
LEFT, TOP, BOTTOM = 0.26, 0.3, 0.46
KL_GAP, RIGHT = 0.62, 0.06
CAPTION = TOP + len(TARGETS) * (PANEL + GAP) + 0.24

Cells = dict[tuple[str, str, int], FlowCell]


def fig4(runs: Sequence[Run], recipes: Recipes) -> Drawing:
    """Targets, densities of both flows, and their KL divergence in nats against K and M.

    Laid out and oriented as in Chen et al. (2018), Fig. 4: the pictures are of (-4, 4)^2 with z2 growing downwards.
    Error bars are the 95 % interval over seeds, with a dot beside for each, or one seed's standard error over its
    samples. Raises NothingToDrawError if none of the runs belongs to the figure.
    """
    cells: Cells = {
        (data, model, units): find_flow_cell(runs, experiment, data, model, units, recipes)
        for data in TARGETS
        for model, experiment in EXPERIMENTS.items()
        for units in UNITS
    }
    if all(cell.status == NO_RUN for cell in cells.values()):
        raise NothingToDrawError("make them with `nodebench train -m experiment=fig4_cnf` and `... fig4_nf`")
    height = TOP + len(TARGETS) * PANEL + (len(TARGETS) - 1) * GAP + BOTTOM
    figure = new_figure(WIDTH, height, [cell.complaint for cell in cells.values() if cell.complaint])
    right_of_pictures = _draw_pictures(figure, cells)
    _draw_kl(figure, cells, right_of_pictures + KL_GAP)
    notes = [*seeds_note(cells.values()), *(note for cell in cells.values() for note in cell.notes)]
    numbers = pd.DataFrame([_numbers(cell) for cell in cells.values()]).convert_dtypes()
    return Drawing(figure, numbers, notes)


def _draw_pictures(figure: Figure, cells: Cells) -> float:
    """Blocks (a) to (c) and their labels; returns their right edge."""
    for row, data in enumerate(TARGETS):
        top = TOP + row * (PANEL + GAP)
        write(figure, LEFT / 2, top + PANEL / 2, str(row + 1))
        left = LEFT
        pictures = [cell.pictures for cell in cells.values() if cell.data == data and cell.pictures]
        target = place(figure, left, top, PANEL)
        if pictures:
            show_density(target, pictures[0].target, y_down=True)
        else:
            show_words(target, NO_RUN)
        for model in EXPERIMENTS:
            left += PANEL + BLOCK_GAP
            for units in PICTURED:
                _draw_density(place(figure, left, top, PANEL), cells[data, model, units])
                if row == 0:
                    write(figure, left + PANEL / 2, TOP - 0.13, f"{LETTERS[model]} = {units}")
                left += (PANEL + GAP) * (units != PICTURED[-1])
    block = len(PICTURED) * PANEL + (len(PICTURED) - 1) * GAP
    first = LEFT + PANEL + BLOCK_GAP
    write(figure, LEFT + PANEL / 2, CAPTION, "(a) Target")
    write(figure, first + block / 2, CAPTION, "(b) NF")
    write(figure, first + block + BLOCK_GAP + block / 2, CAPTION, "(c) CNF")
    return first + 2 * block + BLOCK_GAP


def _draw_density(axes: Axes, cell: FlowCell) -> None:
    if cell.pictures is None:
        show_words(axes, cell.without_picture)
    else:
        show_density(axes, cell.pictures.density[-1], y_down=True)


def _draw_kl(figure: Figure, cells: Cells, left: float) -> None:
    """Block (d): a panel for every target, all with one axis of KL, linear near 0 and logarithmic above."""
    width = WIDTH - RIGHT - left
    means = [mean for cell in cells.values() if (mean := cell.mean("kl")) is not None]
    lowest, highest = min([0.0, *means]), max([1.0, *means])
    for row, data in enumerate(TARGETS):
        axes = place(figure, left, TOP + row * (PANEL + GAP) + 0.04, width, PANEL - 0.08)
        curves = [
            _draw_curve(axes, model, [cells[data, model, units] for units in UNITS]) for model in EXPERIMENTS
        ]
        optimum = axes.axhline(0.0, color=GREY, linewidth=0.9, linestyle="--", label="optimum")
        axes.set_xscale("log", base=2)
        axes.set_yscale("symlog", linthresh=0.01, linscale=0.6)
        axes.set_xticks(UNITS, [str(units) for units in UNITS] if row == len(TARGETS) - 1 else [])
        axes.set_yticks([0.0, 0.01, 0.1, 1.0, 10.0], ["0", "0.01", "0.1", "1", "10"])
        axes.minorticks_off()
        axes.set_xlim(UNITS[0] / 1.25, UNITS[-1] * 1.25)
        axes.set_ylim(min(-0.004, 1.5 * lowest), 2.5 * highest)
        axes.grid(axis="y", color=PALE)
        if row == len(TARGETS) // 2:
            axes.set_ylabel("KL (nats)")
        if row == 0:
            axes.legend(
                handles=[*curves, optimum],
                loc="lower center",
                bbox_to_anchor=(0.44, 0.94),
                ncols=3,
                handlelength=1.3,
                handletextpad=0.4,
                columnspacing=0.9,
            )
    write(figure, left + width / 2, CAPTION, "(d) KL against K, M")


def _draw_curve(axes: Axes, model: str, cells: Sequence[FlowCell]) -> Container:
    """The cells that have a KL; a cross at the top marks one whose runs all failed."""
    known = [cell for cell in cells if cell.mean("kl") is not None]
    colour = MODEL_COLOURS[model]
    curve = axes.errorbar(
        [cell.units for cell in known],
        np.array([cell.mean("kl") for cell in known], dtype=float),
        np.array([cell.error("kl") or 0.0 for cell in known], dtype=float),
        color=colour,
        marker=MODEL_MARKERS[model],
        label=MODEL_NAMES[model],
        capsize=2.0,
        elinewidth=0.9,
    )
    for cell in known:
        if len(values := cell.values("kl")) > 1:
            beside = [cell.units * BESIDE[model]] * len(values)
            axes.plot(beside, values, ".", color=colour, markersize=4.0, markeredgewidth=0.0, alpha=0.7)
    failed = [cell.units for cell in cells if cell.status not in ("finished", "unfinished", NO_RUN)]
    at_the_top = axes.get_xaxis_transform()
    axes.plot(failed, [0.93] * len(failed), "x", color=colour, transform=at_the_top, clip_on=False)
    return curve


def _numbers(cell: FlowCell) -> dict[str, object]:
    """The cell's line of the CSV."""
    row = cell.row
    columns = ("kl_stderr", "kl_tight", "mass_in_box", "num_params", "nfe_forward", "nfe_backward")
    return {
        "data": cell.data,
        "model": cell.model,
        "units": cell.units,
        "status": cell.status,
        "hash": row.identity["hash"] if row else None,
        "num_steps": num_steps(row) if row else None,
        "seeds": len(row.counted) if row else 0,
        "kl": cell.mean("kl"),
        "kl_error_bar": cell.error("kl"),
        **{column: cell.mean(column) for column in columns},
    }
