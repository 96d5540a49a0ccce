"""What `nodebench export` writes: a net whose solves are a fixed grid of steps, compared with the net itself."""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nodebench.commands.destinations import writing_to
from nodebench.commands.export_formats import HOW_TO_LOAD, written_as
from nodebench.commands.session import Session
from nodebench.commands.trained import failures_told
from nodebench.config.errors import ConfigError, FailedError
from nodebench.counted import counted
from nodebench.data import ImageData
from nodebench.models.ode_block import ODEBlock, ode_blocks, recorded_solves
from nodebench.models.unrolled import Grid, unrolled
from nodebench.ode.methods.tableaus import load_tableaus
from nodebench.reporting.replacing import replace_file
from nodebench.terminal import tell

LIMIT = 1e-4
"""Of the largest difference between the file's logits and the net's, relative to the largest where that is above 1."""
NUM_IMAGES = 100


def export_to(out: Path, file_format: str, trained: Session) -> None:
    """Write the net of a trained run as a file, and say what it is and how far it is from the net.

    Raises ConfigError for what cannot be exported, FailedError where torch cannot write it, or what the file gives is
    not what the net gives with the same steps; then nothing is written.
    """
    trained.model.eval()
    images = _images(trained)
    with torch.no_grad(), failures_told():
        own = trained.model(images)
        grids = _grids(trained, images)
        for block, grid in zip(ode_blocks(trained.model), grids.values(), strict=True):
            tell(f"solve     {_words(block, grid)}", 10)
        net = unrolled(trained.model, grids)
        content, logits = written_as(file_format, net, images)
        fixed = _solved_with(trained.model, grids)(images)
    _check(logits, fixed)
    print(f"check     on {counted(len(images), 'test image')}: the largest difference of a logit")
    print(f"          {_difference(logits, fixed):.1e}  between the file and the net with these steps")
    if grids:
        flips = int((logits.argmax(1) != own.argmax(1)).sum())
        said = f"{flips} of {len(images)} images {'is' if flips == 1 else 'are'} called another class"
        print(
            f"          {_difference(logits, own):.1e}  between the file and the net with its own solver; {said}"
        )
    with writing_to(out):
        replace_file(out, content)
    tell(
        f"wrote     {out} ({len(content) / 2**20:.1f} MiB): images float32 "
        f"(N, {', '.join(map(str, images.shape[1:]))}) in [0, 1] to logits (N, {own.shape[1]}), any N",
        10,
    )
    print(f"load      {HOW_TO_LOAD[file_format].format(out=out)}")


def _images(trained: Session) -> Tensor:
    """The first test images as the net takes them. Raises ConfigError for a run of another task."""
    if not isinstance(trained.data, ImageData):
        name = trained.builder.config["model"]["name"]
        raise ConfigError(
            f"{name} is no classifier: it is asked for densities or forecasts by functions of its own, and export "
            "writes what one call gives; take it up in Python with nodebench.load"
        )
    return trained.data.test.images[:NUM_IMAGES].float() / 255


def _grids(trained: Session, images: Tensor) -> dict[str, Grid]:
    """The steps of each ODE block, by its name: of solver.dt, or as many as its own solver takes on the images."""
    grids: dict[str, Grid] = {}
    blocks = {name: part for name, part in trained.model.named_modules() if isinstance(part, ODEBlock)}
    tableaus = load_tableaus()
    for block in blocks.values():
        if block.solver.method not in tableaus:
            raise ConfigError(
                f"{block.solver.method} is no explicit Runge-Kutta method, whose steps are sums that can be written "
                "down; export with another solver, such as solver=rk4 solver.dt=0.1"
            )
    with recorded_solves(trained.model) as solves:
        trained.model(images)
    if len(solves) != len(blocks):
        raise ConfigError(
            f"the net solves {len(solves)} times a call with {counted(len(blocks), 'ODE block')}, and export takes one "
            "solve of each"
        )
    for (name, block), stats in zip(blocks.items(), solves, strict=True):
        taken = stats.forward.num_accepted or 1
        num_steps = taken if block.solver.dt is None else max(1, math.ceil(block.t1 / block.solver.dt - 1e-9))
        grids[name] = Grid(tableaus[block.solver.method], num_steps)
    return grids


def _words(block: ODEBlock, grid: Grid) -> str:
    steps = f"{counted(grid.num_steps, 'equal step')} of {grid.tableau.name} from 0 to {block.t1:g}"
    if block.solver.dt is not None:
        return f"{steps}, whatever the image"
    return (
        f"{steps}, whatever the image: as many as the solver with rtol {block.solver.rtol:g} chose on the test images "
        "below, and no error is controlled any more"
    )


def _solved_with(model: nn.Module, grids: dict[str, Grid]) -> nn.Module:
    """A copy of the net whose solver takes these steps: what a file with them has to give."""
    copy = deepcopy(model)
    for block, grid in zip(ode_blocks(copy), grids.values(), strict=True):
        block.solver = replace(block.solver, dt=block.t1 / grid.num_steps)
    return copy


def _check(found: Any, wanted: Tensor) -> None:
    largest = max(1.0, float(wanted.abs().max()))
    difference = _difference(found, wanted)
    if not difference <= LIMIT * largest:
        raise FailedError(
            f"the file is not what the net computes: a logit differs by {difference:.1e}, more than {LIMIT:g} of "
            f"{largest:.3g}; nothing was written"
        )


def _difference(found: Any, wanted: Tensor) -> float:
    return float((found - wanted).abs().max())
