"""A run small enough to be stopped hundreds of times: a net with dropout and batch norm on random numbers.

As a program, `toy_run.py FOLDER`, it trains in FOLDER/unbroken, and in FOLDER/killed in child processes that are
killed by SIGKILL at random moments until one gets to the end.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nodebench.training import Outcome, RunFolder, SolveCounts, StepOutput, TrainingSettings, train
from nodebench.training.protocols import Pictures, ReadCounts, ShowProgress, show_nothing

NUM_STEPS = 23  # three epochs of ten steps, the last one cut short


class ToyTask:
    name = "toy"
    data_type = object
    model_type = nn.Module
    sample_unit = "points"
    steps_per_epoch = 10
    best_by = "loss_train"  # which falls, so that every epoch is the best so far

    def __init__(self, on: Callable[[str, int], None] = lambda place, number: None) -> None:
        self.on = on  # called at named places, to interrupt there
        self.trained_steps: list[int] = []

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        self.on("batch", step)
        generator = torch.Generator().manual_seed(step)
        inputs = torch.randn(8, 4, generator=generator)
        return inputs, inputs.sum(dim=1, keepdim=True)

    def loss(self, module: nn.Module, batch: tuple[Tensor, Tensor]) -> StepOutput:
        inputs, targets = batch
        outputs = module(inputs)
        loss = (outputs - targets).square().mean()
        return StepOutput(
            loss, len(inputs), {"error_train": (outputs.sign() != targets.sign()).float().mean() * 100}
        )

    @contextmanager
    def counting(self, module: nn.Module) -> Iterator[ReadCounts]:
        def read() -> SolveCounts:
            self.trained_steps.append(len(self.trained_steps))
            nfe = 20 + int(next(module.parameters()).detach().abs().sum() * 100) % 7
            return SolveCounts(nfe, 14, num_accepted_forward=3, num_rejected_forward=nfe % 2)

        yield read

    def evaluate(
        self, module: nn.Module, split: str, progress: ShowProgress = show_nothing
    ) -> dict[str, float]:
        self.on(split, 0)
        torch.rand(())  # evaluation may draw numbers; training must not notice
        module.eval()
        with torch.no_grad():
            (inputs,) = progress([torch.linspace(-1, 1, 32).reshape(8, 4)])
            return {f"error_{split}": float(module(inputs).abs().mean()), "nfe_eval": 26.0}

    def final_metrics(self, module: nn.Module) -> dict[str, Any]:
        num_params = sum(parameter.numel() for parameter in module.parameters())
        return {"num_params": num_params, "flops_forward": 100, "recon_error": 1e-4, "recon_ok": True}

    def pictures(self, module: nn.Module, is_final: bool) -> Pictures:
        torch.rand(())  # as evaluation may
        frames = 3 if is_final else 1
        with torch.no_grad():
            density = float(next(module.parameters()).abs().sum()) * np.ones((frames, 4, 4))
        return {"density": density, "target": np.eye(4)}


def toy_module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 1))


def toy_settings(**changes: Any) -> TrainingSettings:
    values: dict[str, Any] = {
        "num_steps": NUM_STEPS,
        "schedule": "one_cycle",
        "ema_decay": 0.9,
        "clip_norm": 1.0,
    }
    return TrainingSettings(**{**values, **changes})


def toy_run(
    path: Path,
    task: ToyTask | None = None,
    module: nn.Module | None = None,
    learning_rate: float = 0.05,
    force: bool = False,
    hparams: dict[str, Any] | None = None,
    **settings: Any,
) -> Outcome:
    hparams = hparams or {"lr": learning_rate, "model": "toy"}
    with RunFolder(path, config_text="model: toy\n", hparams=hparams, force=force) as run:
        return train(
            task or ToyTask(),
            module or toy_module(),
            lambda params: torch.optim.AdamW(params, lr=learning_rate),
            toy_settings(**settings),
            run,
        )


def _run_killed_until_finished(path: Path) -> int:
    """Returns how many processes were killed before one finished."""
    num_killed = 0
    while True:
        process = os.fork()
        if process == 0:
            slowly = ToyTask(on=lambda place, number: time.sleep(0.01))
            toy_run(path, slowly, checkpoint_every_s=0.02)
            os._exit(0)
        time.sleep(random.uniform(0.01, 0.2 + 0.1 * num_killed))  # longer and longer, so that it ends
        os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        if os.WIFEXITED(status):
            return num_killed
        num_killed += 1


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    num_killed = _run_killed_until_finished(folder / "killed")
    toy_run(folder / "unbroken")
    print(num_killed)
