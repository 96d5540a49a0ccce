"""What a workload leaves: a page, tables, a figure, and the machine that made them."""

from __future__ import annotations

import io
import platform
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from matplotlib.figure import Figure
from pandas import DataFrame

from nodebench import __version__
from nodebench.benchmark.libraries import BASELINES, missing_baselines
from nodebench.reporting.replacing import replace_file

FIGURE_DPI = 160


@dataclass(frozen=True)
class Report:
    """`page` is Markdown; `tables` are written as CSV under their names."""

    name: str
    page: str
    tables: dict[str, DataFrame]
    figure: Figure | None = field(default=None, repr=False)


def write(report: Report, folder: Path) -> list[Path]:
    """Write folder/NAME/NAME.md, a CSV a table, and NAME.png where there is a figure; returns the paths.

    Each is written beside its name and renamed. Raises OSError if the folder cannot be written.
    """
    target = folder / report.name
    target.mkdir(parents=True, exist_ok=True)
    written = [target / f"{report.name}.md"]
    replace_file(written[0], report.page.encode())
    for name, table in report.tables.items():
        written.append(target / f"{name}.csv")
        replace_file(written[-1], table.to_csv(index=False, lineterminator="\n").encode())
    if report.figure is not None:
        written.append(target / f"{report.name}.png")
        file = io.BytesIO()
        report.figure.savefig(file, format="png", dpi=FIGURE_DPI, metadata={"Software": None})
        replace_file(written[-1], file.getvalue())
    return written


def machine(device: torch.device) -> str:
    """One line: versions, processor, threads and device; no name of the computer."""
    versions = [f"nodebench {__version__}", f"torch {torch.__version__}"]
    for library in (*BASELINES, "jax"):
        try:
            versions.append(f"{library} {version(library)}")
        except PackageNotFoundError:
            continue
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    threads = torch.get_num_threads()
    return (
        f"{', '.join(versions)}; Python {platform.python_version()}, {platform.machine()}, device {name}, "
        f"{threads} thread{'' if threads == 1 else 's'}."
    )


def left_out() -> list[str]:
    """A sentence for every baseline that is not installed."""
    return [
        f"{name} is not installed and is left out; `pip install 'nodebench[baselines]'` brings it."
        for name in missing_baselines()
    ]
