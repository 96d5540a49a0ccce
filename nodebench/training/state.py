"""Everything that a training run is at one moment: what a checkpoint holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from nodebench.training.best import BestSoFar
from nodebench.training.means import EpochMeans
from nodebench.training.schedules import make_schedule
from nodebench.training.seeding import restore_rng_states, rng_states
from nodebench.training.settings import TrainingSettings

Tensors = tuple[Tensor, ...] | list[Tensor]
MakeOptimizer = Callable[[Iterable[Tensor]], Optimizer]


def moving_average(decay: float) -> Callable[[Tensors, Tensors, Tensor | int], None]:
    """averaged = keep * averaged + (1 - keep) * current, with keep = min(decay, (1 + n) / (10 + n)) at update n.

    The warm-up averages over about the last tenth of the steps so far. At a constant decay the average of a short run
    would still remember the weights it started with.
    """

    @torch.no_grad()
    def average(averaged: Tensors, current: Tensors, num_averaged: Tensor | int) -> None:
        n = float(num_averaged)
        torch._foreach_lerp_(averaged, current, 1.0 - min(decay, (1.0 + n) / (10.0 + n)))

    return average


class TrainingState:
    """Module, averaged module, optimizer, scheduler, the means of the epoch so far, the best epoch, and two counters.

    `step` counts optimizer steps done; `epoch` counts epochs whose record is written. Between the last step of an
    epoch and its record `step` is ahead of `epoch`, and a checkpoint of that moment resumes with the evaluation.
    """

    def __init__(
        self,
        module: nn.Module,
        make_optimizer: MakeOptimizer,
        settings: TrainingSettings,
        steps_per_epoch: int,
        best_by: str | None = None,
    ) -> None:
        self.module = module.to(settings.device)
        self.optimizer = make_optimizer(self.module.parameters())
        self.scheduler = make_schedule(self.optimizer, settings, steps_per_epoch)
        self.averaged: AveragedModel | None = None
        if settings.ema_decay is not None:
            # Parameters are averaged; buffers are copied from the trained module at every update.
            self.averaged = AveragedModel(self.module, multi_avg_fn=moving_average(settings.ema_decay))
        self.means = EpochMeans()
        self.best = BestSoFar(best_by)
        self.step = 0
        self.epoch = 0

    @property
    def evaluated_module(self) -> nn.Module:
        """The module that val and test errors are of: the averaged one where averaging is on."""
        if self.averaged is None:
            return self.module
        averaged: nn.Module = self.averaged.module
        return averaged

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step (of the first parameter group)."""
        return float(self.optimizer.param_groups[0]["lr"])

    def apply_gradients(self, clip_norm: float | None) -> None:
        """One optimizer step with the gradients at hand, then the schedule and the average follow."""
        if clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.module.parameters(), clip_norm)
        self.optimizer.step()
        self.scheduler.step()
        if self.averaged is not None:
            self.averaged.update_parameters(self.module)

    def end_epoch(self) -> None:
        """Count the epoch as recorded and start new means."""
        self.epoch += 1
        self.means = EpochMeans()

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values alone, with the states of the random number generators."""
        return {
            "step": self.step,
            "epoch": self.epoch,
            "model": self.module.state_dict(),
            "averaged": None if self.averaged is None else self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "means": self.means.state_dict(),
            "best": self.best.state_dict(),
            "rng": rng_states(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned, random number generators included."""
        self.module.load_state_dict(state["model"])
        if self.averaged is not None:
            self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.means.load_state_dict(state["means"])
        self.best.load_state_dict(state.get("best"))
        self.step = state["step"]
        self.epoch = state["epoch"]
        restore_rng_states(state["rng"])
