"""Settings that every data set of points or energies takes, checked by the name they have under `data`."""

from __future__ import annotations

import math

from nodebench.data.errors import DataError


def check_batch_size(value: int) -> int:
    """`batch_size` itself; DataError unless it is a whole number from 1 on."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise DataError(f"`data.batch_size` is {value!r}; allowed: whole numbers from 1 on")
    return value


def check_noise(value: float) -> float:
    """`noise` itself; DataError unless it is a finite number from 0 on."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise DataError(f"`data.noise` is {value!r}; allowed: finite numbers from 0 on")
    return value
