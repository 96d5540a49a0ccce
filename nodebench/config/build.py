"""From a composed config to objects: data, model, task, optimizer, and plain settings.

A `_target_` may name exactly what the shipped configs and an explicit --config-dir name, so a run folder that came
from somebody else can ask for nothing new; and it must be what its place needs: a Module, an optimizer, a task, or a
function that returns a data set.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

import torch
from torch import nn
from torch.optim import Optimizer

from nodebench.config.errors import ConfigError
from nodebench.config.files import content_of, flatten, is_ours
from nodebench.config.fit import check_fit, is_called
from nodebench.config.size import check_size, is_out_of_memory, out_of_memory
from nodebench.config.targets import find, naming_own
from nodebench.data import Data, DataError
from nodebench.data.protocol import kind_returned, returns_data, what_is_missing
from nodebench.models.ode_block import ode_blocks
from nodebench.models.precision import missing_bf16
from nodebench.ode import SolverError, hush_compiler, missing_compiler
from nodebench.ode.methods.traits import known_methods
from nodebench.ode.settings import AdjointSettings, SolverSettings, tolerances
from nodebench.ranks import place_here
from nodebench.records import COLUMNS
from nodebench.records.precision import FLOAT32
from nodebench.records.precision import KEY as PRECISION
from nodebench.training import Task, TrainingSettings
from nodebench.training.loggers import Logger
from nodebench.training.meetings import ProcessesError
from nodebench.training.state import MakeOptimizer

Kind = TypeVar("Kind")
Made = TypeVar("Made")
_TORCHS_CHOICE = torch.get_num_threads()
_BUILT = ("task", "data", "model", "optimizer")
_OF_A_TASK = (
    *("data_type", "model_type", "net_kind", "has_epochs", "misfit"),
    *("batch", "loss", "counting", "evaluate", "final_metrics", "pictures"),
)


class Builder:
    """Builds what one config names, from the targets that are `allowed`.

    Raises ConfigError if a `_target_` is not allowed, is no class of its kind, or does not take its keys.
    """

    def __init__(self, config: Mapping[str, Any], allowed: frozenset[str]) -> None:
        self.config = config
        self.allowed = allowed
        for key, value in flatten(dict(config)):
            node, _, last = key.rpartition(".")
            if node == "logger":  # looked at where it is built, which evaluation does not
                continue
            is_allowed = node in _BUILT and isinstance(value, str) and value in allowed
            if "_target_" in key.split(".") and not (last == "_target_" and is_allowed):
                raise ConfigError(_refusal(key, value))

    def check_fit(self) -> None:
        """Task, data and net go together, and with the solver and the length of the run: see fit.py.

        Raises ConfigError that names what would fit; nothing is built.
        """
        _, kind = self._data_function()
        check_fit(self.config, self._task_class(), kind, self._net_class())

    def data(self) -> Data:
        """The data set, read and split. Raises DataError for files and settings that cannot be used."""
        with _torchvision_explained():
            make, kind = self._data_function()
            keys = self._keys("data")
            content = keys.pop("content", None)
            if content is not None and content != content_of(keys["path"]):
                raise ConfigError(
                    f"{keys['path']} is not there or not the file that the run was made with; give it as data.path=..."
                )
            _check_keys(make, "data", keys)
            with naming_own("data", self.config["data"]["name"], make):
                data = _checked(make(**keys), kind)
            self._check_misfit(data)
            return data

    def model(self, dim: int | None = None) -> nn.Module:
        """The net with the initial weights that torch's current seed gives.

        dim: of the data's points, where the net takes one. With `compile`, unless why_eager says
        otherwise, ODE blocks take the steps of Runge-Kutta methods whole while training; vector fields that are solved
        otherwise, and nets without an ODE, are compiled themselves.
        """
        keys = self._keys("model")
        if dim is not None:
            keys["dim"] = dim
        if "solver" in self.config:
            keys["solver"] = solver_settings(self.config["solver"])
        make = self._net_class()
        _check_keys(make, "model", keys)
        if is_ours(make.__module__):  # a net of one's own may do more in its making than be made
            check_size(make, keys, self.config["model"]["name"], pick_device(self.config["device"]))
        try:
            with naming_own("model", self.config["model"]["name"], make):
                model: nn.Module = make(**keys)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise ConfigError(f"the net cannot be made: {out_of_memory(self.config)}") from error
        if self.config["compile"] and why_eager(model, pick_device(self.config["device"])) is None:
            compile_net(model)
        return model

    def task(self, data: Data, device: torch.device) -> Task:
        """What is optimised and measured, on `data`."""
        make = self._task_class()
        keys: dict[str, Any] = {"data": data, "seed": self.config["seed"], "device": device}
        label_smoothing = self.config["training"]["label_smoothing"]
        if "label_smoothing" in inspect.signature(make).parameters:
            keys["label_smoothing"] = label_smoothing
        elif label_smoothing:
            raise ConfigError(
                f"training.label_smoothing={label_smoothing} has no effect on "
                f"task={self.config['task']['name']}; drop it"
            )
        if PRECISION in inspect.signature(make).parameters:
            keys[PRECISION] = FLOAT32 if missing_bf16(device) else self.config[PRECISION]
        task = _call(make, "task", {**self._keys("task"), **keys})
        COLUMNS.and_own(getattr(task, "columns", ()))  # to hear now of a name that is taken
        return task

    def make_optimizer(self) -> MakeOptimizer:
        """A function of the parameters that makes the optimizer."""
        make = self._find("optimizer", _is_class_of(Optimizer), "optimizer")
        keys = self._keys("optimizer")
        _check_keys(make, "optimizer", {"params": (), **keys})
        return lambda params: make(params, **keys)

    def logger(self, folder: Path) -> Logger | None:
        """Who is told the records of the run in `folder`; None: nobody.

        Where its class takes them, `run` is the folder as a text, and `config` every value by its dotted key.
        """
        if self.config.get("logger") is None:
            return None
        target = self.config["logger"]["_target_"]
        if target not in self.allowed:
            raise ConfigError(_refusal("logger._target_", target))
        make = self._find("logger", _is_logger, "logger (a class with log(step, values))")
        takes = inspect.signature(make).parameters
        told = {"run": str(folder), "config": dict(flatten(dict(self.config)))}
        keys = {**self._keys("logger"), **{name: value for name, value in told.items() if name in takes}}
        with naming_own("logger", self.config["logger"]["name"], make):
            return _call(make, "logger", keys)

    def _check_misfit(self, data: Data) -> None:
        """Raises ConfigError for data that nets of the class cannot learn, as the task says."""
        misfit = self._task_class().misfit(data, self._net_class())
        if misfit is not None:
            raise ConfigError(
                f"data={self.config['data']['name']} has {misfit[0]}, and model={self.config['model']['name']} has "
                f"{misfit[1]}; take a model of your own"
            )

    def _task_class(self) -> type[Task]:
        kind = f"task (a class with {', '.join(_OF_A_TASK)})"
        return self._find("task", _is_task, kind)

    def _net_class(self) -> type[nn.Module]:
        return self._find("model", _is_class_of(nn.Module), "Module")

    def _data_function(self) -> tuple[Callable[..., Data], type[Data]]:
        """The function that makes the data, and the kind that it says it returns."""
        example = self._task_class().data_type.__name__
        with _torchvision_explained():
            kind = f"function with a return annotation that is a kind of data, such as {example}"
            make = self._find("data", returns_data, kind)
            return make, kind_returned(make)

    def _find(self, node: str, is_kind: Callable[[Any], TypeGuard[Kind]], kind: str) -> Kind:
        """What the node's _target_ names. Raises ConfigError if it is not there or not of its kind."""
        return find(node, self.config[node]["_target_"], is_kind, kind)

    def _keys(self, node: str) -> dict[str, Any]:
        return {key: value for key, value in self.config[node].items() if key not in ("_target_", "name")}


