"""All columns that the records of a run may hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from nodebench.records.column import Column, Shown, undeclared

KIND = "kind"  # the word that every record begins with


class Columns:
    """Columns by name, in the order of a record. Raises ValueError if two declare one name differently.

    One that is not among them is a column all the same, with what nobody declared left at its default.
    """

    def __init__(self, declared: Iterable[Column]) -> None:
        self._declared: dict[str, Column] = {}
        for column in declared:
            if self._declared.setdefault(column.name, column) != column:
                raise ValueError(
                    f"column `{column.name}` is declared twice, differently; give the second another name"
                )
        self._charts = {column.chart for column in self}

    def __iter__(self) -> Iterator[Column]:
        return iter(self._declared.values())

    def __contains__(self, name: str) -> bool:
        return name in self._declared

    def __getitem__(self, name: str) -> Column:
        if name in self._declared:
            return self._declared[name]
        first = name.partition("_")[0]
        return undeclared(name, first if first in self._charts else "other")

    def and_own(self, others: Iterable[Column]) -> Columns:
        """These, and those that a task or a run has of its own behind them."""
        return Columns((*self, *others))

    def ordered(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """The record with its columns in this order; what is not declared comes last."""
        declared = [name for name in (KIND, *self._declared) if name in record]
        return {name: record[name] for name in dict.fromkeys([*declared, *record])}

    def shown(self, where: Shown) -> list[Column]:
        """The columns that are shown in one place unasked."""
        return [column for column in self if where in column.shown]

    def on_screen(self, values: Mapping[str, Any]) -> dict[str, list[Column]]:
        """Those of `values` that a line of the screen tells, by their label there."""
        labelled: dict[str, list[Column]] = {}
        for column in self:
            if column.screen and isinstance(values.get(column.name), int | float):
                labelled.setdefault(column.screen, []).append(column)
        return labelled
