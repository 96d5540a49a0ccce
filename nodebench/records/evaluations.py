"""evaluations.jsonl: a trained net on the test set again, with its own solver or others, one record an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nodebench.records.declared import COLUMNS

_ABOUT_THE_EVALUATION = {
    *("kind", "time", "step", "num_images", "solver", "status", "reason"),
    *("version", "git_commit", "device", "device_name"),
}


def scores_of(record: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of an evaluation's record that the task measured, in the order of its columns."""
    scores = {name: value for name, value in record.items() if name not in _ABOUT_THE_EVALUATION}
    return {name: value for name, value in COLUMNS.ordered(scores).items() if isinstance(value, int | float)}
