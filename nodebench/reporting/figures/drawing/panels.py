"""Square panels placed in inches from a figure's top left corner: densities, and words where there is none."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nodebench.reporting.figures.drawing.style import COLORMAP, GREY, PALE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage


FOOTNOTE_SIZE, FOOTNOTE_LINE = 7.0, 0.13  # points, and inches from line to line
MAX_FOOTNOTES = 3


def new_figure(width: float, height: float, footnotes: Sequence[str] = ()) -> Figure:
    """An empty figure of `width` x `height` inches, and below it the lines that `footnotes` need; it needs no display.

    Of many footnotes the first few are written, and how many more there are.
    """
    from matplotlib.figure import Figure

    told = list(footnotes[:MAX_FOOTNOTES])
    if len(footnotes) > MAX_FOOTNOTES:
        told.append(f"and {len(footnotes) - MAX_FOOTNOTES} more like these")
    per_line = int(width * 22)  # characters of this size
    lines = [line for note in told for line in textwrap.wrap(plain_label(note), per_line)]
    figure = Figure(figsize=(width, height + FOOTNOTE_LINE * len(lines)), facecolor="white")
    for number, line in enumerate(lines):
        write(figure, 0.06, height + FOOTNOTE_LINE * (number + 0.3), line, ha="left", fontsize=FOOTNOTE_SIZE)
    return figure


def plain_label(text: str) -> str:
    """Words from a run's files, shown as they stand: a dollar sign begins no formula."""
    return text.replace("$", r"\$")


def place(figure: Figure, left: float, top: float, width: float, height: float | None = None) -> Axes:
    """Axes `left` and `top` inches from the figure's top left corner; square unless `height` is given."""
    page_width, page_height = figure.get_size_inches()
    height = width if height is None else height
    bottom = page_height - top - height
    return figure.add_axes(
        (left / page_width, bottom / page_height, width / page_width, height / page_height)
    )


def write(figure: Figure, left: float, top: float, words: str, **style: Any) -> None:
    """Words whose centre is `left` and `top` inches from the figure's top left corner."""
    page_width, page_height = figure.get_size_inches()
    placed: dict[str, Any] = {"ha": "center", "va": "center", **style}
    figure.text(left / page_width, 1 - top / page_height, words, **placed)


def show_density(axes: Axes, image: np.ndarray, *, y_down: bool = False) -> AxesImage:
    """A density or histogram (z2, z1), brightest at its own maximum; `y_down`: z2 grows downwards."""
    _strip(axes)
    return axes.imshow(
        to_unit(image),
        cmap=COLORMAP,
        vmin=0.0,
        vmax=1.0,
        origin="upper" if y_down else "lower",
        aspect="auto",
    )


def show_words(axes: Axes, words: str) -> None:
    """An empty panel that says why."""
    _strip(axes)
    axes.set_facecolor(PALE)
    axes.text(0.5, 0.5, words, ha="center", va="center", color=GREY, fontsize=8, transform=axes.transAxes)


def to_unit(image: np.ndarray) -> np.ndarray:
    """The image over its own largest finite value; what is not finite is dark."""
    finite = np.where(np.isfinite(image), image, 0.0)
    peak = finite.max()
    return finite / peak if peak > 0 else finite


def _strip(axes: Axes) -> None:
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)
