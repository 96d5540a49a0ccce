"""Combinations that cannot be: one sentence each, before anything is built. The ranges of single values: ranges.py."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from nodebench.config.errors import ConfigError, did_you_mean
from nodebench.config.ranges import check_ranges

MULTISTEP = ("explicit_adams", "implicit_adams")
BRIDGE = ("vode_adams", "lsoda")
# Keys that only steps chosen by the solver heed, and the value that stands for "not given".
_FOR_CHOSEN_STEPS = {
    "controller": "integral",
    "norm": "rms",
    "first_step": None,
    "min_step": 0.0,
    "max_step": math.inf,
}


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
    optimizer = config["optimizer"]
    if optimizer.get("nesterov") and optimizer.get("momentum") == 0:
        raise ConfigError("optimizer.nesterov=true needs optimizer.momentum above 0; give one, or drop it")
    if "solver" in config:
        check_solver(config["solver"], config["model"]["gradient"])
        check_state_size(config)
    check_device(config["device"])


def check_solver(solver: Mapping[str, Any], gradient: str | None) -> None:
    """The method exists and fits its step size, its tolerances and the gradient (None: evaluation only)."""
    _check_method(solver["method"], "solver.method")
    if solver["min_step"] > solver["max_step"]:
        raise ConfigError(
            f"solver.min_step={solver['min_step']:g} is above solver.max_step={solver['max_step']:g}; swap them"
        )
    _check_steps(solver)
    if gradient is not None:
        _check_gradient(solver, gradient)


def check_state_size(config: Mapping[str, Any]) -> None:
    """lsoda stores a dense Jacobian, which no batch of images allows."""
    if config["solver"]["method"] == "lsoda" and config["task"]["name"] == "classification":
        raise ConfigError(
            "lsoda stores a dense Jacobian and takes states of up to 5,000 numbers, and a batch of images is larger; "
            "use solver=vode_adams"
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
    from nodebench.ode.tableaus import load_tableaus

    return load_tableaus()


def _check_steps(solver: Mapping[str, Any]) -> None:
    """A step size or a tolerance, whichever the method goes by, and nothing that has no effect."""
    method, dt = solver["method"], solver["dt"]
    tolerances = {key for key in ("tol", "rtol", "atol") if solver[key] is not None}
    choices = {key for key, unset in _FOR_CHOSEN_STEPS.items() if solver[key] != unset}
    if method in BRIDGE:
        if dt is not None:
            raise ConfigError(
                f"solver.dt={dt} has no effect on {method}, which chooses its own steps; drop it"
            )
        without_effect = choices & {"controller", "norm"}
    elif dt is None:
        if method in MULTISTEP:
            raise ConfigError(f"{method} steps on a grid and needs a step size; give solver.dt, such as 0.05")
        _check_error_estimate(method)
        without_effect = set()
    elif method == "implicit_adams":  # its corrector iterates until norm and tolerance are content
        without_effect = choices - {"norm"}
    else:
        without_effect = tolerances | choices
    if without_effect:
        steps = "SciPy's own steps" if dt is None else f"a fixed step (solver.dt={dt})"
        raise ConfigError(
            f"solver.{min(without_effect)} has no effect on {method} at {steps}; drop it, "
            "or choose a solver that controls its error"
        )


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
    given = [f"solver.adjoint.{key}" for key in ("method", "rtol", "atol") if adjoint[key] is not None]
    if given and gradient != "adjoint":
        raise ConfigError(f"{given[0]} has no effect with model.gradient={gradient}; drop it")
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
