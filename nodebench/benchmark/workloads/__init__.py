"""The workloads of `nodebench bench`: one module each, whose function of the same name runs it.

A new workload is a new module here; the folder is the list. Nothing imports torch before a workload runs.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nodebench.benchmark.comparison import Setup
    from nodebench.benchmark.report import Report


def workload_names() -> list[str]:
    """The workloads, sorted: the modules of this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def with_parts(name: str) -> list[str]:
    """The workload called `name` and those that go on from it, called `name_...`; none where there is no such one."""
    return [known for known in workload_names() if known == name or known.startswith(f"{name}_")]


def run_workload(name: str, setup: Setup) -> Report:
    """Run the workload called `name`, one of workload_names()."""
    report: Report = getattr(importlib.import_module(f"{__name__}.{name}"), name)(setup)
    return report
