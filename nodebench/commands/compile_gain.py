"""What compile=true would gain a long run that is eager, measured behind its first steps on copies of its net.

Nothing switches by itself: the run goes on as it was asked for, bit for bit, and the compiled one is another run.
"""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path

import torch
from torch import nn

from nodebench.config.build import compile_net, why_eager
from nodebench.config.compose import Composed
from nodebench.counted import counted
from nodebench.models.ode_block import ode_blocks
from nodebench.ode import CompileWarning
from nodebench.records.jobs import jobs_here
from nodebench.training import Task, TrainingSettings
from nodebench.training.progress import duration
from nodebench.training.protocols import Advise, Pace
from nodebench.training.state import MakeOptimizer
from nodebench.training.trial import raced_steps

LONG_S = 30 * 60.0
"""Of a run: compiling takes about a minute where nothing of it has been compiled here before."""
MOST_STEPS = 5  # of each copy, in a hundredth of the run
LEAST_GAIN = 1.1  # below, other load on the machine explains it


def compile_advice(
    composed: Composed,
    config_dir: str | Path | None,
    task: Task,
    make_optimizer: MakeOptimizer,
    settings: TrainingSettings,
) -> Advise | None:
    """What a run asks for advice; None where compile was given, either way, and where it shares its machine.

    Times are then no measurements.
    """
    is_given = any(override.startswith("compile=") for override in composed.overrides)
    if composed.config["compile"] or is_given or jobs_here() > 1:
        return None
    option = ["--config-dir", str(config_dir)] if config_dir else []
    command = shlex.join(["nodebench", "train", *composed.overrides, "compile=true", *option])
    return partial(_advise, task, make_optimizer, settings, command)


def _advise(
    task: Task,
    make_optimizer: MakeOptimizer,
    settings: TrainingSettings,
    command: str,
    net: nn.Module,
    pace: Pace,
) -> str | None:
    """How much faster compiled steps are, what that makes of the time left, and the command; None if they are not."""
    seconds_left = pace.seconds_left()
    if seconds_left < LONG_S or not ode_blocks(net):
        return None
    if why_eager(net, torch.device(settings.device)) is not None:
        return None
    pace.pause("timing steps with compile=true")
    num_steps = min(MOST_STEPS, max(1, int(0.01 * seconds_left / (2 * pace.seconds_a_step()))))
    times = _raced(task, make_optimizer, settings, net, num_steps)
    if times is None or times[0] < LEAST_GAIN * times[1]:
        return None
    eager, compiled = times
    saved = seconds_left * (1 - compiled / eager)
    return (
        f"note      compile=true would make a step {eager / compiled:.1f} times as fast ({compiled:.3g} s instead of "
        f"{eager:.3g}, the least of {counted(num_steps, 'step')} each) and save about {duration(saved)} of the "
        f"{duration(seconds_left)} left: {command}"
    )


def _raced(
    task: Task,
    make_optimizer: MakeOptimizer,
    settings: TrainingSettings,
    net: nn.Module,
    num_steps: int,
) -> Sequence[float] | None:
    """Seconds of a step of an eager copy of the net and of a compiled one; None where one of them fails."""
    try:
        eager, compiled = deepcopy(net), deepcopy(net)
        compile_net(compiled)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CompileWarning)
            return raced_steps(task, (eager, compiled), make_optimizer, settings, num_steps)
    except Exception:  # nobody asked for it, and whatever a compiler has to say ends no run
        return None
