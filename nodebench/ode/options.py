"""Settings of a solve beside its method and tolerances."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

from torch import Tensor

from nodebench.ode.drive.controllers import CONTROLLERS
from nodebench.ode.methods.traits import Traits
from nodebench.ode.names import nearest
from nodebench.ode.settings import (
    CHOSEN_STEPS,
    KEPT_MIN_STEP,
    OUR_CONTROL,
    StepKeywords,
    StepSettings,
    setting,
    settings_of,
)

STEPS_OF = ("shared", "per_sample")
_WITHOUT_EFFECT = {
    OUR_CONTROL: "`{method}` chooses its own steps and takes no `{name}`; drop it, or use dopri5",
    KEPT_MIN_STEP: "SciPy's `{method}` does not keep to a `{name}`; drop it, or use vode_adams",
    CHOSEN_STEPS: "`{name}` has no effect on `{method}` with dt={dt:g}; drop one of the two",
}


class OptionKeywords(StepKeywords, total=False):
    """SolverOptions as odeint takes them."""

    step_ts: Iterable[float]
    jump_ts: Iterable[float]


@dataclass(frozen=True, kw_only=True)
class SolverOptions(StepSettings):
    """Settings of a solve beside its method and tolerances; see odeint for their meaning."""

    step_ts: tuple[float, ...] = setting((), None, OUR_CONTROL, CHOSEN_STEPS)
    jump_ts: tuple[float, ...] = setting((), None, OUR_CONTROL, CHOSEN_STEPS)

    def __post_init__(self) -> None:
        for name, known in _KNOWN.items():
            value = getattr(self, name)
            if not known.is_positive or value is None:
                continue
            if not isinstance(value, (Real, Tensor)):
                raise TypeError(f"`{name}` is {value!r}; it must be a positive number")
            if not float(value) > 0:
                raise ValueError(f"`{name}` is {value}; it must be positive (in both directions of time)")
        if not 0 <= self.min_step <= self.max_step:
            raise ValueError(
                f"`min_step` is {self.min_step}; it must lie between 0 and max_step={self.max_step}"
            )
        if isinstance(self.controller, str) and self.controller not in CONTROLLERS:
            raise ValueError(
                f"unknown controller `{self.controller}`; {nearest(self.controller, CONTROLLERS)}"
            )
        if self.steps not in STEPS_OF:
            raise ValueError(f"unknown `steps` `{self.steps}`; {nearest(str(self.steps), STEPS_OF)}")
        for name in ("step_ts", "jump_ts"):
            if not all(math.isfinite(t) for t in getattr(self, name)):
                raise ValueError(f"`{name}` is {getattr(self, name)}; times must be finite")
        both = set(self.step_ts) & set(self.jump_ts)
        if both:
            raise ValueError(f"t={min(both):g} is in `step_ts` and in `jump_ts`; a jump is stepped on anyway")

    def check_effect(self, method: Traits) -> None:
        """ValueError for an option that changes nothing of a method's solve; a controller may stay where it is."""
        for rule, message in _WITHOUT_EFFECT.items():
            if rule.holds(method, self.dt):
                continue
            for name, known in _KNOWN.items():
                if rule in known.rules and name != "controller" and getattr(self, name) != known.default:
                    raise ValueError(message.format(method=method.name, name=name, dt=self.dt))

    @classmethod
    def from_keywords(cls, options: Mapping[str, Any]) -> SolverOptions:
        """Checked options; TypeError with the nearest name for one that does not exist."""
        for name in options:
            if name not in _KNOWN:
                raise TypeError(f"unknown option `{name}`; {nearest(name, _KNOWN)}")
        times = {}
        for name in ("step_ts", "jump_ts"):
            if name not in options:
                continue
            if not isinstance(options[name], Iterable):
                raise TypeError(
                    f"`{name}` is {options[name]!r}; it must be a sequence of times: [{options[name]}]"
                )
            times[name] = tuple(float(t) for t in options[name])
        return cls(**{**options, **times})


_KNOWN = settings_of(SolverOptions)
