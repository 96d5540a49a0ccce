"""Reads slopes.csv of `nodebench bench scaling`: how memory and time of a training step grow with depth."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass, field
from pathlib import Path

FILE = Path("scaling") / "slopes.csv"
COLUMNS = ("model", "gradient", "axis", "quantity", "exponent", "stderr")


@dataclass(frozen=True)
class Growth:
    """Exponents p of quantity ~ depth^p, by (model, gradient, quantity). `path` is None where no file was found."""

    path: str | None = None
    exponents: dict[tuple[str, str, str], tuple[float, float | None]] = field(default_factory=dict)
    problem: str = ""

    def with_depth(self, model: str, gradient: str, quantity: str) -> tuple[float, float | None] | None:
        """The exponent and its standard error; a model without a gradient mode has an empty one."""
        return self.exponents.get((model, gradient, quantity))


def find_growth(root: Path) -> Growth:
    """The slopes in `scaling/slopes.csv` in `root`, beside it, or beside the folder that it lies in."""
    here = root.resolve()
    for folder in (here, here.parent, here.parent.parent):
        path = folder / FILE
        if path.is_file():
            return _read(path, os.path.relpath(path, here))
    return Growth()


def _read(path: Path, name: str) -> Growth:
    exponents = {}
    try:
        with open(path, encoding="utf-8", newline="") as file:
            for line in csv.DictReader(file):
                if line["axis"] == "depth":
                    stderr = float(line["stderr"]) if line["stderr"] else None
                    key = (line["model"], line["gradient"] or "", line["quantity"])
                    exponents[key] = (float(line["exponent"]), stderr)
    except (OSError, ValueError, TypeError, KeyError, csv.Error):
        problem = f"{name} cannot be read: `nodebench bench scaling` writes it with the columns {', '.join(COLUMNS)}"
        return Growth(name, {}, problem)
    if not exponents:
        return Growth(name, {}, f"{name} has no exponents: `nodebench bench scaling` writes it anew")
    return Growth(name, exponents)