def why_eager(model: nn.Module, device: torch.device) -> str | None:
    """Why `compile` changes nothing for a model on a device, in half a sentence; None if it does."""
    if not is_called(type(model)) and not ode_blocks(model):
        return f"this {getattr(model, 'net_kind', 'net')} solves no ODE"
    return missing_compiler(device)


def compile_net(model: nn.Module) -> None:
    """Have a net's solves compiled from the next one on, or itself where there are none; see Builder.model."""
    hush_compiler()
    blocks = ode_blocks(model)
    compiled = {name for name, traits in known_methods().items() if traits.compiles}
    for block in blocks:
        if block.solver.method in compiled:
            block.solver = replace(block.solver, compile=True)
        else:
            block.vector_field.compile()
    if not blocks:
        model.compile()


def compile_evaluation(model: nn.Module) -> None:
    """Have a net's solves compiled in evaluation mode as well, batches of a shape that comes often: see ODEBlock."""
    compile_net(model)
    for block in ode_blocks(model):
        block.compiles_evaluation = True


def pick_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU: float32 on mps rounds differently, so it is a choice.

    Of several processes that train one net, each has the GPU of its number on its machine.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    place = place_here()
    return torch.device(name) if name != "cuda" or place is None else torch.device(name, place.local_rank)


def use_threads(num_threads: int | None) -> None:
    """Let torch use so many threads of the CPU, None as many as it began with."""
    torch.set_num_threads(num_threads or _TORCHS_CHOICE)


