"""Figure 7: rates of Poisson processes, learned from the events alone, beside the true ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nodebench.reporting.cells import NO_RUN, Choice, choose
from nodebench.reporting.figures.drawing.charts import say
from nodebench.reporting.figures.drawing.drawing import Drawing, NothingToDrawError
from nodebench.reporting.figures.drawing.panels import new_figure, place, write
from nodebench.reporting.figures.drawing.series import OBSERVATION, PREDICTION, TRUTH
from nodebench.reporting.figures.drawing.style import GREY, PALE, WIDTH
from nodebench.reporting.pictures import DamagedPicturesError
from nodebench.reporting.rate_pictures import RatePictures, read_rate_pictures
from nodebench.reporting.recipes import Recipes
from nodebench.reporting.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLES = {
    "sine": "(a) one rate for all sequences, $z(t_0)$ a parameter",
    "spiral": "(b) a rate of its own for each sequence, $z(t_0)$ read off its events",
}
NUM_PANELS = {"sine": 1, "spiral": 3}
SUMMARY_COLUMNS = (
    *("nll_event", "nll_event_true", "nll_event_constant", "elbo_event", "kl_z0"),
    *("ks", "ks_true", "ks_constant", "rate_error", "rate_error_constant"),
)
SMALL = 7.5  # points

# Inches.
LEFT, RIGHT, TOP, GAP = 0.5, 0.14, 0.5, 0.42
HIGH, WORDS = 1.6, 0.98


def fig7(runs: Sequence[Run], recipes: Recipes) -> Drawing:
    """Events and rates of the first test sequences: one of those that share a rate, three with rates of their own.

    After Chen et al. (2018), Fig. 7, whose toy data the paper does not describe: ours are drawn at known rates. Every
    finished seed is a line. Raises NothingToDrawError if none of the runs belongs to it.
    """
    cells = {variant: _find(runs, variant, recipes) for variant in TITLES}
    if all(cell.status == NO_RUN for cell in cells.values()):
        raise NothingToDrawError("make them with `nodebench reproduce fig7`")
    complaints = [cell.complaint for cell in cells.values() if cell.complaint]
    figure = new_figure(WIDTH, TOP + 2 * (HIGH + WORDS) - 0.25, complaints)
    notes = [note for cell in cells.values() for note in cell.notes]
    for row, (variant, cell) in enumerate(cells.items()):
        seeds, problems = _read(cell)
        notes += problems
        _draw_row(figure, TOP + row * (HIGH + WORDS), variant, cell, seeds)
    _legend(figure)
    numbers = [
        line for variant, cell in cells.items() for line in cell.numbers({"data": variant}, SUMMARY_COLUMNS)
    ]
    return Drawing(figure, pd.DataFrame(numbers).convert_dtypes(), notes)


def _find(runs: Sequence[Run], variant: str, recipes: Recipes) -> Choice:
    """The runs of one kind of toy events; of those that share a rate without an encoder, of the others with one."""
    matching = [
        run
        for run in runs
        if run.names == ("event_toy", "latent_rate")
        and run.setting("data.variant") == variant
        and (run.setting("model.encoder") == "none") == (variant == "sine")
    ]
    return choose(matching, f"rates of {variant}", f"nodebench train experiment=fig7_{variant}", recipes)


def _read(cell: Choice) -> tuple[list[RatePictures], list[str]]:
    """What every finished seed left to be drawn, the lowest first, and a note for each that left nothing."""
    found, problems = [], []
    counted = cell.row.counted if cell.row else []
    for run in sorted(counted, key=lambda run: (run is not cell.drawn_run, run.seed)):
        try:
            found.append(read_rate_pictures(run.folder))
        except DamagedPicturesError as error:
            problems.append(f"no picture: {error}")
    return found, problems


def _draw_row(figure: Figure, top: float, variant: str, cell: Choice, seeds: Sequence[RatePictures]) -> None:
    """The first sequences side by side, and below them what the rates are worth over all of the test set."""
    number = NUM_PANELS[variant]
    width = (WIDTH - LEFT - RIGHT - (number - 1) * GAP) / number
    for index in range(number):
        axes = place(figure, LEFT + index * (width + GAP), top, width, HIGH)
        _draw_panel(axes, cell, seeds, index)
        if index == 0:
            axes.set_ylabel(r"$\lambda(t)$", labelpad=1.5)
    middle = (WIDTH + LEFT - RIGHT) / 2
    write(figure, middle, top - 0.12, TITLES[variant])
    for line, words in enumerate(_numbers_in_words(cell)):
        write(figure, middle, top + HIGH + 0.45 + 0.15 * line, words, color=GREY, fontsize=SMALL)


def _draw_panel(axes: Axes, cell: Choice, seeds: Sequence[RatePictures], index: int) -> None:
    if not seeds:
        say(axes, cell.without_picture)
        return
    first = seeds[0]
    if index >= len(first.rate):
        say(axes, f"the test set has {len(first.rate)} sequences alone")
        return
    axes.plot(first.grid, first.rate_true[index], **TRUTH)
    for seed in seeds:
        axes.plot(seed.grid, seed.rate[index], **{**PREDICTION, "linewidth": 1.0, "alpha": 0.75})
    axes.axhline(first.rate_constant, color=GREY, linewidth=0.8, linestyle=":")
    highest = max(np.nanmax(each) for each in (first.rate_true[index], *(seed.rate[index] for seed in seeds)))
    axes.set(xlim=first.grid[[0, -1]], ylim=(-0.14 * highest, 1.08 * highest))
    axes.set_xlabel("$t$", labelpad=1.5)
    axes.locator_params(axis="y", nbins=5)
    events = first.events[index][np.isfinite(first.events[index])]
    axes.plot(events, np.full(len(events), -0.07 * highest), **{**OBSERVATION, "clip_on": False})
    axes.grid(color=PALE)
    axes.set_axisbelow(True)


def _numbers_in_words(cell: Choice) -> tuple[str, str]:
    rates = {"learned": "nll_event", "true rate": "nll_event_true", "constant rate": "nll_event_constant"}
    nll = [f"{name} {words}" for name, column in rates.items() if (words := cell.words(column, ".3f"))]
    bound = cell.mean("elbo_event")
    nll += [] if bound is None else [f"bound (with the KL of z(t0)) {-bound:.3f}"]
    error, ks = cell.words("rate_error", ".3f"), cell.words("ks", ".4f")
    return (
        f"NLL in nats an event: {', '.join(nll)}" if nll else "",
        f"RMS error of the rate, relative: {error}; KS distance of the rescaled times: {ks}" if error else "",
    )


def _legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D

    looks = {
        "true rate": TRUTH,
        "learned rate, a line a seed": PREDICTION,
        "best constant rate": {"color": GREY, "linewidth": 0.8, "linestyle": ":"},
        "events": OBSERVATION,
    }
    _, height = figure.get_size_inches()
    figure.legend(
        handles=[Line2D([], [], label=words, **look) for words, look in looks.items()],
        loc="upper left",
        bbox_to_anchor=(LEFT / WIDTH, 1 - 0.02 / height),
        ncols=len(looks),
        borderaxespad=0.0,
        handlelength=1.8,
    )
