"""Figure 5: the way from noise to data, density and samples of continuous flows beside planar ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nodebench.reporting.cells import NO_RUN
from nodebench.reporting.figures.drawing.drawing import Drawing, NothingToDrawError
from nodebench.reporting.figures.drawing.panels import (
    new_figure,
    place,
    show_density,
    show_words,
    to_unit,
    write,
)
from nodebench.reporting.figures.drawing.style import GREY, MODEL_COLOURS, MODEL_NAMES, WIDTH
from nodebench.reporting.flow_cells import UNITS, FlowCell, find_flow_cell, seeds_note
from nodebench.reporting.flow_ways import TURN_COLUMNS, WAY_COLUMNS, turn_columns, way_columns
from nodebench.reporting.pictures import DamagedPicturesError, Pictures, read_pictures
from nodebench.reporting.recipes import Recipes
from nodebench.reporting.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DATA = {"two_circles": "Two Circles", "two_moons": "Two Moons"}
EXPERIMENTS = {"cnf": "fig5_cnf", "planar_nf": "fig5_nf"}
NUM_UNITS = 64  # the paper's M and K
BETWEEN_CIRCLES = 0.75  # of radius 0.5 and 1
FRACTIONS = (0.05, 0.2, 0.4, 0.6, 0.8, 1.0)
ROWS = (("Density", "cnf", "density"), ("Samples", "cnf", "samples"), ("NF", "planar_nf", "density"))
SUMMARY_COLUMNS = ("nll", "nll_stderr", "nll_tight", "num_params", "nfe_forward", "nfe_backward")

# Inches.
PANEL, GAP = 1.12, 0.05
LEFT, TOP, BOTTOM, TARGET_GAP = 0.76, 0.3, 0.32, 0.16
FRAME_PANEL, FRAME_TOP, FRAME_BOTTOM = 2.2, 0.62, 0.42

Cells = dict[tuple[str, str], FlowCell]


def fig5(runs: Sequence[Run], recipes: Recipes) -> Drawing:
    """Two Circles and Two Moons at six shares of the time: density and samples of the CNF, density of the NF.

    Laid out as in Chen et al. (2018), Fig. 5, with the target's histogram on the right; the NF's share of time is its
    share of layers. Below is the NLL of each over its seeds, where they are several. The frames are all the shares that
    the runs have. Raises NothingToDrawError if none of the runs belongs to the figure.
    """
    cells: Cells = {
        (data, model): find_flow_cell(runs, experiment, data, model, NUM_UNITS, recipes)
        for data in DATA
        for model, experiment in EXPERIMENTS.items()
    }
    if all(cell.status == NO_RUN for cell in cells.values()):
        raise NothingToDrawError("make them with `nodebench train -m experiment=fig5_cnf` and `... fig5_nf`")
    block = TOP + len(ROWS) * (PANEL + GAP) + BOTTOM
    complaints = [cell.complaint for cell in cells.values() if cell.complaint]
    figure = new_figure(WIDTH, len(DATA) * block, complaints)
    for number, data in enumerate(DATA):
        _draw_block(figure, number * block, cells, data)
        middle = LEFT + (len(FRACTIONS) * (PANEL + GAP) - GAP) / 2
        words = f"({'ab'[number]}) {DATA[data]}{_likelihoods(cells, data)}"
        write(figure, middle, (number + 1) * block - 0.2, words)
    notes = [*seeds_note(cells.values()), *(note for cell in cells.values() for note in cell.notes)]
    numbers = pd.DataFrame([line for cell in cells.values() for line in _numbers(cell)]).convert_dtypes()
    return Drawing(figure, numbers, notes, frames=lambda: _frames(cells))


def _likelihoods(cells: Cells, data: str) -> str:
    """The NLL of both models over their seeds; nothing where they have one each."""
    found = [
        f"{MODEL_NAMES[model]} {cell.mean('nll'):.3f} ± {cell.error('nll'):.3f}"
        for model in EXPERIMENTS
        if len((cell := cells[data, model]).values("nll")) > 1
    ]
    return f"; NLL in nats: {', '.join(found)}" if found else ""


def _draw_block(figure: Figure, top: float, cells: Cells, data: str) -> None:
    for row, (label, model, kind) in enumerate(ROWS):
        at = top + TOP + row * (PANEL + GAP)
        write(figure, LEFT - 0.1, at + PANEL / 2, label, ha="right")
        for column, fraction in enumerate(FRACTIONS):
            axes = place(figure, LEFT + column * (PANEL + GAP), at, PANEL)
            _draw_picture(axes, cells[data, model], kind, fraction)
    for column, fraction in enumerate(FRACTIONS):
        write(figure, LEFT + column * (PANEL + GAP) + PANEL / 2, top + TOP - 0.12, f"{fraction:.0%}")
    left = LEFT + len(FRACTIONS) * (PANEL + GAP) + TARGET_GAP
    size = WIDTH - left - 0.06
    at = top + TOP + (len(ROWS) * (PANEL + GAP) - GAP - size) / 2
    write(figure, left + size / 2, at - 0.12, "Target")
    axes = place(figure, left, at, size)
    pictures = _any_pictures(cells, data)
    if pictures is None:
        show_words(axes, NO_RUN)
    else:
        show_density(axes, pictures.target)


def _draw_picture(axes: Axes, cell: FlowCell, kind: str, fraction: float) -> None:
    if cell.pictures is None:
        show_words(axes, cell.without_picture)
    elif not cell.pictures.has(fraction):
        show_words(axes, "not recorded")
    else:
        show_density(axes, getattr(cell.pictures, kind)[cell.pictures.at(fraction)])


def _any_pictures(cells: Cells, data: str) -> Pictures | None:
    return next((cells[data, model].pictures for model in EXPERIMENTS if cells[data, model].pictures), None)


def _frames(cells: Cells) -> Iterator[Figure]:
    """Both data sets side by side, density and samples of the CNF, at every share of the time."""
    width = 4 * FRAME_PANEL + 8 * GAP
    figure = new_figure(width, FRAME_TOP + FRAME_PANEL + FRAME_BOTTOM)
    moving = []
    for number, data in enumerate(DATA):
        left = GAP + number * (2 * (FRAME_PANEL + GAP) + 3 * GAP)
        write(figure, left + FRAME_PANEL + GAP / 2, 0.18, DATA[data], fontsize=11)
        cell = cells[data, "cnf"]
        for column, kind in enumerate(("density", "samples")):
            at = left + column * (FRAME_PANEL + GAP)
            write(figure, at + FRAME_PANEL / 2, 0.46, kind.capitalize(), color=GREY)
            axes = place(figure, at, FRAME_TOP, FRAME_PANEL)
            if cell.pictures is None:
                show_words(axes, cell.without_picture)
            else:
                pictures = getattr(cell.pictures, kind)
                moving.append((show_density(axes, pictures[0]), pictures, cell.pictures))
    bar = place(figure, GAP, FRAME_TOP + FRAME_PANEL + 0.2, width - 0.65, 0.05)
    bar.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[])
    (done,) = bar.barh(0.5, 0.0, height=1.0, color=MODEL_COLOURS["cnf"])
    share = bar.text(1.02, 0.5, "", va="center", fontsize=10)
    fractions = [pictures.fractions for *_, pictures in moving]
    for fraction in np.unique(np.concatenate(fractions).round(6)) if fractions else [1.0]:
        for image, frames, pictures in moving:
            image.set_data(to_unit(frames[pictures.at(fraction)]))
        done.set_width(fraction)
        share.set_text(f"{fraction:.0%}")
        yield figure


def _numbers(cell: FlowCell) -> list[dict[str, object]]:
    """One line of the CSV for every run of the cell."""
    return [
        {
            "data": cell.data,
            "model": cell.model,
            "units": run.setting(UNITS[cell.model]),
            "seed": run.seed,
            "status": run.status,
            "hash": run.hash,
            **{column: run.summary.get(column) for column in SUMMARY_COLUMNS},
            **_way(cell, run),
        }
        for run in (cell.row.runs if cell.row else ())
    ]


def _way(cell: FlowCell, run: Run) -> dict[str, float | None]:
    """The way from noise to data in numbers; None where the run left no picture of it, or a number is not of it."""
    numbers: dict[str, float | None] = dict.fromkeys((*WAY_COLUMNS, *TURN_COLUMNS))
    try:
        pictures = read_pictures(run.folder)
    except DamagedPicturesError:
        return numbers
    numbers |= way_columns(pictures)
    turns = (cell.data, cell.model) == ("two_circles", "cnf")  # a planar flow's inner mass comes from outside
    return numbers | (turn_columns(pictures, BETWEEN_CIRCLES) if turns else {})
