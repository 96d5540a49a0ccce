"""What goes together: task, data and net by their classes, the solve that the net makes, the length of the run.

The classes say what they are and what they allow; nothing is built, and nothing here knows one by its name.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

from torch import nn

from nodebench.config.errors import ConfigError
from nodebench.data import Data
from nodebench.ode.methods.traits import known_methods
from nodebench.ode.settings import of_config
from nodebench.records.precision import FLOAT32
from nodebench.records.precision import KEY as PRECISION
from nodebench.training import Task


def check_fit(config: Mapping[str, Any], task: type[Task], data: type[Data], net: type[nn.Module]) -> None:
    """Raises ConfigError for the first that does not fit, with what would."""
    _check_kinds(config, task, data, net)
    _check_length(config, task)
    if config[PRECISION] != FLOAT32 and PRECISION not in inspect.signature(task).parameters:
        raise ConfigError(
            f"precision={config[PRECISION]} is for classifiers; task={config['task']['name']} trains "
            f"{a(task.net_kind)}, in float32 alone; drop it"
        )
    if "solver" in config:
        _check_states(config["solver"]["method"], task)
        t1 = config["model"].get("t1", getattr(net, "t1", None))
        if t1 is not None:
            _check_span(config["solver"], t1)
    if config["compile"] and "gradient" not in config["model"] and not is_called(net):
        raise ConfigError(
            f"compile=true has no effect with model={config['model']['name']}; drop it, or choose {a(task.net_kind)} "
            "that solves an ODE"
        )


def is_called(net: type[nn.Module]) -> bool:
    """Whether nets of a class are called, and not asked for densities and the like: then they can be compiled."""
    return net.forward is not nn.Module.forward


def a(kind: str) -> str:
    """A noun with its article."""
    return f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"


def _check_kinds(config: Mapping[str, Any], task: type[Task], data: type[Data], net: type[nn.Module]) -> None:
    chosen = {node: config[node]["name"] for node in ("task", "data", "model")}
    wanted: type[Data] = task.data_type
    if not issubclass(data, wanted):
        raise ConfigError(
            f"task={chosen['task']} learns from {wanted.kind} (such as data={wanted.example}), not from "
            f"{data.kind}, which data={chosen['data']} gives; `nodebench list data` shows all"
        )
    net_kind = getattr(net, "net_kind", task.net_kind)
    if net_kind != task.net_kind or not issubclass(net, task.model_type):
        is_what = f"no {task.net_kind}" if net_kind == task.net_kind else a(net_kind)
        raise ConfigError(
            f"task={chosen['task']} trains {a(task.net_kind)}, and model={chosen['model']} is {is_what}; "
            "`nodebench list models` shows all"
        )


def _check_length(config: Mapping[str, Any], task: type[Task]) -> None:
    """The run's length is in what the task counts, and long enough for it."""
    training = config["training"]
    in_epochs = [key for key in ("epochs", "milestones") if training[key]]
    if in_epochs and not task.has_epochs:
        raise ConfigError(
            f"task={config['task']['name']} counts steps and has no epochs, so training.{in_epochs[0]} means nothing; "
            "give training.num_steps, or leave out training=PRESET for the one that the task chooses"
        )
    for key, consequence in getattr(task, "ends_within_run", {}).items():
        if config["task"][key] > (training["num_steps"] or math.inf):
            raise ConfigError(
                f"task.{key}={config['task'][key]} is above training.num_steps={training['num_steps']}, so "
                f"{consequence}; lower the one or raise the other"
            )


def _check_states(method: str, task: type[Task]) -> None:
    traits, states = known_methods()[method], getattr(task, "large_states", None)
    max_state = traits.max_state
    if traits.is_implicit and states is not None:
        raise ConfigError(
            f"{method} solves with the Jacobian of its states, and {states} is too large for that; use an explicit "
            "method, such as solver=dopri5"
        )
    if max_state is not None and states is not None:
        raise ConfigError(
            f"{method} stores a dense Jacobian and takes states of up to {max_state:,} numbers, and {states} "
            "is larger; use solver=vode_adams"
        )


def _check_span(solver: Mapping[str, Any], t1: float) -> None:
    """Steps fit into the solve from 0 to t1, and a limit on them is one."""
    for key in (key for key, setting in of_config().items() if setting.is_length):
        if solver[key] is not None and solver[key] > t1:
            raise ConfigError(
                f"solver.{key}={solver[key]:g} is longer than the solve from 0 to {t1:g}; give at most {t1:g}"
            )
    if t1 <= solver["max_step"] < math.inf:
        raise ConfigError(
            f"solver.max_step={solver['max_step']:g} has no effect on the solve from 0 to {t1:g}; "
            f"drop it, or give less than {t1:g}"
        )
