"""An axis: from numbers to places, with round numbers to write beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_MINUS = "\u2212"
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_WIDE = 30  # positive numbers that span more than this factor are on a logarithmic axis
_AIR = 0.06


@dataclass(frozen=True)
class Axis:
    """Numbers from `low` to `high` at places from `start` to `end`; `is_log`: equal factors are equal distances."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def at(self, number: float) -> float:
        """The place of a number, which may lie outside."""
        low, high, number = (self._on_scale(each) for each in (self.low, self.high, number))
        return self.start + (number - low) / (high - low) * (self.end - self.start)

    def clipped(self, number: float) -> float:
        """The place of a number, or the end that is nearest to it."""
        return self.at(min(max(number, self.low), self.high))

    def ticks(self, count: int) -> list[float]:
        """About `count` round numbers within the axis."""
        if self.is_log:
            return self._log_ticks(count)
        rough = (self.high - self.low) / count
        size = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * size for factor in (1, 2, 5, 10) if factor * size >= rough)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]

    def label(self, tick: float) -> str:
        """A tick in words: `0.5`, `2,000`, or a power of ten."""
        exponent = round(math.log10(abs(tick))) if tick else 0
        if not -4 < exponent < 6 and math.isclose(abs(tick), 10.0**exponent, rel_tol=1e-9):
            return f"{_MINUS * (tick < 0)}10{str(exponent).translate(_SUPERSCRIPTS)}"
        if not -5 < exponent < 6:
            return f"{tick:.3g}"
        return f"{round(tick, 12):,.6g}".replace("-", _MINUS)

    def _log_ticks(self, count: int) -> list[float]:
        first, last = math.floor(math.log10(self.low) + 1e-9), math.ceil(math.log10(self.high) - 1e-9)
        every = max(1, math.ceil((last - first) / count))
        factors = (1,) if last - first > 2 else (1, 2, 5) if last - first > 1 else (1, 2, 3, 5)
        ticks = [factor * 10.0**exponent for exponent in range(first, last + 1, every) for factor in factors]
        return [tick for tick in ticks if self.low * (1 - 1e-9) <= tick <= self.high * (1 + 1e-9)]

    def _on_scale(self, number: float) -> float:
        return math.log10(max(number, self.low * 1e-3)) if self.is_log else number


def axis_over(
    numbers: Sequence[float], start: float, end: float, *, from_zero: bool = False, may_be_log: bool = True
) -> Axis:
    """An axis on which all of `numbers` have a place, with some air around them.

    from_zero: begin at 0, unless the numbers are far from it or on a logarithmic axis.
    """
    low, high = min(numbers), max(numbers)
    if may_be_log and low > 0 and high / low > _WIDE:
        return Axis(low / 1.15, high * 1.15, start, end, is_log=True)
    if low == high:
        air = abs(low) / 2 or 1.0
        return Axis(low - air, high + air, start, end)
    air = _AIR * (high - low)
    is_near = from_zero and 0 <= low < 0.6 * high
    return Axis(0.0 if is_near else low - air, high + air, start, end)
