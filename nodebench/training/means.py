"""What training steps measure, and the means of an epoch that fill its record."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from nodebench.records.columns import KIND
from nodebench.records.metrics import FINAL
from nodebench.training.protocols import SolveCounts

_TIMES = ("time_forward_ms", "time_backward_ms", "time_step_ms")
COUNTS = tuple(field.name for field in fields(SolveCounts) if field.name != "nfe_of_samples")


@dataclass(frozen=True)
class StepMeasurement:
    """What one training step gave: plain numbers, read once after backward."""

    num_samples: int
    loss: float
    metrics: Mapping[str, float]
    counts: SolveCounts | None
    time_forward_ms: float
    time_backward_ms: float
    time_step_ms: float


class EpochMeans:
    """Running sums of an epoch. They are part of a checkpoint, so a resumed epoch has the same means."""

    def __init__(self) -> None:
        self.num_steps = 0
        self.num_samples = 0
        self._sums: dict[str, float] = {}
        self._counts: dict[str, float | None] = {}
        self._times: dict[str, list[float]] = {name: [] for name in _TIMES}

    def add(self, measured: StepMeasurement) -> None:
        """Add one training step."""
        self.num_steps += 1
        self.num_samples += measured.num_samples
        for name, value in {**measured.metrics, "loss_train": measured.loss}.items():
            self._sums[name] = self._sums.get(name, 0.0) + value * measured.num_samples
        for name in COUNTS:
            count = None if measured.counts is None else getattr(measured.counts, name)
            total = self._counts.get(name, 0)
            # One step without a count leaves the whole mean unknown.
            self._counts[name] = None if count is None or total is None else total + count
        for name in _TIMES:
            self._times[name].append(getattr(measured, name))

    def columns(self) -> dict[str, float | None]:
        """Means over samples (metrics), means a batch (counts), medians and `_iqr` over steps (times).

        time_epoch_s is the sum of the epoch's steps: no evaluation, no checkpoints.
        """
        row: dict[str, float | None] = {name: total / self.num_samples for name, total in self._sums.items()}
        for name, count in self._counts.items():
            row[name] = None if count is None else count / self.num_steps
        for name, values in self._times.items():
            row |= median_and_iqr(name, values)
        row["time_epoch_s"] = math.fsum(self._times["time_step_ms"]) / 1000
        return row

    def state_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return {
            "num_steps": self.num_steps,
            "num_samples": self.num_samples,
            "sums": dict(self._sums),
            "counts": dict(self._counts),
            "times": {name: list(values) for name, values in self._times.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.num_steps = state["num_steps"]
        self.num_samples = state["num_samples"]
        self._sums = dict(state["sums"])
        self._counts = dict(state["counts"])
        self._times = {name: list(values) for name, values in state["times"].items()}


def median_and_iqr(name: str, values: list[float]) -> dict[str, float | None]:
    """The median under `name` and the distance between the quartiles under `name`_iqr; of one value, 0."""
    lower, median, upper = (
        statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    )
    return {name: median, f"{name}_iqr": upper - lower}


def final_record(epochs: list[dict[str, Any]], measured: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The last record of a run: its last epoch, what was measured at the end, and time_epoch_s over all epochs."""
    record = dict(epochs[-1])
    record |= median_and_iqr("time_epoch_s", [epoch["time_epoch_s"] for epoch in epochs])
    for columns in measured:
        record |= columns
    return {**record, KIND: FINAL}
