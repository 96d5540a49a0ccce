"""Panels with two axes: their titles, their words, and numbers as powers of ten."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from nodebench.reporting.figures.drawing.panels import place
from nodebench.reporting.figures.drawing.style import GREY, PALE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DOT_AREA = 13.0  # square points
DOT_WIDTH = 4.6  # points, with the air to the next


def chart(
    figure: Figure,
    box: tuple[float, float, float, float],
    *,
    title: str,
    x: str,
    y: str,
    log: str = "",
) -> Axes:
    """Axes at `box` (left, top, width, height in inches); `log` names the logarithmic ones: "", "x", "y" or "xy"."""
    axes = place(figure, *box)
    axes.set_title(title, loc="left", pad=7)
    axes.set(xlabel=x, ylabel=y)
    axes.grid(color=PALE)
    axes.set_axisbelow(True)
    if "x" in log:
        axes.set_xscale("log")
    if "y" in log:
        axes.set_yscale("log")
    return axes


def plain_numbers(axes: Axes, which: str) -> None:
    """Write the numbers at the logarithmic axis `which` ("x" or "y") out, as 20 and 400."""
    from matplotlib.ticker import LogFormatter

    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(LogFormatter())
    axis.set_minor_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(1.6, 0.5)))


def whole_decades(axes: Axes, values: Iterable[float]) -> None:
    """Let the logarithmic y axis begin and end at powers of ten around `values`, and number these alone.

    Numbers in between, which matplotlib writes within one decade, would push the axis' name out of the figure.
    """
    from matplotlib.ticker import NullFormatter

    axes.yaxis.set_minor_formatter(NullFormatter())
    known = [value for value in values if value > 0]
    axes.set_ylim(
        10.0 ** math.floor(math.log10(min(known))), 10.0 ** math.ceil(math.log10(max(known)) + 1e-9)
    )


def whole_epochs(axes: Axes, last: float) -> None:
    """Let the x axis count epochs, or steps, from 0, in whole numbers."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlim(0, 1.04 * last)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))


def power(value: float) -> str:
    """A power of ten as mathematics; 1 and other numbers as they are."""
    exponent = round(math.log10(value))
    if not math.isclose(value, 10.0**exponent, rel_tol=1e-6):
        return f"{value:g}"
    return "1" if exponent == 0 else f"$10^{{{exponent}}}$"


def say(axes: Axes, words: str) -> None:
    """Words in the middle of a chart that has nothing to show."""
    axes.set(xticks=[], yticks=[])
    axes.minorticks_off()
    axes.text(0.5, 0.5, words, ha="center", va="center", color=GREY, fontsize=8, transform=axes.transAxes)


def dots(
    axes: Axes,
    x: Sequence[float] | Any,
    y: Sequence[float] | Any,
    colour: str,
    *,
    aside: float = 0.0,
    **style: Any,
) -> None:
    """One dot a pair; where many lie on each other, the dot is darker. They stand `aside` of x, in dots' widths."""
    from matplotlib.transforms import ScaledTranslation

    inches = aside * DOT_WIDTH / 72
    shift = ScaledTranslation(inches, 0, axes.figure.dpi_scale_trans)
    look = {"s": DOT_AREA, "color": colour, "alpha": 0.45, "linewidths": 0, "zorder": 3, **style}
    # Shifted afterwards: the axes' limits are those of the numbers.
    axes.scatter(x, y, **look).set_offset_transform(axes.transData + shift)


def ring(axes: Axes, x: float, y: float, colour: str) -> None:
    """A number of the paper: a white diamond with an edge in `colour`."""
    axes.plot(
        *([x], [y], "D"),
        markersize=5.5,
        markerfacecolor="white",
        markeredgecolor=colour,
        markeredgewidth=1.3,
        zorder=5,
    )
