"""Settings without effect: for each key that another one can make void, when it has an effect, in one table.

A setting that changes nothing still makes another run folder, and whoever gave it expects another number. So it is an
error, where somebody gave it: a value that train.yaml or the shipped files that were chosen have is nobody's mistake,
`training=paper training.schedule=constant` keeps the preset's milestones and its folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from nodebench.config.errors import ConfigError
from nodebench.config.files import NODES, PRIMARY, flatten, load, options, shipped_folder
from nodebench.ode.methods.traits import known_methods
from nodebench.ode.settings import RULES, Rule, of_config

Values = Mapping[str, Any]  # by dotted key


class Effect(NamedTuple):
    """`keys` have an effect where `is_there` says so; `beside` decide it, and `cure` is what to do about it."""

    keys: tuple[str, ...]
    is_there: Callable[[Values], bool]
    beside: tuple[str, ...]
    cure: str


def _under(node: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{node}.{name}" for name in names)


def _is(key: str, *values: Any) -> Callable[[Values], bool]:
    return lambda given: given[key] in values


def _is_not(key: str, *values: Any) -> Callable[[Values], bool]:
    return lambda given: given[key] not in values


def _of_rule(rule: Rule, *, backward: bool) -> Effect:
    """A rule of the solver's settings, for those of the forward or the backward solve that it is for."""

    def is_there(given: Values) -> bool:
        method = (backward and given["solver.adjoint.method"]) or given["solver.method"]
        return rule.holds(known_methods()[method], given["solver.dt"])

    beside = rule.beside
    if backward:
        beside = ("dt",) if "dt" in beside else ("method", "adjoint.method")
    names = [name for name, setting in (_BACKWARD if backward else _FORWARD).items() if rule in setting.rules]
    return Effect(_under("solver", *names), is_there, _under("solver", *beside), rule.cure)


def _changes_rate(given: Values) -> bool:
    return given["training.schedule"] != "multistep" or given["training.milestones"] != []


def _ends_after_milestones(given: Values) -> bool:
    epochs = given["training.epochs"]
    return epochs is None or all(milestone < epochs for milestone in given["training.milestones"])


_FORWARD = {key: setting for key, setting in of_config().items() if not key.startswith("adjoint.")}
_BACKWARD = {key: setting for key, setting in of_config().items() if key.startswith("adjoint.")}

OF_SOLVES = tuple(_of_rule(rule, backward=False) for rule in RULES)
OF_ADJOINTS = (
    Effect(
        _under("solver", *_BACKWARD),
        _is("model.gradient", "adjoint"),
        ("model.gradient",),
        "choose model.gradient=adjoint",
    ),
    *(_of_rule(rule, backward=True) for rule in reversed(RULES)),
    Effect(
        ("solver.tol",),
        lambda given: None in (given["solver.rtol"], given["solver.atol"]),
        _under("solver", "rtol", "atol"),
        "give it in their place",
    ),
)
OF_RUNS = (
    Effect(
        _under("training", "milestones", "gamma"),
        _is("training.schedule", "multistep"),
        ("training.schedule",),
        "choose training.schedule=multistep",
    ),
    Effect(
        _under("training", "schedule", "gamma"),
        _changes_rate,
        ("training.milestones",),
        "give training.milestones",
    ),
    Effect(
        ("training.milestones",), _ends_after_milestones, ("training.epochs",), "give epochs before the last"
    ),
    Effect(
        ("training.warmup_share",),
        _is("training.schedule", "one_cycle"),
        ("training.schedule",),
        "choose training.schedule=one_cycle",
    ),
    Effect(("training.ema_decay",), _is_not("training.ema_decay", 0), (), "give one above 0"),
    Effect(
        ("model.noise",),
        _is("model.divergence", "hutchinson"),
        ("model.divergence",),
        "choose model.divergence=hutchinson",
    ),
    Effect(
        ("model.time_input",),
        lambda given: given.get("model.encoder") != "ode_rnn",
        ("model.encoder",),
        "choose model.encoder=gru",
    ),
    Effect(
        ("model.hidden_dim",),
        lambda given: given.get("model.encoder") != "none",
        ("model.encoder",),
        "choose model.encoder=rnn",
    ),
    Effect(
        _under("data", "depth", "phase"),
        _is("data.variant", "sine"),
        ("data.variant",),
        "choose data.variant=sine",
    ),
    Effect(
        _under("data", "rho", "min_radius", "max_radius"),
        lambda given: given.get("data.variant", "spiral") == "spiral",
        ("data.variant",),
        "choose data.variant=spiral",
    ),
    Effect(
        ("optimizer.nesterov",),
        _is_not("optimizer.momentum", 0),
        ("optimizer.momentum",),
        "give optimizer.momentum above 0",
    ),
)


def check_effect(config: Mapping[str, Any]) -> None:
    """Raises ConfigError for the first key of a composed config that was given and changes nothing."""
    table = (*OF_SOLVES, *OF_ADJOINTS, *OF_RUNS) if "solver" in config else OF_RUNS
    _check(dict(flatten(dict(config))), table, _not_given(config))


def check_solver_effect(solver: Mapping[str, Any]) -> None:
    """The same for a trained net, which solves forwards with any solver."""
    _check(dict(flatten(dict(solver), "solver.")), OF_SOLVES, _primary())


def _check(values: Values, table: Sequence[Effect], not_given: Values) -> None:
    for effect in table:
        for key in effect.keys:
            is_given = key in values and key in not_given and values[key] != not_given[key]
            if is_given and not effect.is_there(values):
                beside = ", ".join(f"{name}={_shown(values[name])}" for name in effect.beside)
                raise ConfigError(
                    f"{key}={_shown(values[key])} has no effect{' with ' if beside else ''}{beside}; drop it, or "
                    f"{effect.cure}"
                )


def _shown(value: Any) -> str:
    """As it is written on the command line."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


@cache
def _primary() -> Values:
    return dict(flatten(load(shipped_folder() / f"{PRIMARY}.yaml")))


def _not_given(config: Mapping[str, Any]) -> Values:
    """The values that stand for "nobody gave it": train.yaml's, below those of the shipped files that were chosen.

    Keys of a user's own model, data or optimizer are not among them: what its file says of them is not known here.
    """
    values = dict(_primary())
    for group in NODES:
        values |= _shipped(group, config.get(group, {}).get("name"))
    return values


@cache
def _shipped(group: str, name: str | None) -> Values:
    """What the shipped file of a choice says; empty of one that is the user's own."""
    path = options(group, (shipped_folder(),)).get(str(name))
    return {} if path is None else dict(flatten(load(path), "" if group == "training" else f"{group}."))
