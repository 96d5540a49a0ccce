"""Step-size controllers: how the next step follows from the errors of the last ones.

A controller sees the error ratio (accepted if <= 1) and the ratios before it, never f or y. With e = 1 / ratio,

    dt_next = dt * clip(safety * e_n^(b1/k) * e_(n-1)^(b2/k) * e_(n-2)^(b3/k), factor_min, factor_max)
    b1 = P + I + D,  b2 = -(P + 2 D),  b3 = D

where k is the order of the propagated solution, as in torchdiffeq (the theory of local extrapolation would allow
the order of the error estimate plus one, which is the same number for the pairs shipped here but dopri8).

Source: Söderlind, "Digital filters in adaptive time-stepping", ACM TOMS 29 (2003), sections 3 and 4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

History = tuple[float, float]  # 1 / error ratio of the last and the last but one accepted step


@dataclass(frozen=True)
class PIDController:
    """Proportional, integral and derivative gains; (0, 1, 0) is the integral controller of torchdiffeq.

    An accepted step never shrinks the next one and a rejected one shrinks it by at least `safety`; rejected steps
    do not enter the history. compiled/march.py has the same rules for tensors, and a test holds them together.
    """

    proportional: float = 0.0
    integral: float = 1.0
    derivative: float = 0.0
    safety: float = 0.9
    factor_min: float = 0.2
    factor_max: float = 10.0

    initial_history: History = (1.0, 1.0)

    def factor(self, error_ratio: float, order: int, history: History) -> float:
        """dt_next / dt for a step that ended with `error_ratio`."""
        if error_ratio == 0.0:
            return self.factor_max
        accepted = error_ratio <= 1.0
        inverse = 1.0 / error_ratio
        product = inverse ** ((self.proportional + self.integral + self.derivative) / order)
        if accepted:
            product *= history[0] ** (-(self.proportional + 2 * self.derivative) / order)
            product *= history[1] ** (self.derivative / order)
        else:
            # After a failure the filter's memory describes steps that no longer apply: plain integral control.
            product = inverse ** (1.0 / order)
        # torchdiffeq lets a ratio of exactly 1 shrink the step; everything below 1 may not.
        lower = 1.0 if error_ratio < 1.0 else self.factor_min
        return min(self.factor_max, max(self.safety * product, lower))

    def remember(self, error_ratio: float, history: History) -> History:
        """The history after an accepted step."""
        inverse = 1.0 / error_ratio if error_ratio > 0.0 else math.inf
        return (min(inverse, 1e8), history[0])


CONTROLLERS: dict[str, PIDController] = {
    "integral": PIDController(),
    # Hairer & Wanner, Solving Ordinary Differential Equations II, IV.2, eq. 2.43c: exponents 0.7/k and 0.4/k.
    "pi": PIDController(proportional=0.4, integral=0.3),
    # H312 of Söderlind (2003), table 1.
    "pid": PIDController(proportional=1 / 18, integral=1 / 9, derivative=1 / 18),
}
