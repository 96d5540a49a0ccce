"""One training step, timed."""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor

from nodebench.training.means import StepMeasurement
from nodebench.training.processes import Processes
from nodebench.training.protocols import NonFiniteValuesError, ReadCounts, Task
from nodebench.training.state import TrainingState


class NonFiniteLossError(NonFiniteValuesError):
    """The loss of a training step is NaN or infinite."""


def training_step(
    task: Task,
    state: TrainingState,
    counts: ReadCounts,
    clip_norm: float | None,
    device: torch.device,
    processes: Processes,
) -> StepMeasurement:
    """Draw a batch, take the loss and its gradient, update the weights, and count the step.

    With several processes that is the whole batch's, of which each computes a part.

    time_step_ms is all of it; time_forward_ms and time_backward_ms are the loss and its backward pass. `counts` are the
    step's own: from Task.counting, opened before it.
    Raises NonFiniteLossError before the weights are touched.
    """
    start = _now_ms(device)
    batch = task.batch(state.step)
    state.optimizer.zero_grad(set_to_none=True)

    before_forward = _now_ms(device)
    with processes.part(task, batch) as part:
        loss_here, output = processes.agreed(task.loss(state.module, part))
    before_backward = _now_ms(device)
    loss_here.backward()
    after_backward = _now_ms(device)

    loss = output.loss.item()
    if not math.isfinite(loss):
        raise NonFiniteLossError(f"the loss is {loss} at step {state.step + 1} (epoch {state.epoch + 1})")
    solved, beside = processes.summed(state.module, counts())
    state.apply_gradients(clip_norm)
    measured = StepMeasurement(
        num_samples=output.num_samples,
        loss=loss,
        metrics={name: _number(value) for name, value in output.metrics.items()} | beside,
        counts=solved,
        time_forward_ms=before_backward - before_forward,
        time_backward_ms=after_backward - before_backward,
        time_step_ms=_now_ms(device) - start,
    )
    state.step += 1
    state.means.add(measured)
    return measured


def _now_ms(device: torch.device) -> float:
    """The clock, read once the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter() * 1000


def _number(value: float | Tensor) -> float:
    return value.item() if isinstance(value, Tensor) else float(value)
