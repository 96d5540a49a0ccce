"""torchdiffeq's methods: which of ours each name is, and how a step is interpolated there."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from nodebench.ode.clock import StepRecord
from nodebench.ode.compat.options import ADAMS, ADAPTIVE, FIXED, IMPLICIT, positive
from nodebench.ode.field import Time
from nodebench.ode.methods.adams import Adams
from nodebench.ode.methods.explicit import ExplicitRungeKutta
from nodebench.ode.methods.implicit.coupled import CoupledImplicit
from nodebench.ode.methods.implicit.diagonal import DiagonallyImplicit
from nodebench.ode.methods.method import Course, Method, Step, Steps
from nodebench.ode.methods.registry import find_method
from nodebench.ode.methods.tableau import ButcherTableau
from nodebench.ode.methods.tableaus import load_tableaus
from nodebench.ode.methods.traits import Traits
from nodebench.ode.status import SolverError

_INTERPOLANTS = ("linear", "cubic")
# Weights of the solution at the middle of a bosh3 step: its second stage is an Euler step to there.
_BOSH3_MIDPOINT = (0.0, 0.5, 0.0, 0.0)


@functools.cache
def adaptive_tableau(method: str) -> ButcherTableau:
    """The method with torchdiffeq's interpolant where that is another one than ours (bosh3 and dopri8)."""
    tableau = load_tableaus()[ADAPTIVE[method]]
    if method == "bosh3":
        return _with_quartic(tableau, _BOSH3_MIDPOINT)
    if method == "dopri8":
        assert tableau.interpolant is not None
        halves = [sum(c * 0.5**p for p, c in enumerate(row, start=1)) for row in tableau.interpolant]
        return _with_quartic(tableau, tuple(halves))
    return tableau


def _with_quartic(tableau: ButcherTableau, midpoint: tuple[float, ...]) -> ButcherTableau:
    """The tableau of a FSAL method, interpolated by the quartic with its values and slopes at both ends of a step
    and the value y + dt * sum_i midpoint[i] k_i in the middle."""
    rows = []
    for i, (b, m) in enumerate(zip(tableau.b, midpoint, strict=True)):
        slope0, slope1 = float(i == 0), float(i == tableau.num_stages - 1)
        rows.append(
            (
                slope0,
                slope1 - 4 * slope0 - 5 * b + 16 * m,
                5 * slope0 - 3 * slope1 + 14 * b - 32 * m,
                2 * (slope1 - slope0) - 8 * b + 16 * m,
            )
        )
    return replace(tableau, interpolant=tuple(rows))


def fixed_method(method: str, options: Mapping[str, Any]) -> Method:
    """The method of fixed steps, with the interpolant that `interp` names."""
    interp = options.get("interp", "linear")
    if interp not in _INTERPOLANTS:
        raise ValueError(f"`interp` is {interp!r}; it must be one of: {', '.join(_INTERPOLANTS)}")
    # Without an interpolant of its own, a method uses the cubic.
    if method in ADAMS or method in IMPLICIT:
        found = _iterating(method, options)
    else:
        found = ExplicitRungeKutta(
            replace(load_tableaus()[FIXED[method]], interpolant=None), rounds_once=True
        )
    return Linear(found) if interp == "linear" else found


def _iterating(method: str, options: Mapping[str, Any]) -> Method:
    """A method that iterates, for so long at most as `max_iters` says."""
    found = find_method((ADAMS | IMPLICIT)[method])
    max_iters = positive(options, "max_iters")
    if isinstance(found, Adams) and found.max_iterations and max_iters is not None:
        return replace(found, max_iterations=int(max_iters))
    if isinstance(found, (DiagonallyImplicit, CoupledImplicit)) and max_iters is not None:
        return replace(found, max_turns=int(max_iters))
    assert isinstance(found, Method), "none of these drives itself"
    return found


@dataclass(frozen=True)
class Linear:
    """A method whose steps are interpolated by a line."""

    method: Method

    @property
    def traits(self) -> Traits:
        """See Method."""
        return replace(self.method.traits, has_interpolant=True)

    def begin(self, course: Course) -> Steps:
        """See Method."""
        return _LinearSteps(self.method.begin(course))


@dataclass(frozen=True)
class _LinearSteps(Steps):
    steps: Steps

    def first(self, record: StepRecord, y0: Tensor) -> Tensor:
        """See Steps."""
        return self.steps.first(record, y0)

    def hold(self, f1: Tensor) -> Tensor:
        """See Steps."""
        return self.steps.hold(f1)

    def take(self, record: StepRecord, y0: Tensor, f0: Tensor) -> Step | SolverError:
        """See Steps."""
        step = self.steps.take(record, y0, f0)
        if isinstance(step, SolverError):
            return step
        y1 = step.y1

        def at(theta: Time) -> Tensor:
            line: Tensor = y0 + theta * (y1 - y0)
            return line.to(y0.dtype)

        return step._replace(at=at)

    def cost(self, record: StepRecord) -> int:
        """See Steps."""
        return self.steps.cost(record)
