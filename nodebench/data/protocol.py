"""What every kind of data says of itself: all that config and commands ask of it. Its task asks for more."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol, TypeGuard, get_type_hints


class Data(Protocol):
    """A data set as a run uses it. A new kind is a class with these, and a task that names it as its `data_type`."""

    kind: ClassVar[str]
    """What it is called in messages, in the plural or with its article: `images`, `an energy`."""

    example: ClassVar[str]
    """A choice of data=... that is of this kind."""

    @property
    def dim(self) -> int | None:
        """The coordinates of a point, which its nets take as `dim`; None where they take none."""

    @property
    def batch_size(self) -> int: ...

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence each on what is odd."""

    def describe(self) -> str:
        """Its sizes in words."""

    def check(self) -> None:
        """Raises DataError for what is wrong with its content and was not seen when it was made."""

    def test_columns(self) -> Mapping[str, int]:
        """What an evaluation is of, as columns of its record: `num_images`; empty where there is nothing to say."""


_OF_THE_CLASS = ("kind", "example", "describe", "check", "test_columns")
_OF_EACH = (*_OF_THE_CLASS, "dim", "batch_size", "notes")


def returns_data(found: Any) -> TypeGuard[Callable[..., Data]]:
    """Whether something is a function that returns a kind of data by its annotation; nothing is called."""
    try:
        kind = kind_returned(found) if inspect.isfunction(found) else None
    except (NameError, TypeError):  # a name that is nowhere, as after a forgotten import
        return False
    return isinstance(kind, type) and not _missing(kind, _OF_THE_CLASS)


def kind_returned(make: Callable[..., Data]) -> type[Data]:
    """The kind of data that a function says it returns."""
    kind: type[Data] = get_type_hints(make).get("return", object)
    return kind


def what_is_missing(data: Data) -> list[str]:
    """The names above that an object lacks."""
    return _missing(data, _OF_EACH)


def _missing(found: object, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if not hasattr(found, name)]
