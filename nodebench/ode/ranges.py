"""Ranges of values: what is allowed, in words, and whether a value is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Range = tuple[str, Callable[[Any], bool]]

SWITCH: Range = ("true or false", lambda v: isinstance(v, bool))


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def one_of(*names: str) -> Range:
    return f"one of {', '.join(names)}", lambda value: value in names


def names_in(allowed: Range) -> list[str]:
    """The names that `one_of` was made of; none of another range."""
    words = allowed[0].removeprefix("one of ")
    return [] if words == allowed[0] else words.split(", ")


def number(low: float, high: float) -> Range:
    """A number from `low` to `high`, both allowed. NaN lies in no range; a whole number of any length is compared."""
    return f"a number from {_short(low)} to {_short(high)}", lambda v: is_number(v) and low <= v <= high


def whole(low: int, high: int) -> Range:
    return f"a whole number from {low:,} to {high:,}", lambda v: is_whole(v) and low <= v <= high


def list_of(item: Range, at_least: int, at_most: int) -> Range:
    words, allows = item
    return (
        f"a list of {at_least} to {at_most}, each {words}",
        lambda v: isinstance(v, list) and at_least <= len(v) <= at_most and all(map(allows, v)),
    )


def either(value: float, other: Range) -> Range:
    """What `other` allows, or one value beside it."""
    words, allows = other
    return f"{words}, or {value:g}", lambda v: allows(v) or (is_number(v) and v == value)


def _short(number: float) -> str:
    """1e-15 and 1e6, as one writes them."""
    return f"{number:g}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
