"""One look for all figures: sizes in points for a page 9.6 inches wide, a colour for every model."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import AbstractContextManager

WIDTH = 9.6  # inches; a README shows this at about 90 dots an inch, where 9 points are 11 pixels
COLORMAP = "viridis"  # perceptually uniform, dark where nothing is, as in the paper
MODEL_NAMES = {"planar_nf": "NF", "cnf": "CNF"}
MODEL_COLOURS = {"planar_nf": "#d1602a", "cnf": "#2b6cb0"}
MODEL_MARKERS = {"planar_nf": "s", "cnf": "o"}
# From red (1) to purple (1e-5), as in the paper; each darker than pure, to be told apart on white.
TOLERANCE_COLOURS = ("#d7263d", "#ee8822", "#b3a500", "#2a9d57", "#2b77c0", "#7d3ca3")
GRADIENT_COLOURS = {"direct": "#d1602a", "checkpointed": "#2a9d57", "adjoint": "#2b6cb0"}
GRADIENT_MARKERS = {"direct": "s", "checkpointed": "D", "adjoint": "o"}
SERIES_COLOURS = (
    *("#2b6cb0", "#d1602a", "#2a9d57", "#7d3ca3", "#b3a500", "#c2417c", "#14919b", "#8a5a32"),
    *("#444b59", "#7aa6d8"),
)
SERIES_MARKERS = ("o", "s", "D", "^", "v", "P", "X", "h", "<", ">")
LINE_WIDTH, MARKER_SIZE = 1.4, 4.5
GREY = "#6b7280"  # words and lines that step back
PALE = "#eef0f3"  # a panel without a picture

_STYLE = {
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.linewidth": 0.6,
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": "black",
    "ytick.labelcolor": "black",
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.pad": 5.0,  # numbers at minor ticks, which are 1.5 points shorter, in line with those at major ones
    "ytick.minor.pad": 5.0,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": LINE_WIDTH,
    "lines.markersize": MARKER_SIZE,
    "pdf.fonttype": 42,  # text in the PDF stays text
}


def series_looks(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """A colour and a mark for every name, in the order of the alphabet; after ten they come again."""
    return {
        name: (SERIES_COLOURS[number % len(SERIES_COLOURS)], SERIES_MARKERS[number % len(SERIES_MARKERS)])
        for number, name in enumerate(sorted(set(names)))
    }


def tolerance_colour(tol: float) -> str:
    """The colour of the nearest power of ten from 1 to 1e-5."""
    step = round(-math.log10(tol))
    return TOLERANCE_COLOURS[min(max(step, 0), len(TOLERANCE_COLOURS) - 1)]


def house_style() -> AbstractContextManager[None]:
    """Matplotlib's defaults with ours on top, whatever the user's matplotlibrc says."""
    import matplotlib.style

    return matplotlib.style.context(["default", _STYLE])
