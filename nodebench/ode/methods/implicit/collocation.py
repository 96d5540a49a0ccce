"""Collocation methods as data: fully implicit Runge-Kutta methods that follow from their nodes alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Collocation:
    """The polynomial u of degree s with u(t) = y and u' = f at the s times t + c[i] dt; the step ends at u(t + dt).

    With the Lagrange polynomials l_j of the nodes c, it is the Runge-Kutta method

        a[i][j] = integral of l_j from 0 to c[i],   b[j] = integral of l_j from 0 to 1,

    of order s at least, and of `order` where the nodes are those of a quadrature of that order.

    Raises ValueError unless the nodes are distinct and lie in (0, 1], and integrate polynomials of degree order - 1.

    Source: Hairer, Norsett & Wanner, Solving Ordinary Differential Equations I, 2nd edition, theorem II.7.7.
    """

    name: str
    order: int
    c: tuple[float, ...]
    source: str = ""

    def __post_init__(self) -> None:
        if len(set(self.c)) < len(self.c) or not all(0 < c <= 1 for c in self.c):
            raise ValueError(
                f"tableau `{self.name}`: its nodes are {self.c}; they must differ and lie in (0, 1]"
            )
        for power in range(self.order):
            moment = math.fsum(b * c**power for b, c in zip(self.b, self.c, strict=True))
            if abs(moment - 1 / (power + 1)) > 1e-14:
                raise ValueError(
                    f"tableau `{self.name}`: its nodes are those of no quadrature of order {self.order}: "
                    f"t^{power} has the integral {moment} from 0 to 1"
                )

    @cached_property
    def a(self) -> tuple[tuple[float, ...], ...]:
        """How each stage weighs the slopes of all."""
        return tuple(self._integrals(c) for c in self.c)

    @cached_property
    def b(self) -> tuple[float, ...]:
        """How the end of the step weighs the slopes."""
        return self._integrals(1.0)

    @cached_property
    def at_end(self) -> tuple[float, ...]:
        """Weights d of the stages' increments z_i = u(t + c[i] dt) - y in that of the step: d = b A^-1.

        The values at 1 of the Lagrange polynomials of the nodes 0 and c; where the last node is 1, z of it alone.
        """
        return tuple(
            math.prod((1 - other) / (c - other) for other in (0.0, *self.c) if other != c) for c in self.c
        )

    def _integrals(self, end: float) -> tuple[float, ...]:
        """Of each l_j from 0 to `end`."""
        return tuple(self._integral(c, end) for c in self.c)

    def _integral(self, node: float, end: float) -> float:
        coefficients = [1.0]  # of 1, x, x^2, ...
        for other in self.c:
            if other != node:
                shifted, scaled = [0.0, *coefficients], [*(other * k for k in coefficients), 0.0]
                coefficients = [(x - y) / (node - other) for x, y in zip(shifted, scaled, strict=True)]
        return math.fsum(k * end ** (i + 1) / (i + 1) for i, k in enumerate(coefficients))


_GAUSS = "Butcher, Implicit Runge-Kutta processes, Math. Comp. 18 (1964), 50-64"
_RADAU = "Ehle, On Pade approximations to the exponential function, thesis, University of Waterloo (1969)"

COLLOCATION: dict[str, Collocation] = {
    method.name: method
    for method in (
        Collocation("gl4", 4, (1 / 2 - math.sqrt(3) / 6, 1 / 2 + math.sqrt(3) / 6), _GAUSS),
        Collocation("gl6", 6, (1 / 2 - math.sqrt(15) / 10, 1 / 2, 1 / 2 + math.sqrt(15) / 10), _GAUSS),
        Collocation("radauIIA3", 3, (1 / 3, 1.0), _RADAU),
        Collocation("radauIIA5", 5, ((4 - math.sqrt(6)) / 10, (4 + math.sqrt(6)) / 10, 1.0), _RADAU),
    )
}
