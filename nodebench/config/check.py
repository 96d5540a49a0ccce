"""Combinations that cannot be: one sentence each, before anything is built. The ranges of single values: ranges.py."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from nodebench.config.effect import BRIDGE, MULTISTEP, check_effect, check_solver_effect
from nodebench.config.errors import ConfigError, did_you_mean
from nodebench.config.ranges import check_ranges

_ODE_NET = "nodebench.models.classifiers.ODENet"  # which solves from 0 to 1


def check(config: Mapping[str, Any]) -> None:
    """Raises ConfigError for the first value out of range or impossible combination in a composed config."""
    check_ranges(config)
    if config["training"]["epochs"] is None and config["training"]["num_steps"] is None:
        raise ConfigError("training.epochs and training.num_steps are both null; give one of them")
    anneal_steps = config["task"].get("anneal_steps", 0)
    if anneal_steps > (config["training"]["num_steps"] or math.inf):
        raise ConfigError(
            f"task.anneal_steps={anneal_steps} is above training.num_steps={config['training']['num_steps']}, so the "
            "energy would never have its whole weight; lower the one or raise the other"
        )
    if "solver" in config:
        check_solver(config["solver"], config["model"]["gradient"])
        check_net(config)
    check_effect(config)
    check_device(config["device"])


def check_solver(solver: Mapping[str, Any], gradient: str | None) -> None:
    """The method exists and fits its step size, its tolerances and the gradient (None: evaluation only)."""
    _check_method(solver["method"], "solver.method")
    if solver["min_step"] > solver["max_step"]:
        raise ConfigError(
            f"solver.min_step={solver['min_step']:g} is above solver.max_step={solver['max_step']:g}; swap them"
        )
    _check_steps(solver)
    if gradient is None:
        check_solver_effect(solver)
    else:
        _check_gradient(solver, gradient)


def check_net(config: Mapping[str, Any]) -> None:
    """The net's states and the interval of its solve allow what is asked of the solver."""
    if config["solver"]["method"] == "lsoda" and config["task"]["name"] == "classification":
        raise ConfigError(
            "lsoda stores a dense Jacobian and takes states of up to 5,000 numbers, and a batch of images is larger; "
            "use solver=vode_adams"
        )
    model = config["model"]
    t1 = model.get("t1", 1.0 if model["_target_"] == _ODE_NET else None)
    if t1 is not None:  # the interval of a user's own net is not known here
        _check_span(config["solver"], t1)


def _check_span(solver: Mapping[str, Any], t1: float) -> None:
    """Steps fit into the solve from 0 to t1, and a limit on them is one."""
    for key in ("dt", "first_step", "min_step"):
        if solver[key] is not None and solver[key] > t1:
            raise ConfigError(
                f"solver.{key}={solver[key]:g} is longer than the solve from 0 to {t1:g}; give at most {t1:g}"
            )
    if t1 <= solver["max_step"] < math.inf:
        raise ConfigError(
            f"solver.max_step={solver['max_step']:g} has no effect on the solve from 0 to {t1:g}; "
            f"drop it, or give less than {t1:g}"
        )


def _check_method(method: Any, key: str) -> None:
    if method not in known_methods():
        raise ConfigError(f"unknown {key} `{method}`.{did_you_mean(str(method), known_methods())}")


def known_methods() -> list[str]:
    """Every method that solver.method and solver.adjoint.method may name; ConfigError for a bad tableau file."""
    from nodebench.ode import list_methods  # here, because nodebench.ode imports torch

    try:
        return list_methods()
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _tableaus() -> Mapping[str, Any]:
    from nodebench.ode.methods.tableaus import load_tableaus

    return load_tableaus()


def _check_steps(solver: Mapping[str, Any]) -> None:
    """A method that cannot choose its steps has a step size."""
    method = solver["method"]
    if solver["dt"] is None and method not in BRIDGE:
        if method in MULTISTEP:
            raise ConfigError(f"{method} steps on a grid and needs a step size; give solver.dt, such as 0.05")
        _check_error_estimate(method)


def takes_fixed_steps(method: str) -> bool:
    """Whether a method has no error estimate and so needs solver.dt; False for names of no method."""
    tableaus = _tableaus()
    return method in MULTISTEP or (method in tableaus and not tableaus[method].has_error_estimate)


def _check_error_estimate(method: str) -> None:
    if takes_fixed_steps(method):
        tableaus = _tableaus()
        adaptive = [name for name, tableau in tableaus.items() if tableau.has_error_estimate]
        raise ConfigError(
            f"{method} has no error estimate, so it cannot choose its steps; give solver.dt, such as 0.1, "
            f"or use one of: {', '.join(sorted(adaptive))}"
        )


def _check_gradient(solver: Mapping[str, Any], gradient: str) -> None:
    method, adjoint = solver["method"], solver["adjoint"]
    if method in BRIDGE and gradient != "adjoint":
        raise ConfigError(
            f"model.gradient={gradient} needs the solver's own steps, which SciPy's {method} does not show; "
            "use model.gradient=adjoint, or another solver"
        )
    if method in MULTISTEP and gradient == "checkpointed":
        raise ConfigError(
            f"model.gradient=checkpointed takes single steps again, which {method} cannot; "
            "use direct or adjoint, or a Runge-Kutta method"
        )
    if adjoint["method"] is not None:
        _check_method(adjoint["method"], "solver.adjoint.method")
        if solver["dt"] is None:
            _check_error_estimate(adjoint["method"])


def check_device(device: str) -> None:
    """A device that was asked for by name is there."""
    if device in ("auto", "cpu"):
        return
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device=cuda, but torch sees no CUDA device; use device=auto or device=cpu")
    if device == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device=mps, but torch sees no Metal device; use device=auto or device=cpu")
