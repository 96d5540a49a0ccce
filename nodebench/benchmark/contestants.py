"""Who takes part in a race, and what one run of it says."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from nodebench.models import recorded_solves
from nodebench.training.memory import measure_memory

State = Tensor | tuple[Tensor, ...]
EAGER, COMPILED = "eager", "compiled"


class Measured(NamedTuple):
    """One run. Times are synchronised with the device; None where no backward pass was taken."""

    time_forward_ms: float
    time_backward_ms: float | None
    nfe_forward: int
    nfe_backward: int | None
    solution: Tensor  # all outputs, flat
    gradient: Tensor | None  # of the loss in everything that wants one, flat

    @property
    def time_ms(self) -> float:
        """Forward and backward together."""
        return self.time_forward_ms + (self.time_backward_ms or 0.0)


@dataclass(frozen=True)
class Contestant:
    """One way to do the work: a library, a field and a gradient mode at a tolerance.

    `run` does the work once; the first call is the warm-up, so whatever compiles does it there and its time is kept
    apart. `field` names whose vector field it is, `execution` tells a compiled variant from the eager one.
    `measure_memory` gives memory_saved_mib and memory_peak_mib of one more run; None: not measured.
    """

    name: str
    library_name: str
    field: str
    gradient: str
    run: Callable[[], Measured]
    tol: float | None = None
    execution: str = EAGER
    measure_memory: Callable[[], dict[str, float | None]] | None = None


class Solved(NamedTuple):
    """A forward pass: what a loss takes, and `nfe_backward`, to be called once the backward pass is through."""

    outputs: State
    nfe_forward: int
    nfe_backward: Callable[[], int]


def solve_net(net: torch.nn.Module, x: Tensor) -> Solved:
    """What a net gives for x, with the counts of every solve of its ODE blocks."""
    with recorded_solves(net) as solves:
        outputs = net(x)
    nfe_forward = sum(stats.forward.nfe for stats in solves)
    return Solved(outputs, nfe_forward, lambda: sum(stats.backward.nfe for stats in solves))


class Stopwatch:
    """Milliseconds between laps, each waiting for the device to finish its work."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._last = self._now()

    def lap(self) -> float:
        """Milliseconds since the last lap, or since the watch was made."""
        now = self._now()
        elapsed, self._last = now - self._last, now
        return 1e3 * elapsed

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def run_forward(forward: Callable[[], Solved], device: torch.device) -> Measured:
    """A forward pass that autograd does not see."""
    watch = Stopwatch(device)
    with torch.no_grad():
        solved = forward()
    elapsed = watch.lap()
    return Measured(elapsed, None, solved.nfe_forward, None, flat(solved.outputs), None)


def run_step(
    forward: Callable[[], Solved],
    loss: Callable[[State], Tensor],
    leaves: Sequence[Tensor],
    device: torch.device,
    update: Callable[[], object] | None = None,
) -> Measured:
    """A forward and a backward pass; `update`, an optimizer's step, counts as part of the backward one."""
    for leaf in leaves:
        leaf.grad = None
    watch = Stopwatch(device)
    solved = forward()
    value = loss(solved.outputs)
    time_forward_ms = watch.lap()
    value.backward()
    if update is not None:
        update()
    time_backward_ms = watch.lap()
    return Measured(
        time_forward_ms,
        time_backward_ms,
        solved.nfe_forward,
        solved.nfe_backward(),
        flat(solved.outputs),
        flat_gradient(leaves),
    )


def memory_of(
    module: torch.nn.Module,
    forward: Callable[[], Solved],
    loss: Callable[[State], Tensor],
    device: torch.device,
) -> dict[str, float | None]:
    """memory_saved_mib and memory_peak_mib of one forward and backward pass."""
    return measure_memory(module, lambda: loss(forward().outputs), device)


def flat(state: State) -> Tensor:
    """All numbers of a state in one vector, without its graph."""
    parts = state if isinstance(state, tuple) else (state,)
    return torch.cat([part.detach().reshape(-1) for part in parts])


def flat_gradient(leaves: Iterable[Tensor]) -> Tensor:
    """The gradients of `leaves` in one vector; zeros where a leaf got none."""
    return torch.cat(
        [(torch.zeros_like(leaf) if leaf.grad is None else leaf.grad).detach().reshape(-1) for leaf in leaves]
    )
