"""An explicit Runge-Kutta method as data: the Butcher tableau, validated when it is made.

This module knows coefficients only. It does not step (step.py) and does not choose step sizes (controllers.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

_TOLERANCE = 1e-12  # literals are typed to about 16 digits; sums of 14 of them stay well inside this


@dataclass(frozen=True)
class ButcherTableau:
    """Coefficients of an explicit Runge-Kutta method with `num_stages` stages.

        0    |
        c[1] | a[1][0]                        k_i = f(t + c[i] dt, y + dt * sum_j a[i][j] k_j)
        c[2] | a[2][0]  a[2][1]               y1  = y + dt * sum_i b[i] k_i
        ...  | ...                            y_error = dt * sum_i b_err[i] k_i
        -----+---------------------------
             | b[0]     b[1]    ...           b     weights of the propagated solution
             | b_err[0] b_err[1] ...          b_err weights of the error estimate, b - b_hat

    `order` is the order of the propagated solution. `a[i]` holds the i entries left of the diagonal.
    `interpolant[i]` holds the coefficients of theta^1, theta^2, ... of stage i's polynomial P_i, and dense output
    is y(t + theta dt) = y + dt * sum_i P_i(theta) k_i; without one, cubic Hermite interpolation is used.
    `source` names the publication the numbers come from.

    Raises ValueError, naming the row and the two numbers, if shapes disagree, if a row of `a` does not sum to its
    `c`, if `b` does not sum to 1, or if `b_err` does not sum to 0.
    """

    name: str
    order: int
    c: tuple[float, ...]
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    b_err: tuple[float, ...] | None = None
    interpolant: tuple[tuple[float, ...], ...] | None = None
    source: str = ""

    def __post_init__(self) -> None:
        self._check_shapes()
        for i, row in enumerate(self.a):
            self._check_sum(f"row {i} of a", row, self.c[i], f"c[{i}]")
        self._check_sum("b", self.b, 1.0, "the required sum")
        if self.b_err is not None:
            self._check_sum("b_err", self.b_err, 0.0, "the required sum")
        if self.interpolant is not None:
            for i, row in enumerate(self.interpolant):
                # P_i(1) = b_i: the interpolant ends where the step ends.
                self._check_sum(f"row {i} of interpolant", row, self.b[i], f"b[{i}]")

    def _check_shapes(self) -> None:
        stages = len(self.b)
        lengths = {"c": self.c, "a": self.a, "b_err": self.b_err, "interpolant": self.interpolant}
        for field, value in lengths.items():
            if value is not None and len(value) != stages:
                raise ValueError(
                    f"tableau `{self.name}`: {field} has {len(value)} entries but b has {stages}; "
                    "all need one entry a stage"
                )
        for i, row in enumerate(self.a):
            if len(row) != i:
                raise ValueError(
                    f"tableau `{self.name}`: row {i} of a has {len(row)} entries; an explicit method has {i}"
                )
        if self.order < 1:
            raise ValueError(f"tableau `{self.name}`: order is {self.order}; it must be at least 1")

    def _check_sum(self, what: str, row: tuple[float, ...], expected: float, expected_name: str) -> None:
        total = math.fsum(row)
        # Coefficients of high-order interpolants reach the hundreds, so rounding scales with their size.
        if not abs(total - expected) <= _TOLERANCE * max(1.0, *map(abs, row), abs(expected)):
            raise ValueError(
                f"tableau `{self.name}`: {what} sums to {total!r} but {expected_name} is {expected!r}"
            )

    @cached_property
    def num_stages(self) -> int:
        """Number of stages, the one that FSAL reuses included."""
        return len(self.b)

    @cached_property
    def is_fsal(self) -> bool:
        """First same as last: the last stage is f(t1, y1), so the next step need not evaluate its first."""
        return self.num_stages > 1 and self.c[-1] == 1.0 and self.a[-1] == self.b[:-1] and self.b[-1] == 0.0

    @cached_property
    def stability_limit(self) -> float:
        """dt |lambda| up to which a step damps y' = -|lambda| y: |R(-z)| = 1, R(z) = 1 + z b (I - z A)^-1 1."""
        z = 0.0
        while abs(self._growth(-z - 0.01)) <= 1.0 + 1e-9 and z < 100:
            z += 0.01
        return z

    def _growth(self, z: float) -> float:
        """R(z): what one step makes of y = 1 where f(y) dt = z y."""
        slopes: list[float] = []
        for row in self.a:
            slopes.append(z * (1 + sum(a * k for a, k in zip(row, slopes, strict=True))))
        return 1 + sum(b * k for b, k in zip(self.b, slopes, strict=True))

    @property
    def has_error_estimate(self) -> bool:
        """Whether the method carries an embedded error estimate, which adaptive steps need."""
        return self.b_err is not None
