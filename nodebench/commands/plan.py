"""What is about to be trained, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from nodebench.config.build import why_eager
from nodebench.counted import counted
from nodebench.data import Data
from nodebench.models.ode_block import ode_blocks
from nodebench.models.precision import missing_bf16
from nodebench.ode.settings import precision_in_words, tolerances
from nodebench.records.precision import FLOAT32
from nodebench.records.precision import KEY as PRECISION
from nodebench.training import Task, TrainingSettings


def plan(
    config: Mapping[str, Any], data: Data, task: Task, model: nn.Module, settings: TrainingSettings
) -> Iterator[str]:
    """A line a subject, its word and what there is to say."""
    device = torch.device(settings.device)
    yield from net_words(config, model)
    yield f"data      {config['data']['name']}: {data.describe()}"
    yield from (f"note      {note}" for note in data.notes)
    length = f"{counted(config['training']['epochs'], 'epoch')}, " if config["training"]["epochs"] else ""
    optimizer = f"{config['optimizer']['name']} with lr {config['optimizer']['lr']:g}"
    yield (
        f"training  {config['training']['name']}: {length}{counted(settings.num_steps, 'step')} of "
        f"{counted(data.batch_size, task.sample_unit.removesuffix('s'))}; {optimizer}; on {device}"
    )
    if config["deterministic"] and device.type == "cpu":
        yield "note      deterministic=true is for a GPU; on the CPU a run repeats itself without it"
    if config[PRECISION] != FLOAT32:
        yield f"precision {precision_words(device)}"
    if config["compile"]:
        yield f"compile   {compile_words(model, device)}"


def net_words(config: Mapping[str, Any], model: nn.Module) -> Iterator[str]:
    """The net with its size, and its solver where it has one: what can be said without data."""
    num_params = sum(parameter.numel() for parameter in model.parameters())
    gradient = f", gradient {config['model']['gradient']}" if "solver" in config else ""
    yield f"net       {config['model']['name']}, {counted(num_params, 'parameter')}{gradient}"
    if "solver" in config:
        yield f"solver    {describe_solver(config['solver'])}"


def compile_words(model: nn.Module, device: torch.device) -> str:
    """What `compile` compiles, or why nothing."""
    reason = why_eager(model, device)
    if reason is not None:
        return f"off: {reason}; the run is eager"
    blocks = ode_blocks(model)
    steps = any(block.solver.compile for block in blocks)
    what = "the solver's steps" if steps else "the vector field" if blocks else "the net"
    when = "at the first step: up to two minutes, less when the same has been compiled here before"
    return f"{what}, {when}{'; evaluation is eager' if steps else ''}"


def precision_words(device: torch.device) -> str:
    """What `precision=bf16` has computed in bfloat16, or why nothing."""
    reason = missing_bf16(device)
    if reason is not None:
        return f"float32: {reason}, so the run is in float32, as its environment.json says"
    return "bf16: the net's convolutions and matrix products while it trains; all else, and evaluation, in float32"


def describe_solver(solver: Mapping[str, Any]) -> str:
    """`dopri5, tol 0.001`, or `rk4, dt 0.25`."""
    return ", ".join([solver["method"], *precision_in_words(*tolerances(solver), solver["dt"])])
