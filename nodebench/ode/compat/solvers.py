"""From torchdiffeq's method name and options to a Solver."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nodebench.ode.compat.grids import Grid
from nodebench.ode.compat.options import (
    ADAMS,
    ADAPTIVE,
    FIXED,
    SCIPY,
    controller,
    positive,
    scipy_method,
    times,
)
from nodebench.ode.multistep import Adams, Corrector
from nodebench.ode.norms import Norm, Tolerance
from nodebench.ode.scipy_bridge import ScipySolver
from nodebench.ode.solvers import AdaptiveRungeKutta, FixedRungeKutta, Solver
from nodebench.ode.step_control import StepControl
from nodebench.ode.tableau import ButcherTableau
from nodebench.ode.tableaus import load_tableaus

_INTERPOLANTS = ("linear", "cubic")
# Weights of the solution at the middle of a bosh3 step: its second stage is an Euler step to there.
_BOSH3_MIDPOINT = (0.0, 0.5, 0.0, 0.0)


def make_solver(
    method: str, options: Mapping[str, Any], rtol: Tolerance, atol: Tolerance, norm: Norm, grid: Grid
) -> Solver:
    """The solver of a checked method with checked options; ValueError for values that make no sense."""
    if method in ADAPTIVE:
        return AdaptiveRungeKutta(adaptive_tableau(method), _step_control(options, rtol, atol, norm))
    if method in ADAMS:
        return _adams(method, options, rtol, atol, norm, grid)
    if method in SCIPY:
        min_step, max_step = _step_bounds(options)
        return ScipySolver(scipy_method(options), rtol, atol, min_step=min_step, max_step=max_step)
    return FixedRungeKutta(_fixed_tableau(method, options), grid, perturb=bool(options.get("perturb", False)))


def _step_control(options: Mapping[str, Any], rtol: Tolerance, atol: Tolerance, norm: Norm) -> StepControl:
    min_step, max_step = _step_bounds(options)
    budget = positive(options, "max_num_steps")
    step_ts, jump_ts = times(options, "step_t"), times(options, "jump_t")
    repeated = len(step_ts) + len(jump_ts) - len({*step_ts, *jump_ts})
    if repeated:
        raise ValueError(
            "`step_t` and `jump_t` name a time twice; name each once (a jump is stepped on anyway)"
        )
    return StepControl(
        rtol=rtol,
        atol=atol,
        norm=norm,
        controller=controller(options),
        first_step=positive(options, "first_step"),
        min_step=min_step,
        max_step=max_step,
        max_steps_per_output=None if budget is None else int(budget),
        step_ts=step_ts,
        jump_ts=jump_ts,
    )


def _step_bounds(options: Mapping[str, Any]) -> tuple[float, float]:
    min_step = float(options.get("min_step", 0.0))
    max_step = positive(options, "max_step") or math.inf
    if not 0 <= min_step <= max_step:
        raise ValueError(f"`min_step` is {min_step}; it must lie between 0 and max_step={max_step}")
    return min_step, max_step


def _adams(
    method: str, options: Mapping[str, Any], rtol: Tolerance, atol: Tolerance, norm: Norm, grid: Grid
) -> Solver:
    if options.get("interp", "cubic") != "cubic":
        raise ValueError(
            f"`interp` is {options['interp']!r}; `{method}` interpolates by the cubic here, so drop the option"
        )
    if ADAMS[method] == "explicit_adams":
        return Adams(grid)
    max_iters = positive(options, "max_iters")
    corrector = Corrector(rtol, atol, norm)
    return Adams(grid, corrector if max_iters is None else replace(corrector, max_iterations=int(max_iters)))


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


def _fixed_tableau(method: str, options: Mapping[str, Any]) -> ButcherTableau:
    """The method with the interpolant that `interp` names."""
    interp = options.get("interp", "linear")
    if interp not in _INTERPOLANTS:
        raise ValueError(f"`interp` is {interp!r}; it must be one of: {', '.join(_INTERPOLANTS)}")
    tableau = load_tableaus()[FIXED[method]]
    # y0 + theta (y1 - y0) is y0 + dt * sum_i theta b_i k_i; without an interpolant of its own a method uses the cubic.
    return replace(tableau, interpolant=tuple((b,) for b in tableau.b) if interp == "linear" else None)
