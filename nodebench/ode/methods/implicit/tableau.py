"""Diagonally implicit Runge-Kutta methods as data, validated when they are made, and the ones that have a name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

_TOLERANCE = 1e-14


@dataclass(frozen=True)
class DiagonalTableau:
    """Coefficients of a diagonally implicit Runge-Kutta method: each stage is solved for after those before it.

        c[i] | a[i][0] ... a[i][i]        k_i = f(t + c[i] dt, y + dt * sum_j a[i][j] k_j)
        -----+--------------------        y1  = y + dt * sum_i b[i] k_i
             | b[0]    ... b[s-1]         y_error = dt * sum_i b_err[i] k_i, times (I - dt gamma J)^-1 if filtered

    A stage with a[i][i] = 0 is explicit, and the first of those is f(t, y); all others have the same a[i][i] = gamma.
    `filters_error`: the estimate would grow without bound along stiff directions. Stages behind the one that is the
    end of the step are for the error alone.

    Raises ValueError, naming the row, if shapes or diagonals disagree, or sums are not what they have to be.
    """

    name: str
    order: int
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    b_err: tuple[float, ...] | None = None
    filters_error: bool = False
    c: tuple[float, ...] = ()  # by default, the sums of the rows of a
    source: str = ""

    def __post_init__(self) -> None:
        sums = tuple(math.fsum(row) for row in self.a)
        if not self.c:
            object.__setattr__(self, "c", sums)
        for i, row in enumerate(self.a):
            if len(row) != i + 1:
                raise ValueError(
                    f"tableau `{self.name}`: row {i} of a has {len(row)} entries; it needs {i + 1}"
                )
            if row[i] not in (0.0, self.gamma):
                raise ValueError(
                    f"tableau `{self.name}`: a[{i}][{i}] is {row[i]}; it must be 0 or {self.gamma}"
                )
            if abs(sums[i] - self.c[i]) > _TOLERANCE:
                raise ValueError(
                    f"tableau `{self.name}`: row {i} of a sums to {sums[i]}, and c[{i}] is {self.c[i]}"
                )
        for what, weights, total in (("b", self.b, 1.0), ("b_err", self.b_err, 0.0)):
            if weights is None:
                continue
            if len(weights) != len(self.a) or abs(math.fsum(weights) - total) > _TOLERANCE:
                raise ValueError(
                    f"tableau `{self.name}`: {what} must have {len(self.a)} entries of sum {total:g}"
                )
        if not self.gamma > 0:
            raise ValueError(f"tableau `{self.name}`: no stage is implicit; make it a ButcherTableau")

    @cached_property
    def gamma(self) -> float:
        """The diagonal of the stages that are implicit."""
        return max(row[-1] for row in self.a)

    @cached_property
    def end(self) -> int | None:
        """The stage that is the end of the step, at t + dt and with b for its row; None if there is none."""
        for i, row in enumerate(self.a):
            if self.c[i] == 1.0 and row == self.b[: i + 1] and not any(self.b[i + 1 :]):
                return i
        return None

    @cached_property
    def predictors(self) -> tuple[tuple[float, ...], ...]:
        """For each stage, weights of the slopes before it whose sum its own is taken for before it is known.

        The parabola (line, constant) through the slopes nearest in time; those at the very time, where there are any.
        """
        return tuple(_predictor(self.c[:i], self.c[i]) for i in range(len(self.c)))


def _predictor(known: Sequence[float], wanted: float) -> tuple[float, ...]:
    """Weights of Lagrange's interpolation through the last three of the known nodes that differ."""
    nodes: list[int] = []
    for j in reversed(range(len(known))):
        if known[j] == wanted:
            nodes = [j]
            break
        if len(nodes) < 3 and all(abs(known[j] - known[k]) > 1e-3 for k in nodes):
            nodes.append(j)
    weights = [0.0] * len(known)
    for j in nodes:
        weights[j] = math.prod((wanted - known[k]) / (known[j] - known[k]) for k in nodes if k != j)
    return tuple(weights)


