"""The `options` dictionaries: which method knows which option, and what each value must be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nodebench.ode.drive.controllers import PIDController
from nodebench.ode.methods.scipy import UNLISTED
from nodebench.ode.names import nearest

# torchdiffeq's method names and what they are called here; its rk4 is the 3/8 rule.
ADAPTIVE = {name: name for name in ("dopri8", "dopri5", "tsit5", "bosh3", "fehlberg2", "adaptive_heun")}
FIXED = {"euler": "euler", "midpoint": "midpoint", "heun2": "heun", "heun3": "heun3", "rk4": "rk4_38"}
ADAMS = {
    "explicit_adams": "explicit_adams",
    "implicit_adams": "implicit_adams",
    "fixed_adams": "implicit_adams",
}
IMPLICIT = {
    name: name
    for name in (
        *("implicit_euler", "implicit_midpoint", "trapezoid", "sdirk2", "trbdf2"),
        *("gl4", "gl6", "radauIIA3", "radauIIA5"),
    )
}
SCIPY = {"scipy_solver": "scipy_solver"}

_ADAPTIVE_OPTIONS = (
    *("norm", "first_step", "min_step", "max_step", "max_num_steps"),
    *("safety", "ifactor", "dfactor", "step_t", "jump_t", "dtype"),
)
_GRID_OPTIONS = ("norm", "step_size", "grid_constructor", "interp", "perturb")
_OPTIONS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(ADAPTIVE, _ADAPTIVE_OPTIONS),
    **dict.fromkeys(FIXED, _GRID_OPTIONS),
    **dict.fromkeys([*ADAMS, *IMPLICIT], (*_GRID_OPTIONS, "max_iters")),
    **dict.fromkeys(SCIPY, ("norm", "solver", "min_step", "max_step")),
}
METHODS = tuple(_OPTIONS)

_SCIPY_SOLVERS = {"LSODA": "lsoda", **{name: name for name in UNLISTED}}


def check_method(name: str, method: str | None) -> str:
    """The method, dopri5 if there is none; ValueError with the nearest name for one that does not exist."""
    if method is not None and method not in METHODS:
        raise ValueError(f"unknown {name} `{method}`; {nearest(method, METHODS)}")
    return method or "dopri5"


def check_options(name: str, method: str, options: Mapping[str, Any] | None) -> dict[str, Any]:
    """A copy of the options; ValueError for one that the method does not know.

    The dtype of time is left out: time is float64 here, whatever is asked for, which does not do less.
    """
    known = _OPTIONS[method]
    for option in options or {}:
        if option in known:
            continue
        if method in ADAMS and option == "max_order":
            raise ValueError(
                f"`{name}` has max_order but the Adams methods are of order 4 here; drop the option"
            )
        others = [other for other in METHODS if option in _OPTIONS[other]]
        hint = f"it belongs to {', '.join(others)}" if others else nearest(option, known)
        raise ValueError(f"unknown entry `{option}` of `{name}` for method `{method}`; {hint}")
    checked = dict(options or {})
    dtype = checked.pop("dtype", torch.float64)
    if not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise ValueError(f"`{name}` has dtype={dtype}; it is that of time, so a floating-point one")
    return checked


def controller(options: Mapping[str, Any]) -> PIDController:
    """The integral controller with torchdiffeq's three numbers."""
    safety = float(options.get("safety", 0.9))
    ifactor, dfactor = float(options.get("ifactor", 10.0)), float(options.get("dfactor", 0.2))
    # Outside of these a rejected step would be tried again as long as it was, for ever.
    if not (0 < safety <= 1 and ifactor >= 1 and 0 < dfactor < 1):
        raise ValueError(
            f"safety={safety:g}, ifactor={ifactor:g}, dfactor={dfactor:g}; "
            "they must satisfy 0 < safety <= 1, ifactor >= 1 and 0 < dfactor < 1"
        )
    return PIDController(safety=safety, factor_min=dfactor, factor_max=ifactor)


def positive(options: Mapping[str, Any], name: str) -> float | None:
    """A positive number (step sizes are positive in both directions of time), or None if it is not given."""
    value = options.get(name)
    if value is not None and not value > 0:
        raise ValueError(f"`{name}` is {value}; it must be positive, in both directions of time")
    return None if value is None else float(value)


def times(options: Mapping[str, Any], name: str) -> tuple[float, ...]:
    """The entries of a tensor or sequence of times; none if it is not given."""
    value = options.get(name)
    if value is None:
        return ()
    return tuple(float(t) for t in (value.reshape(-1).tolist() if isinstance(value, Tensor) else value))


def scipy_method(options: Mapping[str, Any]) -> str:
    """Our name of the solver that `solver` names; ValueError for one that solve_ivp has not."""
    solver = options.get("solver", "LSODA")
    if solver not in _SCIPY_SOLVERS:
        raise ValueError(f"`solver` is {solver!r}; it must be one of: {', '.join(_SCIPY_SOLVERS)}")
    return _SCIPY_SOLVERS[solver]
