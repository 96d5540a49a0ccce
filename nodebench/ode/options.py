"""Settings of a solve beside its method and tolerances."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any, TypedDict

from torch import Tensor

from nodebench.ode.drive.controllers import CONTROLLERS, Controller
from nodebench.ode.names import nearest


class OptionKeywords(TypedDict, total=False):
    """SolverOptions as odeint takes them."""

    dt: float | None
    controller: str | Controller
    first_step: float | None
    min_step: float
    max_step: float
    max_steps: int | None
    max_nfe: int | None
    step_ts: Iterable[float]
    jump_ts: Iterable[float]


@dataclass(frozen=True)
class SolverOptions:
    """Settings of a solve beside its method and tolerances; see odeint for their meaning."""

    dt: float | None = None
    controller: str | Controller = "integral"
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
