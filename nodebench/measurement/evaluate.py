"""Evaluate a trained net with another solver than the one it was trained with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from nodebench.models.ode_block import SolverSettings, ode_blocks
from nodebench.training.protocols import Task


def evaluate(
    module: nn.Module, task: Task, split: str, solver: SolverSettings | None = None
) -> dict[str, float]:
    """The task's columns of a split (`error_<split>`, `nfe_eval`), solved with `solver`; None: with the net's own.

    Raises ValueError for a solver where the net has no ODE, SolverError if a solve fails.
    """
    if solver is None:
        return task.evaluate(module, split)
    with other_solver(module, solver):
        return task.evaluate(module, split)


@contextmanager
def other_solver(module: nn.Module, solver: SolverSettings) -> Iterator[None]:
    """Every ODE block of a net solves with `solver` inside, and with its own settings again afterwards.

    Raises ValueError if the net has no ODE block.
    """
    blocks = ode_blocks(module)
    if not blocks:
        raise ValueError(
            f"{type(module).__name__} has no ODE block, so no solver to replace; pass solver=None"
        )
    own = [block.solver for block in blocks]
    try:
        for block in blocks:
            block.solver = solver
        yield
    finally:
        for block, settings in zip(blocks, own, strict=True):
            block.solver = settings
