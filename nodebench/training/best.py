"""The weights that did best on the validation split: which they are, and when it no longer pays to train on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class BestSoFar:
    """The lowest value of a column of validation among the records of a run so far.

    `column` None: nothing is held out, so none is better than another. `epoch` and `step` are those of the record, 0
    before the first; a value that only equals the lowest is no better.
    """

    def __init__(self, column: str | None) -> None:
        self.column = column
        self.value: float | None = None
        self.epoch = 0
        self.step = 0

    def is_beaten_by(self, record: Mapping[str, Any]) -> bool:
        """Take in the record of an epoch: whether it is the best so far, which it is from now on."""
        value = None if self.column is None else record.get(self.column)
        if value is None or (self.value is not None and value >= self.value):
            return False
        self.value, self.epoch, self.step = float(value), record["epoch"], record["step"]
        return True

    def state_dict(self) -> dict[str, Any]:
        """Plain values; what a checkpoint holds."""
        return {"column": self.column, "value": self.value, "epoch": self.epoch, "step": self.step}

    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:
        """Take over what `state_dict` returned; None, of a checkpoint from before it was kept, is no best so far."""
        if state is not None and state["column"] == self.column:
            self.value, self.epoch, self.step = state["value"], state["epoch"], state["step"]
