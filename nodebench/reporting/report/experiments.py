"""The experiments of a folder as the page tells of them: rows over seeds, among their neighbours, with short names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nodebench.records import COLUMNS, Column, Shown
from nodebench.reporting.columns import IDENTITY
from nodebench.reporting.recipes import what_differs, word
from nodebench.reporting.rows import Row, interval95, rows_over_seeds
from nodebench.reporting.runs import Run

_TOLD_APART = tuple(column for column in IDENTITY if column not in ("model", "data", "hash"))
_NO_SETTING = ("about", "seed", "output_dir")
_SIZE = "num_params"  # of a net, and no score


@dataclass(frozen=True)
class Experiment:
    """One row of the page: an experiment over its seeds.

    `key` is its anchor in the page, `label` what tells it from its neighbours, `settings` the keys of its config that
    not all its neighbours share, with their values as they are typed.
    """

    key: str
    row: Row
    label: str
    settings: Mapping[str, str]

    @property
    def task(self) -> str:
        return str(self.row.first.setting("task.name") or "")

    @property
    def data(self) -> str:
        return self.row.identity["data"]

    @property
    def score(self) -> Column | None:
        return score_of(self.row)

    @property
    def mean(self) -> float | None:
        """Of the score; None where no finished seed has one."""
        return None if self.score is None else self.row.number(self.score.name)

    @property
    def words(self) -> str:
        """The score over its seeds as tables print it; empty without one."""
        return "" if self.score is None else self.row.text(self.score.name)

    @property
    def interval(self) -> float | None:
        """Half the 95 % interval of the score; None below two seeds, or where the column has none."""
        score = self.score
        return interval95(self.row.values(score.name)) if score is not None and score.has_interval else None


@dataclass(frozen=True)
class Neighbours:
    """The experiments of one task on one data set, in the order of tables; `shared` are the settings of all of them."""

    task: str
    data: str
    experiments: Sequence[Experiment]
    shared: Mapping[str, str]

    @property
    def name(self) -> str:
        return " on ".join(part for part in (self.task.replace("_", " "), self.data) if part) or "unknown"

    @property
    def score(self) -> Column | None:
        """The score that they are compared by: of the first experiment that has one."""
        return next((each.score for each in self.experiments if each.score), None)

    @property
    def runs(self) -> list[Run]:
        return [run for each in self.experiments for run in each.row.runs]


def find_neighbours(runs: Sequence[Run]) -> list[Neighbours]:
    """The experiments of `runs`, those of one task and data set together."""
    grouped: dict[tuple[str, str], list[Row]] = {}
    for row in rows_over_seeds(list(runs)):
        task = str(row.first.setting("task.name") or "")
        grouped.setdefault((task, row.identity["data"]), []).append(row)
    found, number = [], 0
    for (task, data), rows in sorted(grouped.items()):
        settings = [_settings(row.first) for row in rows]
        keys = dict.fromkeys(key for each in settings for key in each)
        varying = [key for key in keys if len({each.get(key) for each in settings}) > 1]
        shared = {key: settings[0][key] for key in keys if key not in varying}
        experiments = []
        for row, label, own in zip(rows, short_names(rows), settings, strict=True):
            number += 1
            told = {key: own.get(key, "") for key in varying}
            experiments.append(Experiment(f"experiment-{number}", row, label, told))
        found.append(Neighbours(task, data, experiments, shared))
    return found


def short_names(rows: Sequence[Row], *, with_model: bool = True) -> list[str]:
    """What tells each of the rows from the others: its model, what varies among the rows of that, then settings."""
    by_model: dict[str, list[Row]] = {}
    for row in rows:
        by_model.setdefault(row.identity["model"], []).append(row)
    names = [_name(row, by_model[row.identity["model"]], with_model) for row in rows]
    alike: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        alike.setdefault(name, []).append(number)
    for name, numbers in alike.items():
        told = what_differs([rows[number].first for number in numbers])
        for number, what in zip(numbers, told, strict=True):
            names[number] = ", ".join(filter(None, (name, what))) or rows[number].first.group
    return names


def _name(row: Row, others: Sequence[Row], with_model: bool) -> str:
    varying = [c for c in _TOLD_APART if len({other.identity[c] for other in others}) > 1]
    told = [row.identity[c] + " units" * (c == "units") if row.identity[c] else "" for c in varying]
    return " ".join(filter(None, (row.identity["model"] if with_model else "", *told)))


def score_of(row: Row) -> Column | None:
    """What an experiment is judged by: the first column with intervals that tables show, of those that it has."""
    shown = [
        c for c in row.columns.shown(Shown.TABLE) if c.is_number and c.name != _SIZE and row.values(c.name)
    ]
    with_interval = [column for column in shown if column.has_interval]
    own = [column for column in shown if column.name not in COLUMNS]
    return next(iter([*with_interval, *own]), None)


def _settings(run: Run) -> dict[str, str]:
    """Its settings as they are typed; one of null is as good as absent."""
    return {
        key: word(value)
        for key, value in run.settings
        if value is not None and key.partition(".")[0] not in _NO_SETTING and not key.endswith("_target_")
    }


def as_json(value: Any) -> Any:
    """A number as JSON has it: None in place of none."""
    return None if value is None else round(float(value), 9)
