"""Tables with a name, made from run folders: one module a table, whose one public function has its name.

A new table is a new module here; the folder is the list.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from pathlib import Path

from nodebench.reporting.layout import Table
from nodebench.reporting.recipes import ANY_RECIPE, Recipes
from nodebench.reporting.runs import Run


def table_names() -> list[str]:
    """The tables that have a name, sorted: the modules of this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg)


def named_table(name: str, runs: Sequence[Run], root: Path, recipes: Recipes = ANY_RECIPE) -> Table:
    """The table called `name`, one of table_names(), of the runs found under `root`.

    Runs of `recipes` come before others, and the table says where it shows another.

    Raises NothingToTabulateError or NotMeasuredError if no run belongs to it.
    """
    module = importlib.import_module(f"{__name__}.{name}")
    table: Table = getattr(module, name)(runs, root, recipes)
    return table
