"""Training steps whose result is thrown away: whether they can be taken, and how long one takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import torch
from torch import nn

from nodebench.training.processes import Alone
from nodebench.training.protocols import Task
from nodebench.training.settings import TrainingSettings
from nodebench.training.state import MakeOptimizer, TrainingState
from nodebench.training.step import training_step

NUM_STEPS = 3
ENOUGH_S = 20.0


def seconds_a_step(
    task: Task, module: nn.Module, make_optimizer: MakeOptimizer, settings: TrainingSettings
) -> tuple[float, int]:
    """The median time of up to NUM_STEPS steps behind a first one, which warms up, and how many they were.

    Where steps take long, the first one alone. Nothing is written; `module` is trained by them. Raises what a step
    raises.
    """
    trial = _Trial(task, module, make_optimizer, settings)
    began = time.monotonic()
    times: list[float] = []
    while len(times) <= min(NUM_STEPS, settings.num_steps - 1) and time.monotonic() - began < ENOUGH_S:
        times.append(trial.step())
    timed = times[1:] or times
    return statistics.median(timed), len(timed)


def raced_steps(
    task: Task,
    modules: Sequence[nn.Module],
    make_optimizer: MakeOptimizer,
    settings: TrainingSettings,
    num_steps: int,
) -> list[float]:
    """The least seconds of `num_steps` steps of each module, taken in turn, behind a first one that warms up.

    Taken in turn, as another load then falls on all; the least, as it only ever adds. The modules are trained by them.
    """
    trials = [_Trial(task, module, make_optimizer, settings) for module in modules]
    for trial in trials:
        trial.step()
    rounds = [[trial.step() for trial in trials] for _ in range(num_steps)]
    return [min(times) for times in zip(*rounds, strict=True)]


class _Trial:
    """Steps of one module from the first batch on, each timed."""

    def __init__(
        self, task: Task, module: nn.Module, make_optimizer: MakeOptimizer, settings: TrainingSettings
    ) -> None:
        self._task, self._settings = task, settings
        self._state = TrainingState(module, make_optimizer, settings, task.steps_per_epoch)
        module.train()

    def step(self) -> float:
        """Its seconds."""
        device = torch.device(self._settings.device)
        with self._task.counting(self._state.module) as counts:
            measured = training_step(
                self._task, self._state, counts, self._settings.clip_norm, device, Alone()
            )
        return measured.time_step_ms / 1000
