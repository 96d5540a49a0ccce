"""One look for all figures: sizes in points for a page 9.6 inches wide, a colour for every model."""

from __future__ import annotations

from contextlib import AbstractContextManager

WIDTH = 9.6  # inches; a README shows this at about 90 dots an inch, where 9 points are 11 pixels
COLORMAP = "viridis"  # perceptually uniform, dark where nothing is, as in the paper
MODEL_NAMES = {"planar_nf": "NF", "cnf": "CNF"}
MODEL_COLOURS = {"planar_nf": "#d1602a", "cnf": "#2b6cb0"}
MODEL_MARKERS = {"planar_nf": "s", "cnf": "o"}
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
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "pdf.fonttype": 42,  # text in the PDF stays text
}


def house_style() -> AbstractContextManager[None]:
    """Matplotlib's defaults with ours on top, whatever the user's matplotlibrc says."""
    import matplotlib.style

    return matplotlib.style.context(["default", _STYLE])
