"""Combinations that cannot be: one sentence each, before anything is imported that would be built.

The ranges of single values are in ranges.py, what goes with which task, data and net in fit.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nodebench.config.effect import check_effect, check_solver_effect
from nodebench.config.errors import ConfigError, did_you_mean
from nodebench.config.ranges import check_ranges, is_gpu
from nodebench.counted import counted
from nodebench.ode.methods.traits import Traits, adaptive_methods, known_methods


def check(config: Mapping[str, Any]) -> None:
    """Raises ConfigError for the first value out of range or impossible combination in a composed config."""
    check_ranges(config)
    if config["training"]["epochs"] is None and config["training"]["num_steps"] is None:
        raise ConfigError("training.epochs and training.num_steps are both null; give one of them")
    if "solver" in config:
        check_solver(config["solver"], config["model"]["gradient"])
    check_effect(config)
    check_device(config["device"])


def check_solver(solver: Mapping[str, Any], gradient: str | None) -> None:
    """The method exists and fits its step size, its tolerances and the gradient (None: evaluation only)."""
    traits = _check_method(solver["method"], "solver.method")
    if solver["min_step"] > solver["max_step"]:
        raise ConfigError(
            f"solver.min_step={solver['min_step']:g} is above solver.max_step={solver['max_step']:g}; swap them"
        )
    if solver["dt"] is None:
        _check_adaptive(solver["method"], traits)
    if solver["steps"] == "per_sample":
        _check_own_steps(solver, gradient)
    if gradient is None:
        check_solver_effect(solver)
    else:
        _check_gradient(solver, traits, gradient)


def _check_own_steps(solver: Mapping[str, Any], gradient: str | None) -> None:
    """The norms are those of single samples, which have steps of their own."""
    if solver["norm"] != "rms":
        raise ConfigError(
            f"solver.norm={solver['norm']} is a norm of the batch, and with solver.steps=per_sample each sample is "
            "measured by itself; drop one of the two"
        )
    norm = solver["adjoint"]["norm"]
    if gradient == "adjoint" and norm in ("full", "joint"):
        raise ConfigError(
            f"solver.adjoint.norm={norm} counts the parameters' integrals, which with solver.steps=per_sample belong "
            "to no one sample; choose state or seminorm"
        )


def _check_method(method: Any, key: str) -> Traits:
    """What a method can. Raises ConfigError for a name of none, and for a bad tableau file."""
    try:
        known = known_methods()
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if method not in list(known):
        hint = did_you_mean(str(method), known)
        if "Did you mean" not in hint:
            hint += " One of your own is known with --config-dir."
        raise ConfigError(f"unknown {key} `{method}`.{hint}")
    return known[method]


def takes_fixed_steps(method: str) -> bool:
    """Whether a method has no error estimate and so needs solver.dt; False for names of no method."""
    traits = known_methods().get(method)
    return traits is not None and not traits.has_error


def _check_adaptive(method: str, traits: Traits, is_adjoint: bool = False) -> None:
    """The method chooses its steps, as it must without a step size."""
    if traits.has_error:
        return
    if not traits.is_one_step and not is_adjoint:
        raise ConfigError(f"{method} steps on a grid and needs a step size; give solver.dt, such as 0.05")
    raise ConfigError(
        f"{method} has no error estimate, so it cannot choose its steps; give solver.dt, such as 0.1, "
        f"or use one of: {', '.join(adaptive_methods())}"
    )


def _check_gradient(solver: Mapping[str, Any], traits: Traits, gradient: str) -> None:
    method, adjoint = solver["method"], solver["adjoint"]
    if gradient not in traits.gradients:
        if traits.is_self_driven:
            raise ConfigError(
                f"model.gradient={gradient} needs the solver's own steps, which SciPy's {method} does not show; "
                "use model.gradient=adjoint, or another solver"
            )
        raise ConfigError(
            f"model.gradient={gradient} takes single steps again, which {method} cannot; "
            "use direct or adjoint, or a Runge-Kutta method"
        )
    if adjoint["method"] is not None:
        backward = _check_method(adjoint["method"], "solver.adjoint.method")
        if solver["dt"] is None:
            _check_adaptive(adjoint["method"], backward, is_adjoint=True)


def check_device(device: str) -> None:
    """A device that was asked for by name is there."""
    if device in ("auto", "cpu"):
        return
    import torch

    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"device={device}, but torch sees no CUDA device; use device=auto or device=cpu")
    if is_gpu(device) and (number := torch.cuda.device_count()) <= int(device.removeprefix("cuda:")):
        raise ConfigError(
            f"device={device}, but torch sees {counted(number, 'GPU')}, the first of which is cuda:0"
        )
    if device == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device=mps, but torch sees no Metal device; use device=auto or device=cpu")
