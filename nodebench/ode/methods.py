"""From a method's name and its settings to a Solver. A new Runge-Kutta method needs no line here."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from numbers import Real
from typing import Any

from torch import Tensor

from nodebench.ode.controllers import CONTROLLERS, PIDController
from nodebench.ode.fixed_grid import uniform_grid
from nodebench.ode.multistep import Adams, Corrector
from nodebench.ode.norms import Norm, Tolerance
from nodebench.ode.scipy_bridge import ScipySolver
from nodebench.ode.solvers import AdaptiveRungeKutta, FixedRungeKutta, Solver
from nodebench.ode.step_control import StepControl
from nodebench.ode.tableau import ButcherTableau
from nodebench.ode.tableaus import load_tableaus


@dataclass(frozen=True)
class SolverOptions:
    """Settings of a solve beside its method and tolerances; see odeint for their meaning."""

    dt: float | None = None
    controller: str | PIDController = "integral"
    first_step: float | None = None
    min_step: float = 0.0
    max_step: float = math.inf
    max_steps: int | None = None
    max_nfe: int | None = None
    step_ts: tuple[float, ...] = ()
    jump_ts: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name in ("dt", "first_step", "max_step", "max_steps", "max_nfe"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, (Real, Tensor)):
                raise TypeError(f"`{name}` is {value!r}; it must be a positive number")
            if value is not None and not float(value) > 0:
                raise ValueError(f"`{name}` is {value}; it must be positive (in both directions of time)")
        if not 0 <= self.min_step <= self.max_step:
            raise ValueError(
                f"`min_step` is {self.min_step}; it must lie between 0 and max_step={self.max_step}"
            )
        if isinstance(self.controller, str) and self.controller not in CONTROLLERS:
            raise ValueError(
                f"unknown controller `{self.controller}`; {nearest(self.controller, CONTROLLERS)}"
            )
        for name in ("step_ts", "jump_ts"):
            if not all(math.isfinite(t) for t in getattr(self, name)):
                raise ValueError(f"`{name}` is {getattr(self, name)}; times must be finite")
        both = set(self.step_ts) & set(self.jump_ts)
        if both:
            raise ValueError(f"t={min(both):g} is in `step_ts` and in `jump_ts`; a jump is stepped on anyway")

    def refuse_step_choice(self, method: str) -> None:
        """ValueError for an option that chooses steps, where `dt` leaves nothing to choose."""
        free = SolverOptions()
        for name in ("first_step", "min_step", "max_step", "step_ts", "jump_ts"):
            if getattr(self, name) != getattr(free, name):
                raise ValueError(
                    f"`{name}` has no effect on `{method}` with dt={self.dt:g}; drop one of the two"
                )

    @classmethod
    def from_keywords(cls, options: Mapping[str, Any]) -> SolverOptions:
        """Checked options; TypeError with the nearest name for one that does not exist."""
        known = [field.name for field in fields(cls)]
        for name in options:
            if name not in known:
                raise TypeError(f"unknown option `{name}`; {nearest(name, known)}")
        for name in ("step_ts", "jump_ts"):
            if not isinstance(options.get(name, ()), Iterable):
                raise TypeError(
                    f"`{name}` is {options[name]!r}; it must be a sequence of times: [{options[name]}]"
                )
        times = {n: tuple(float(t) for t in options[n]) for n in ("step_ts", "jump_ts") if n in options}
        return cls(**{**options, **times})


def nearest(name: str, known: Iterable[str]) -> str:
    """`did you mean ...?` with the nearest of the known names, or all of them if none is near."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean `{close[0]}`?" if close else f"one of: {', '.join(names)}"


def list_methods() -> list[str]:
    """Every method's name, in alphabetical order."""
    return sorted([*load_tableaus(), *_WITHOUT_TABLEAU])


def make_solver(
    method: str, rtol: Tolerance, atol: Tolerance, norm: Norm, options: SolverOptions, *, keep_stages: bool
) -> Solver:
    """The solver of a method; ValueError for an unknown one, or one that these options do not fit."""
    if method in _WITHOUT_TABLEAU:
        return _WITHOUT_TABLEAU[method](method, rtol, atol, norm, options)
    tableaus = load_tableaus()
    if method not in tableaus:
        raise ValueError(f"unknown method `{method}`; {nearest(method, list_methods())}")
    tableau = tableaus[method]
    if options.dt is not None:
        options.refuse_step_choice(method)
        return FixedRungeKutta(
            tableau,
            partial(uniform_grid, dt=options.dt),
            options.max_steps,
            options.max_nfe,
            keep_stages=keep_stages,
        )
    return AdaptiveRungeKutta(tableau, _step_control(tableau, rtol, atol, norm, options))


def _adams(method: str, rtol: Tolerance, atol: Tolerance, norm: Norm, options: SolverOptions) -> Solver:
    if options.dt is None:
        raise ValueError(
            f"`{method}` steps on a grid, so it needs fixed steps: pass dt=..., or use one of: {_adaptive_methods()}"
        )
    options.refuse_step_choice(method)
    corrector = Corrector(rtol, atol, norm) if method == "implicit_adams" else None
    return Adams(partial(uniform_grid, dt=options.dt), corrector, options.max_steps, options.max_nfe)


def _scipy(method: str, rtol: Tolerance, atol: Tolerance, norm: Norm, options: SolverOptions) -> Solver:
    for name in ("dt", "step_ts", "jump_ts"):
        if getattr(options, name):
            raise ValueError(
                f"`{method}` chooses its own steps and takes no `{name}`; drop it, or use dopri5"
            )
    if method == "lsoda" and options.min_step:
        raise ValueError("SciPy's `lsoda` does not keep to a `min_step`; drop it, or use vode_adams")
    return ScipySolver(
        method,
        rtol,
        atol,
        first_step=options.first_step,
        min_step=options.min_step,
        max_step=options.max_step,
        max_steps=options.max_steps,
        max_nfe=options.max_nfe,
    )


_WITHOUT_TABLEAU: dict[str, Callable[[str, Tolerance, Tolerance, Norm, SolverOptions], Solver]] = {
    "explicit_adams": _adams,
    "implicit_adams": _adams,
    "vode_adams": _scipy,
    "lsoda": _scipy,
}


def _adaptive_methods() -> str:
    return ", ".join(sorted(name for name, tableau in load_tableaus().items() if tableau.has_error_estimate))


def _step_control(
    tableau: ButcherTableau, rtol: Tolerance, atol: Tolerance, norm: Norm, options: SolverOptions
) -> StepControl:
    if not tableau.has_error_estimate:
        raise ValueError(
            f"`{tableau.name}` has no embedded error estimate, so it needs fixed steps: pass dt=..., "
            f"or use one of: {_adaptive_methods()}"
        )
    controller = options.controller
    return StepControl(
        rtol=rtol,
        atol=atol,
        norm=norm,
        controller=CONTROLLERS[controller] if isinstance(controller, str) else controller,
        first_step=options.first_step,
        min_step=options.min_step,
        max_step=options.max_step,
        max_steps=options.max_steps,
        max_nfe=options.max_nfe,
        step_ts=options.step_ts,
        jump_ts=options.jump_ts,
    )
