"""Writes a drawing as PNG, PDF, CSV and GIF, each beside its final name and then renamed."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nodebench.reporting.figures.drawing.drawing import Drawing
from nodebench.reporting.figures.drawing.style import house_style
from nodebench.reporting.rendering import csv_text
from nodebench.reporting.replacing import replace_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PNG_DPI = 200
GIF_DPI = 90
FRAME_MS = 140
LAST_FRAME_MS = 2500


def save(drawing: Drawing, folder: Path, name: str, *, animate: bool = False) -> list[Path]:
    """Write name.png, .pdf and .csv into `folder`, and name.gif if `animate`; returns their paths.

    The same drawing gives the same bytes. Everything is rendered before anything is written.
    Raises OSError if the folder cannot be written.
    """
    with house_style():
        contents = {
            "png": _rendered(drawing.figure, "png"),
            "pdf": _rendered(drawing.figure, "pdf"),
            "csv": csv_text(drawing.data).encode(),
        }
        if animate:
            contents["gif"] = _gif(drawing)
    folder.mkdir(parents=True, exist_ok=True)
    return [replace_file(folder / f"{name}.{ending}", content) for ending, content in contents.items()]


def _rendered(figure: Figure, ending: str) -> bytes:
    file = io.BytesIO()
    undated = {"pdf": {"CreationDate": None}}
    figure.savefig(file, format=ending, dpi=PNG_DPI, metadata=undated.get(ending))
    return file.getvalue()


def _gif(drawing: Drawing) -> bytes:
    """All frames, looping for ever, the last one held."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    if drawing.frames is None:
        raise ValueError("a drawing without frames cannot be animated")
    images = []
    for figure in drawing.frames():
        figure.set_dpi(GIF_DPI)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        images.append(picture.quantize(dither=Image.Dither.NONE))
    file = io.BytesIO()
    durations = [*[FRAME_MS] * (len(images) - 1), LAST_FRAME_MS]
    images[0].save(file, "GIF", save_all=True, append_images=images[1:], duration=durations, loop=0)
    return file.getvalue()
