"""A few training steps whose result is thrown away: whether they can be taken, and how long one takes."""

from __future__ import annotations

import statistics
import time

import torch
from torch import nn

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
    state = TrainingState(module, make_optimizer, settings, task.steps_per_epoch)
    device = torch.device(settings.device)
    module.train()
    began = time.monotonic()
    times: list[float] = []
    while len(times) <= min(NUM_STEPS, settings.num_steps - 1) and time.monotonic() - began < ENOUGH_S:
        with task.counting(module) as counts:
            times.append(training_step(task, state, counts, settings.clip_norm, device).time_step_ms / 1000)
    timed = times[1:] or times
    return statistics.median(timed), len(timed)
