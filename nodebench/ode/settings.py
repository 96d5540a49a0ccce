"""Every setting of a solve, once: its name, type, default and range, and what it goes with. Read without torch.

odeint checks its options by what stands here, an ODE block keeps these classes, and the ranges and combinations of
configs, `nodebench list settings` and the way that a precision is written follow. A new setting is a field here, a line
in configs/train.yaml (null as its default there leaves the folders of older runs as they are), and what heeds it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, TypeVar

from nodebench.ode.methods.traits import Traits
from nodebench.ode.ranges import SWITCH, Range, either, number, one_of, whole

if TYPE_CHECKING:
    from nodebench.ode.drive.controllers import Controller

T = TypeVar("T")

TOLERANCE = number(1e-15, 1e6)
ABSOLUTE_TOLERANCE = number(1e-30, 1e6)  # smaller than the state's size says that rtol alone counts
SPAN = number(1e-6, 1e6)  # of steps, and what else is of order 1
STEPS = whole(1, 10**12)
BUDGETS = ("max_steps", "max_nfe")
"""What a solve may cost at most: whether it comes to its end, and not where that is."""


class Rule(NamedTuple):
    """What a setting goes with: it has an effect where `holds` says so of what the method can and of dt.

    `words` name what it goes with, `beside` are the settings that decide, `cure` is what to do where it does not hold.
    """

    words: str
    beside: tuple[str, ...]
    cure: str
    holds: Callable[[Traits, float | None], bool]


OUR_CONTROL = Rule(
    "a method that is not SciPy's",
    ("method",),
    "choose a method that is not SciPy's",
    lambda traits, dt: not traits.is_self_driven,
)
KEPT_MIN_STEP = Rule(
    "any method but lsoda", ("method",), "choose vode_adams", lambda traits, dt: traits.keeps_min_step
)
TOLERATED_ERROR = Rule(
    "a solver that controls its error, or an implicit one",
    ("method", "dt"),
    "choose a solver that controls its error",
    lambda traits, dt: dt is None or traits.iterates,
)
CHOSEN_STEPS = Rule(
    "a solver that controls its error",
    ("method", "dt"),
    "choose a solver that controls its error",
    lambda traits, dt: dt is None,
)
OWN_STEPS = Rule(
    "an explicit Runge-Kutta method that controls its error",
    ("method", "dt"),
    "choose dopri5, without dt",
    lambda traits, dt: dt is None and traits.has_own_steps,
)
RULES = (OUR_CONTROL, KEPT_MIN_STEP, TOLERATED_ERROR, CHOSEN_STEPS, OWN_STEPS)  # in the order they are told


class Setting(NamedTuple):
    """A setting's default; what a config may say (None: the name of a method); what it goes with.

    `is_positive`: odeint refuses other numbers. `is_length`: of a step, which fits into the interval of the solve.
    `is_later`: it came after runs were published, whose configs lack it and mean its default.
    """

    default: Any
    usual: Range | None
    rules: tuple[Rule, ...] = ()
    is_positive: bool = False
    is_length: bool = False
    is_later: bool = False


def setting(
    default: T,
    usual: Range | None,
    *rules: Rule,
    positive: bool = False,
    length: bool = False,
    later: bool = False,
) -> T:
    """A field of a class of settings, with what is known of it."""
    known = Setting(default, usual, rules, positive, length, later)
    made: T = field(default=default, metadata={"setting": known})
    return made


@dataclass(frozen=True, kw_only=True)
class StepSettings:
    """How steps are chosen, and how many may be taken. Sizes are positive in both directions of time. See odeint."""

    dt: float | None = setting(None, SPAN, OUR_CONTROL, positive=True, length=True)
    controller: str | Controller = setting(  # noqa: RUF009
        "integral", one_of("integral", "pi", "pid"), OUR_CONTROL, CHOSEN_STEPS
    )
    first_step: float | None = setting(None, number(1e-15, 1e6), CHOSEN_STEPS, positive=True, length=True)
    min_step: float = setting(0.0, either(0, number(1e-15, 1e6)), KEPT_MIN_STEP, CHOSEN_STEPS, length=True)
    max_step: float = setting(math.inf, either(math.inf, SPAN), CHOSEN_STEPS, positive=True)
    steps: str = setting("shared", one_of("shared", "per_sample"), OWN_STEPS, later=True)
    max_steps: int | None = setting(None, STEPS, positive=True)
    max_nfe: int | None = setting(None, STEPS, positive=True)


class StepKeywords(TypedDict, total=False):
    """StepSettings as keywords: for type checkers, which read no dataclass as such."""

    dt: float | None
    controller: str | Controller
    first_step: float | None
    min_step: float
    max_step: float
    steps: str
    max_steps: int | None
    max_nfe: int | None


@dataclass(frozen=True)
class AdjointSettings:
    """How gradient `adjoint` solves backwards; None means as forward. See odeint."""

    method: str | None = setting(None, None)
    rtol: float | None = setting(None, TOLERANCE, TOLERATED_ERROR)
    atol: float | None = setting(None, ABSOLUTE_TOLERANCE, TOLERATED_ERROR)
    norm: str = setting("state", one_of("full", "joint", "seminorm", "state"), TOLERATED_ERROR, OUR_CONTROL)


@dataclass(frozen=True)
class SolverSettings(StepSettings):
    """How an ODE block solves, as plain values. See odeint for their meaning."""

    method: str = setting("dopri5", None)
    rtol: float = setting(1e-3, TOLERANCE, TOLERATED_ERROR)
    atol: float = setting(1e-3, ABSOLUTE_TOLERANCE, TOLERATED_ERROR)
    norm: str = setting("rms", one_of("rms", "max_sample"), OUR_CONTROL, TOLERATED_ERROR)
    compile: bool | str = False  # while training: see ODEBlock.compiles_evaluation
    adjoint: AdjointSettings = AdjointSettings()
    sync: bool = setting(True, SWITCH, later=True)  # the steps of several processes that train one net


def of_a_solve(solver: SolverSettings) -> dict[str, Any]:
    """The settings that odeint takes by the same names: not the adjoint's, nor `sync`, which the caller heeds."""
    return {name: value for name, value in vars(solver).items() if name not in ("adjoint", "sync")}