_G = 0.43586652150845967  # the middle root of x^3 - 3 x^2 + 3/2 x - 1/6: L-stable at order 3
_A = 1 - math.sqrt(1 / 2)  # L-stable at order 2
_KVAERNO3 = (
    (0.0,),
    (_G, _G),
    ((-4 * _G**2 + 6 * _G - 1) / (4 * _G), (1 - 2 * _G) / (4 * _G), _G),
    ((6 * _G - 1) / (12 * _G), -1 / ((24 * _G - 12) * _G), (-6 * _G**2 + 6 * _G - 1) / (6 * _G - 3), _G),
)
_KVAERNO5 = (
    (0.0,),
    (0.26, 0.26),
    (0.13, 0.84033320996790809, 0.26),
    (0.22371961478320505, 0.47675532319799699, -0.06470895363112615, 0.26),
    (0.16648564323248321, 0.10450018841591720, 0.03631482272098715, -0.13090704451073998, 0.26),
    (0.13855640231268224, 0.0, -0.04245337201752043, 0.02446657898003141, 0.61943039072480676, 0.26),
    (
        0.13659751177640291,
        0.0,
        -0.05496908796538376,
        -0.04118626728321046,
        0.62993304899016403,
        0.06962479448202728,
        0.26,
    ),
)
# Kvaerno's pairs: the last stage but one is the embedded solution, so the estimate needs no filter.
_KVAERNO = (
    "Kvaerno, Singly diagonally implicit Runge-Kutta methods with an explicit first stage, BIT 44 (2004)"
)

DIAGONAL: dict[str, DiagonalTableau] = {
    tableau.name: tableau
    for tableau in (
        DiagonalTableau(
            "implicit_euler",
            1,
            a=((0.0,), (0.0, 1.0)),
            b=(0.0, 1.0),
            b_err=(-0.5, 0.5),  # what the trapezoidal rule adds
            filters_error=True,
        ),
        DiagonalTableau(
            "trapezoid",
            2,
            a=((0.0,), (0.5, 0.5), (0.375, 0.125, 0.0)),
            b=(0.5, 0.5, 0.0),
            b_err=(1 / 3, 1 / 3, -2 / 3),  # Simpson's rule with the cubic through the ends in the middle
            filters_error=True,
        ),
        DiagonalTableau("implicit_midpoint", 2, a=((0.5,),), b=(1.0,)),
        DiagonalTableau(
            "sdirk2",
            2,
            a=((_A,), (1 - _A, _A)),
            b=(1 - _A, _A),
            source="Alexander, Diagonally implicit Runge-Kutta methods for stiff ODEs, SINUM 14 (1977)",
        ),
        DiagonalTableau(
            "trbdf2",
            2,
            a=((0.0,), (_A, _A), (math.sqrt(2) / 4, math.sqrt(2) / 4, _A)),
            b=(math.sqrt(2) / 4, math.sqrt(2) / 4, _A),
            source="Bank et al., Transient simulation of silicon devices and circuits, IEEE TCAD 4 (1985)",
        ),
        DiagonalTableau(
            "kvaerno3",
            3,
            a=_KVAERNO3,
            b=_KVAERNO3[3],
            b_err=tuple(x - y for x, y in zip(_KVAERNO3[3], (*_KVAERNO3[2], 0.0), strict=True)),
            c=(0.0, 2 * _G, 1.0, 1.0),
            source=_KVAERNO,
        ),
        DiagonalTableau(
            "kvaerno5",
            5,
            a=_KVAERNO5,
            b=_KVAERNO5[6],
            b_err=tuple(x - y for x, y in zip(_KVAERNO5[6], (*_KVAERNO5[5], 0.0), strict=True)),
            c=(0.0, 0.52, 1.230333209967908, 0.8957659843500759, 0.43639360985864756, 1.0, 1.0),
            source=_KVAERNO,
        ),
    )
}
