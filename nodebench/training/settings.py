"""How to train, as plain values: no config object reaches the loop."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nodebench.training.protocols import Advise

SCHEDULES = ("constant", "multistep", "one_cycle")


@dataclass(frozen=True)
class TrainingSettings:
    """Everything the loop needs beside the task, the module and the optimizer.

    num_steps: optimizer steps of the whole run (epochs already resolved).
    schedule: constant; multistep divides the learning rate at `milestones` (epochs) by 1 / `gamma`; one_cycle
        rises to the optimizer's own learning rate over `warmup_share` of the steps and falls as a cosine.
    ema_decay: decay of the averaged weights that are evaluated, reached after a warm-up (state.moving_average);
        None evaluates the trained weights.
    clip_norm: largest norm of the whole gradient; None leaves it alone.
    patience: end the run when so many epochs in a row have not lowered the task's column of validation; None: never.
    show_progress: draw a bar; None draws one on a terminal only.
    failure_types: exceptions of the solver that make a run `failed` instead of ending the program.
    advise: asked once in a run, behind its first steps.
    counts_epochs: the length was given in epochs, so the screen counts them.

    Raises ValueError if a value is out of range.
    """

    num_steps: int
    seed: int = 0
    device: torch.device | str = "cpu"
    deterministic: bool = False
    schedule: str = "constant"
    warmup_share: float = 0.25
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    ema_decay: float | None = None
    clip_norm: float | None = None
    patience: int | None = None
    checkpoint_every_s: float = 60.0
    show_progress: bool | None = None
    failure_types: tuple[type[Exception], ...] = ()
    advise: Advise | None = None
    counts_epochs: bool = True

    def __post_init__(self) -> None:
        _require(
            self.num_steps >= 1, "num_steps", self.num_steps, "at least 1; raise training.epochs or num_steps"
        )
        _require(self.schedule in SCHEDULES, "schedule", self.schedule, f"one of: {', '.join(SCHEDULES)}")
        _require(0 <= self.warmup_share < 1, "warmup_share", self.warmup_share, "at least 0 and below 1")
        _require(
            all(epoch >= 1 for epoch in self.milestones), "milestones", self.milestones, "epochs from 1 on"
        )
        _require(self.gamma > 0, "gamma", self.gamma, "above 0")
        _require(
            self.ema_decay is None or 0 <= self.ema_decay < 1,
            "ema_decay",
            self.ema_decay,
            "at least 0 and below 1, or null for no averaging",
        )
        _require(
            self.clip_norm is None or self.clip_norm > 0,
            "clip_norm",
            self.clip_norm,
            "above 0, or null for no clipping",
        )
        _require(
            self.patience is None or self.patience >= 1,
            "patience",
            self.patience,
            "at least 1, or null to train to the end",
        )
        _require(
            self.checkpoint_every_s > 0, "checkpoint_every_s", self.checkpoint_every_s, "above 0 seconds"
        )


def _require(is_allowed: bool, name: str, value: object, allowed: str) -> None:
    if not is_allowed:
        raise ValueError(f"training setting `{name}` is {value!r}; it must be {allowed}")
