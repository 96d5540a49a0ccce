"""Learning rates over the steps of a run, all of torch.optim.lr_scheduler."""

from __future__ import annotations

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR, LRScheduler, MultiStepLR, OneCycleLR

from nodebench.training.settings import TrainingSettings


def make_schedule(optimizer: Optimizer, settings: TrainingSettings, steps_per_epoch: int) -> LRScheduler:
    """The scheduler named by `settings.schedule`, stepped once an optimizer step."""
    if settings.schedule == "one_cycle":
        return _one_cycle(optimizer, settings)
    if settings.schedule == "multistep":
        milestones = [epoch * steps_per_epoch for epoch in settings.milestones]
        return MultiStepLR(optimizer, milestones, gamma=settings.gamma)
    return ConstantLR(optimizer, factor=1.0, total_iters=0)


def _one_cycle(optimizer: Optimizer, settings: TrainingSettings) -> OneCycleLR:
    """Only the learning rate cycles: momentum stays as the optimizer's config says."""
    warmup_share = float(settings.warmup_share)  # OneCycleLR refuses a 0 that is an int
    if warmup_share * settings.num_steps == 1:
        warmup_share = 0.0  # OneCycleLR divides by the length of its first phase, warm-up steps - 1
    return OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        total_steps=settings.num_steps,
        pct_start=warmup_share,
        cycle_momentum=False,
    )
