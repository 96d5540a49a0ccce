"""Step-size controllers: how the next step follows from the errors of the last ones.

A controller sees the error ratio (accepted if <= 1) and the ratios before it, never f or y. With e = 1 / ratio,

    dt_next = dt * clip(safety * e_n^(b1/k) * e_(n-1)^(b2/k) * e_(n-2)^(b3/k), factor_min, factor_max)
    b1 = P + I + D,  b2 = -(P + 2 D),  b3 = D

where k is the order of the propagated solution, as in torchdiffeq (the theory of local extrapolation would allow
the order of the error estimate plus one, which is the same number for the pairs shipped here but dopri8).

Source: Söderlind, "Digital filters in adaptive time-stepping", ACM TOMS 29 (2003), sections 3 and 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from nodebench.ode.drive.scalars import larger, smaller, where

_TINY = 1e-300  # in place of an error ratio of 0, of which there is no inverse
History = tuple[float, float]  # 1 / error ratio of the last and the last but one accepted step


class Controller(Protocol):
    """What an adaptive loop asks for the size of its next step. A class of one's own derives from this one.

    `factor_min` is for a step whose error was not even finite. With `takes_tensors` the two functions hold for tensors
    as well, entry by entry, and the controller has a hash: a compiled loop has it inside, and samples with steps of
    their own are told theirs all at once.
    """

    @property
    def initial_history(self) -> History:
        return (1.0, 1.0)

    @property
    def factor_min(self) -> float:
        return 0.2

    @property
    def takes_tensors(self) -> bool:
        return False

    def factor(self, error_ratio: float, order: int, history: History) -> float:
        """dt_next / dt for a step that ended with `error_ratio`, by a method of this order."""
        ...

    def remember(self, error_ratio: float, history: History) -> History:
        """The history after an accepted step."""
        return history


@dataclass(frozen=True)
class PIDController:
    """Proportional, integral and derivative gains; (0, 1, 0) is the integral controller of torchdiffeq.

    An accepted step never shrinks the next one and a rejected one shrinks it by at least `safety`; rejected steps
    do not enter the history.
    """

    proportional: float = 0.0
    integral: float = 1.0
    derivative: float = 0.0
    safety: float = 0.9
    factor_min: float = 0.2
    factor_max: float = 10.0

    initial_history: History = (1.0, 1.0)
    takes_tensors: bool = True

    def factor(self, error_ratio: Any, order: int, history: tuple[Any, Any]) -> Any:
        """See Controller."""
        p, i, d = self.proportional, self.integral, self.derivative
        inverse = 1.0 / larger(error_ratio, _TINY)
        filtered = inverse ** ((p + i + d) / order)
        if p or d:
            filtered = filtered * history[0] ** (-(p + 2 * d) / order) * history[1] ** (d / order)
        if p or d or i != 1.0:
            # After a failure the filter's memory describes steps that no longer apply: plain integral control.
            filtered = where(error_ratio <= 1.0, filtered, inverse ** (1.0 / order))
        product = self.safety * filtered
        # torchdiffeq lets a ratio of exactly 1 shrink the step; everything below 1 may not.
        lower = where(error_ratio < 1.0, 1.0, self.factor_min)
        return smaller(larger(product, lower), self.factor_max)

    def remember(self, error_ratio: Any, history: tuple[Any, Any]) -> tuple[Any, Any]:
        """See Controller."""
        return smaller(1.0 / larger(error_ratio, _TINY), 1e8), history[0]


CONTROLLERS: dict[str, PIDController] = {
    "integral": PIDController(),
    # Hairer & Wanner, Solving Ordinary Differential Equations II, IV.2, eq. 2.43c: exponents 0.7/k and 0.4/k.
    "pi": PIDController(proportional=0.4, integral=0.3),
    # H312 of Söderlind (2003), table 1.
    "pid": PIDController(proportional=1 / 18, integral=1 / 9, derivative=1 / 18),
}