def solver_settings(solver: Mapping[str, Any]) -> SolverSettings:
    """The solver node as the ODE block takes it, `tol` spread over rtol and atol."""
    settings: dict[str, Any] = {key: solver[key] for key in solver if key not in ("name", "tol", "adjoint")}
    settings["rtol"], settings["atol"] = tolerances(solver)
    # Left out where there is none: fixed steps heed no tolerance.
    given = {key: value for key, value in settings.items() if value is not None}
    return SolverSettings(**given, adjoint=AdjointSettings(**solver["adjoint"]))


def training_settings(
    config: Mapping[str, Any], steps_per_epoch: int, device: torch.device
) -> TrainingSettings:
    """The training node as the loop takes it, epochs resolved to steps."""
    training = config["training"]
    taken = ("schedule", "warmup_share", "gamma", "ema_decay", "clip_norm", "checkpoint_every_s")
    return TrainingSettings(
        num_steps=training["num_steps"] or training["epochs"] * steps_per_epoch,
        counts_epochs=training["epochs"] is not None,
        milestones=tuple(training["milestones"]),
        seed=config["seed"],
        device=device,
        deterministic=config["deterministic"],
        patience=training.get("patience"),  # which runs of earlier versions do not have
        failure_types=(SolverError, ProcessesError),
        **{key: training[key] for key in taken},
    )


def _refusal(key: str, target: object) -> str:
    return (
        f"{key}={target} is refused: only what the shipped configs name is built, or what a folder of your own does "
        "that you give with --config-dir"
    )


def _is_class_of(base: type[Made]) -> Callable[[Any], TypeGuard[type[Made]]]:
    def is_one(found: Any) -> TypeGuard[type[Made]]:
        return isinstance(found, type) and issubclass(found, base)

    return is_one


def _is_task(found: Any) -> TypeGuard[type[Task]]:
    return isinstance(found, type) and all(hasattr(found, name) for name in _OF_A_TASK)


def _is_logger(found: Any) -> TypeGuard[type[Logger]]:
    return isinstance(found, type) and callable(getattr(found, "log", None))


def _checked(data: Data, kind: type[Data]) -> Data:
    """What a function of data returned, looked at closely. Raises DataError."""
    if not isinstance(data, kind):
        raise DataError(f"it returned a {type(data).__name__}, and its annotation says {kind.__name__}")
    if missing := what_is_missing(data):
        raise DataError(f"it returned a {kind.__name__} without {', '.join(missing)}")
    data.check()
    return data


def _call(make: Callable[..., Made], node: str, keys: Mapping[str, Any]) -> Made:
    _check_keys(make, node, keys)
    return make(**keys)


def _check_keys(make: Callable[..., Any], node: str, keys: Mapping[str, Any]) -> None:
    try:
        inspect.signature(make).bind(**keys)
    except TypeError as error:
        raise ConfigError(f"the keys under {node} do not fit {make.__qualname__}: {error}") from error


@contextmanager
def _torchvision_explained() -> Iterator[None]:
    """torchvision of one build beside torch of another fails at import with an error that names neither."""
    try:
        yield
    except (RuntimeError, ImportError, AttributeError) as error:
        if "torchvision" not in str(error):
            raise
        raise ConfigError(
            f"torchvision does not fit this torch ({str(error).splitlines()[0]}): "
            "one is a CPU build, the other is not; uninstall both and install both from the same package index "
            "(README.md: make setup PIP_ARGS=...)"
        ) from error
