"""What one training step needs in memory, measured on an extra step that leaves the training as it was."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.autograd.profiler import profile

from nodebench.training.protocols import Task
from nodebench.training.seeding import preserved_rng

_MIB = 2**20


def memory_of_step(
    task: Task, module: nn.Module, batch: Any, device: torch.device
) -> dict[str, float | None]:
    """As `measure_memory`, of the training step of a batch."""
    module.train()
    return measure_memory(module, lambda: task.loss(module, batch).loss, device)


def measure_memory(
    module: nn.Module, compute_loss: Callable[[], Tensor], device: torch.device
) -> dict[str, float | None]:
    """The columns memory_saved_mib and memory_peak_mib of one forward and backward pass.

    memory_saved_mib: unique storages that autograd keeps between forward and backward, without parameters and
    buffers. memory_peak_mib: most memory allocated above the level before the step, gradients included; on CUDA
    from the allocator, on CPU the running maximum of the profiler's memory events, None elsewhere.

    Gradients, buffers and random number generators are put back: the next training step does not notice.
    """
    saved_bytes = 0

    def step() -> None:
        nonlocal saved_bytes
        with _saved_tensors() as saved:
            loss = compute_loss()
            saved_bytes = _unique_bytes(saved, excluded=[*module.parameters(), *module.buffers()])
        loss.backward()

    with preserved_rng(), _preserved_tensors(module):
        peak_bytes = _peak_bytes(step, device)
    peak_mib = None if peak_bytes is None else peak_bytes / _MIB
    return {"memory_saved_mib": saved_bytes / _MIB, "memory_peak_mib": peak_mib}


class _Saved:
    """What autograd holds in place of a saved tensor: alive exactly as long as autograd keeps it."""

    __slots__ = ("__weakref__", "tensor")

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor.detach()  # holding the tensor itself would tie its graph into a cycle


@contextmanager
def _saved_tensors() -> Iterator[weakref.WeakSet[_Saved]]:
    """The tensors that autograd keeps of what runs inside; those it lets go leave the set."""
    saved: weakref.WeakSet[_Saved] = weakref.WeakSet()

    def pack(tensor: Tensor) -> _Saved:
        kept = _Saved(tensor)
        saved.add(kept)
        return kept

    with saved_tensors_hooks(pack, lambda kept: kept.tensor):
        yield saved


def _unique_bytes(saved: weakref.WeakSet[_Saved], excluded: list[Tensor]) -> int:
    """Bytes of the storages behind `saved`, each counted once."""
    storages = {kept.tensor.untyped_storage().data_ptr(): kept.tensor.untyped_storage() for kept in saved}
    for tensor in excluded:
        storages.pop(tensor.untyped_storage().data_ptr(), None)
    return sum(storage.nbytes() for storage in storages.values())


def _peak_bytes(step: Callable[[], None], device: torch.device) -> int | None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        return torch.cuda.max_memory_allocated(device) - before
    if device.type == "cpu":
        return _cpu_peak_bytes(step)
    step()
    return None


def _cpu_peak_bytes(step: Callable[[], None]) -> int:
    # The profiler's C++ side prints its start, its stop and missing GPUs on stderr unless told not to.
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")
    # torch.profiler's profile is this one and, in torch 2.11, a warning of cycles that there are none of.
    with profile(profile_memory=True) as profiler:
        step()
    results = profiler.kineto_results
    if results is None:
        raise RuntimeError("torch's profiler returned no events; this build of torch has no profiler")
    events = sorted((e.start_ns(), e.nbytes()) for e in results.events() if e.name() == "[memory]")
    return max(accumulate((num_bytes for _, num_bytes in events), initial=0))


@contextmanager
def _preserved_tensors(module: nn.Module) -> Iterator[None]:
    """Set gradients aside and put them and the buffers back afterwards."""
    gradients = [parameter.grad for parameter in module.parameters()]
    buffers = [buffer.clone() for buffer in module.buffers()]
    for parameter in module.parameters():
        parameter.grad = None
    try:
        yield
    finally:
        for parameter, gradient in zip(module.parameters(), gradients, strict=True):
            parameter.grad = gradient
        with torch.no_grad():
            for buffer, value in zip(module.buffers(), buffers, strict=True):
                buffer.copy_(value)
