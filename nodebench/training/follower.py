"""The processes beside the first one of several: they take its steps, and leave the folder and the screen to it."""

from __future__ import annotations

import torch
from torch import nn

from nodebench.training.interruption import InterruptGuard
from nodebench.training.meetings import About, LeftError, LostError
from nodebench.training.outcome import Outcome
from nodebench.training.processes import Several
from nodebench.training.protocols import Task
from nodebench.training.seeding import seed_everything
from nodebench.training.settings import TrainingSettings
from nodebench.training.state import MakeOptimizer, TrainingState
from nodebench.training.step import training_step


def follow(
    task: Task,
    module: nn.Module,
    make_optimizer: MakeOptimizer,
    settings: TrainingSettings,
    processes: Several,
) -> Outcome:
    """Train `module` along with the first process, from its state on, until that leaves.

    What goes wrong here is raised. The status is `finished` where others said that they go, whatever they ended with,
    and `interrupted` where they are gone without a word.
    """
    seed_everything(settings.seed, settings.deterministic)
    state = TrainingState(module, make_optimizer, settings, task.steps_per_epoch)
    device = torch.device(settings.device)
    with InterruptGuard(tells=False) as guard:
        try:
            processes.start(state, guard)
            module.train()
            while state.step < settings.num_steps:
                with task.counting(module) as counts:
                    training_step(task, state, counts, settings.clip_norm, device, processes)
            while True:
                processes.meetings.gather([], About.END)
        except LostError as error:
            return Outcome("interrupted", {}, str(error), guard.received)
        except LeftError:
            return Outcome("finished", {}, None, guard.received)
