"""The paper's figures, drawn from run folders: one module a figure, whose one public function has its name.

A new figure is a new module here; the folder is the list. Nothing imports matplotlib before it draws.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from typing import Any

from nodebench.reporting.figures.drawing.drawing import Drawing, NothingToDrawError
from nodebench.reporting.recipes import ANY_RECIPE, Recipes
from nodebench.reporting.runs import Run

__all__ = ["Drawing", "NothingToDrawError", "draw", "figure_names"]


def figure_names() -> list[str]:
    """The figures that can be drawn, sorted: the modules of this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg)


def draw(name: str, runs: Sequence[Run], recipes: Recipes = ANY_RECIPE, **asked: Any) -> Drawing:
    """The figure called `name`, one of figure_names(). Raises NothingToDrawError if no run belongs to it.

    Runs of `recipes` come before others, and the figure says where it shows another. `asked`: what curves are to show.
    """
    from nodebench.reporting.figures.drawing.style import house_style

    module = importlib.import_module(f"{__name__}.{name}")
    with house_style():
        return getattr(module, name)(runs, recipes, **asked)
