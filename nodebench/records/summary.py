"""summary.json: a run's last record beside its status, and what its task declared of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from nodebench.records.column import Column, undeclared
from nodebench.records.declared import COLUMNS

FILE = "summary.json"
OWN = "columns"
"""The key of what tables need to know of columns that nodebench does not know."""

_ABOUT_THE_RUN = {
    *("status", "reason", "seed", "num_steps", "version", "git_commit", "git_dirty", "mixed_versions"),
    *("torch", "device", "device_name", "num_threads", "num_processes", OWN),
}


def declaration(columns: Iterable[Column]) -> dict[str, Any]:
    """The entry of a summary that says how columns of the task's own are shown; empty where there are none."""
    own = {column.name: column.to_json() for column in columns if column.name not in COLUMNS}
    return {OWN: own} if own else {}


def own_columns(summary: Mapping[str, Any]) -> Iterator[Column]:
    """The columns of a summary that nodebench does not know: as the summary declares them, or as nobody did."""
    found = summary.get(OWN)
    declared = found if isinstance(found, dict) else {}
    for name, value in summary.items():
        if name in COLUMNS or name in _ABOUT_THE_RUN or not name.isidentifier():
            continue
        try:
            yield Column.from_json(name, declared[name])
        except (KeyError, TypeError, ValueError):
            if isinstance(value, int | float):
                yield undeclared(name)