def settings_of(kind: type) -> dict[str, Setting]:
    """The settings among a class's fields, by name."""
    return {each.name: each.metadata["setting"] for each in fields(kind) if "setting" in each.metadata}


def of_config() -> dict[str, Setting]:
    """The keys below a config's `solver`: `tol` stands in for rtol and atol, which are null there; adjoint.* follow."""
    own = settings_of(SolverSettings)
    rtol, atol = (own.pop(name)._replace(default=None) for name in ("rtol", "atol"))
    adjoint = {f"adjoint.{name}": known for name, known in settings_of(AdjointSettings).items()}
    return {"method": own.pop("method"), "tol": rtol, "rtol": rtol, "atol": atol, **own, **adjoint}


def of_later() -> dict[str, Any]:
    """The keys below `solver` that configs of older runs lack, with what they mean there."""
    return {key: known.default for key, known in of_config().items() if known.is_later}


def tolerances(solver: Mapping[str, Any]) -> tuple[Any, Any]:
    """(rtol, atol) of a config's `solver`: each its own value, else `tol`."""
    rtol, atol = (solver["tol"] if solver[key] is None else solver[key] for key in ("rtol", "atol"))
    return rtol, atol


def precision(
    rtol: Any, atol: Any, dt: Any, *, fixed: str = "dt={}", between: str = "/", digits: int = 3
) -> str:
    """`1e-3`; `1e-3/1e-6` where rtol and atol differ; `dt=0.1` for fixed steps."""
    if dt is not None:
        return fixed.format(dt)
    return between.join(
        dict.fromkeys(power_of_ten(value, digits) for value in (rtol, atol) if value is not None)
    )


def power_of_ten(value: Any, digits: int = 3) -> str:
    """`1e-3` for 0.001, rounded to `digits` behind the point; what is no number stays as it is."""
    try:
        mantissa, exponent = f"{float(value):.{digits}e}".split("e")
    except (TypeError, ValueError, OverflowError):  # an edited config; the table shows what it says
        return str(value)
    return f"{float(mantissa):.{digits + 1}g}e{int(exponent)}"


def precision_in_words(rtol: float | None, atol: float | None, dt: float | None) -> list[str]:
    """`dt 0.25`, `tol 0.001`, or `rtol 0.001, atol 1e-06`, of which a fixed step with a corrector has two."""
    words = [] if dt is None else [f"dt {dt:g}"]
    if rtol is not None and atol is not None:
        words.append(f"tol {rtol:g}" if rtol == atol else f"rtol {rtol:g}, atol {atol:g}")
    return words
