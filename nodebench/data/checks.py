"""Settings that several data sets take, checked by the name they have under `data`."""

from __future__ import annotations

import math

from torch import Tensor

from nodebench.data.errors import DataError


def check_batch_size(value: int) -> int:
    """`batch_size` itself; DataError unless it is a whole number from 1 on."""
    check_count("batch_size", value, at_least=1)
    return value


def check_count(key: str, value: int, at_least: int) -> None:
    """DataError unless the setting is a whole number, `at_least` or above."""
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise DataError(f"`data.{key}` is {value!r}; allowed: whole numbers from {at_least} on")


def check_finite_or_null(key: str, value: float | None) -> None:
    """DataError unless the setting is a finite number or None."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if value is not None and not is_number:
        raise DataError(f"`data.{key}` is {value!r}; allowed: finite numbers, or null")


def check_noise(value: float) -> float:
    """`noise` itself; DataError unless it is a finite number from 0 on."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise DataError(f"`data.noise` is {value!r}; allowed: finite numbers from 0 on")
    return value


def check_number(key: str, value: float, above: float) -> float:
    """The setting itself; DataError unless it is a finite number above `above`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not above < value < math.inf:
        raise DataError(f"`data.{key}` is {value!r}; allowed: finite numbers above {above:g}")
    return value


def check_switch(key: str, value: bool) -> None:
    """DataError unless the setting is true or false."""
    if not isinstance(value, bool):
        raise DataError(f"`data.{key}` is {value!r}; allowed: true, false")


def check_window(value: float) -> None:
    """DataError unless a window's half-width is a finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise DataError(f"its window is {value!r}; it must be a finite number above 0")


def tensor_words(value: object) -> str:
    """What a value is where a tensor is needed: `float64 of shape (8, 2)`, or `a list`."""
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"
