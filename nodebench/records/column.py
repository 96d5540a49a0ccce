"""One column of a run's records: how its number is printed, and where it is shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Flag, auto
from typing import Any

YES_NO = ""
"""The format of a column of yes and no, which has no mean."""

_FORMAT = r"(,?\.\d{1,2}[efg])?"
_SPLITS = ("train", "val", "test")


class Shown(Flag):
    """Where a column is shown to somebody who did not ask for it."""

    NOWHERE = 0
    TABLE = auto()
    """In the result table of `nodebench table`."""
    AFTER_TRAINING = auto()
    """In what `nodebench train` ends with."""
    HPARAMS = auto()
    """In TensorBoard's table of all runs."""
    EVERYWHERE = TABLE | AFTER_TRAINING | HPARAMS


@dataclass(frozen=True)
class Column:
    """A column under its `name`, which is one in records, tables and summaries; it ends in its unit (`time_step_ms`).

    format: of its number in tables and on the screen, or YES_NO.
    unit: said below a table, in words, where the name does not tell: `errors in percent`.
    has_interval: a mean over seeds is shown with its 95 % interval.
    chart: the group of TensorBoard's charts that it stands in, or its whole tag, with a slash; empty: in none.
    screen: its label on the line of an epoch, which columns of several splits share; empty: it is not there.
    sign: what follows its number there: ` %`.
    shown: where, unasked.
    rank: where a table is wider than the terminal, columns of the highest rank go first; 0 stays longest.

    Raises ValueError for a name that is no identifier and a format that prints no number.
    """

    name: str
    format: str = ".4g"
    unit: str = ""
    has_interval: bool = False
    chart: str = "other"
    screen: str = ""
    sign: str = ""
    shown: Shown = Shown.EVERYWHERE
    rank: int = 0

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(f"a column's name is {self.name!r}; it must be one word such as `margin_test`")
        if re.fullmatch(_FORMAT, self.format, re.ASCII) is None:
            raise ValueError(
                f"column `{self.name}` has the format {self.format!r}; it must be one for numbers such as '.2f', "
                "or YES_NO"
            )

    @property
    def is_number(self) -> bool:
        return self.format != YES_NO

    @property
    def tag(self) -> str:
        """Where TensorBoard shows it: `error_val` of the chart `error` at `error/val`; empty where it does not."""
        if not self.chart or "/" in self.chart:
            return self.chart
        return f"{self.chart}/{self.name.removeprefix(f'{self.chart}_')}"

    @property
    def split(self) -> str:
        """`val` of `error_val`; empty where the name does not tell."""
        last = self.name.rpartition("_")[2]
        return last if last in _SPLITS else ""

    def on_screen(self, value: float) -> str:
        """A value with its sign: `1.20 %`."""
        return f"{value:{self.format}}{self.sign}"

    def to_json(self) -> dict[str, Any]:
        """What a table needs to show it, where the code that declared it is not at hand."""
        return {
            "format": self.format,
            "unit": self.unit,
            "has_interval": self.has_interval,
            "shown": [place.name for place in self.shown],
            "rank": self.rank,
        }

    @staticmethod
    def from_json(name: str, content: Mapping[str, Any]) -> Column:
        """What `to_json` gave. Raises ValueError if it is not that."""
        plain = undeclared(name).to_json()
        if set(content) != set(plain) or any(type(content[key]) is not type(plain[key]) for key in plain):
            raise ValueError(f"column `{name}` is not declared as a run does")
        shown = Shown.NOWHERE
        for place in Shown:
            if place.name in content["shown"]:
                shown |= place
        return Column(**{**content, "name": name, "shown": shown})


def undeclared(name: str, chart: str = "other") -> Column:
    """A column that nobody declared: it is recorded, charted, and in a table where somebody asks for it."""
    return Column(name, chart=chart, shown=Shown.NOWHERE)
