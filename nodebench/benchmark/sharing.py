"""What `bench ddp` runs in each of its processes: trainings alone and shared, in turns, and what an exchange takes.

As a program it is one of several processes, told its place as by torchrun; the first prints what was measured as JSON.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from nodebench.allocation import keep_freed_memory
from nodebench.data.densities import DensityData
from nodebench.data.images import ImageData, ImageSet
from nodebench.data.toy_densities import two_circles
from nodebench.models import ODENet
from nodebench.models.flows import CNF
from nodebench.ode.settings import SolverSettings
from nodebench.ranks import place_here
from nodebench.tasks import Classification, Density
from nodebench.training import TrainingSettings, seed_everything
from nodebench.training.interruption import InterruptGuard
from nodebench.training.meetings import About, Meetings
from nodebench.training.processes import Alone, Processes, Several
from nodebench.training.state import TrainingState
from nodebench.training.step import training_step

CPU = torch.device("cpu")
NUM_PARAMETERS = 208_266  # of the ODE-Net: the vector that its gradient is
Case = tuple[str, str, Any, Callable[[], nn.Module], int]


def cases(quick: bool) -> list[Case]:
    """Net, gradient, task, what makes the net, and the steps of a turn."""
    batch_size, samples, scale = (8, 16, 1) if quick else (128, 512, 4)
    chance = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (4 * batch_size, 1, 28, 28), dtype=torch.uint8, generator=chance)
    images = ImageSet(pixels, torch.randint(0, 10, (len(pixels),), generator=chance))
    data = ImageData("noise", images, None, images[:10], 10, "none", batch_size)
    classification = Classification(data, 0, CPU)
    circles: DensityData = two_circles(batch_size=samples)
    fine = SolverSettings(rtol=1e-5, atol=1e-5)
    return [
        ("ODE-Net", "direct", classification, lambda: ODENet(gradient="direct"), 1 if quick else 2),
        ("ODE-Net", "adjoint", classification, lambda: ODENet(gradient="adjoint"), 1 if quick else 2),
        ("CNF, width 64", "direct", Density(circles, 0, CPU), lambda: CNF(64, solver=fine), 2 * scale),
    ]


class Run:
    """A training of a case by one process or by several, and what its steps took."""

    def __init__(self, case: Case, processes: Processes) -> None:
        _, _, self.task, make, _ = case
        settings = TrainingSettings(1000)
        seed_everything(0)
        self.state = TrainingState(
            make().train(), lambda params: torch.optim.Adam(params, lr=1e-4), settings, 1000
        )
        self.processes = processes
        processes.start(self.state, InterruptGuard(tells=False))
        self.times_ms: list[float] = []
        self.evaluations: list[float] = []

    def steps(self, number: int) -> None:
        """So many steps."""
        for _ in range(number):
            with self.task.counting(self.state.module) as counts:
                measured = training_step(self.task, self.state, counts, None, CPU, self.processes)
            self.times_ms.append(measured.time_step_ms)
            if measured.counts is not None:
                self.evaluations.append(measured.counts.nfe_forward + measured.counts.nfe_backward)


def measured(case: Case, meetings: Meetings, num_rounds: int) -> dict[str, Any]:
    """A case alone and shared, in turns behind one that warms up; all but the first process rest in its own turns."""
    net, gradient, _, _, num_steps = case
    is_first = meetings.place.rank == 0
    alone, shared = Run(case, Alone()) if is_first else None, Run(case, Several(meetings))
    seconds, number_held, taken = 0.0, 0, 0
    for turn in range(1 + num_rounds):
        if alone is not None:
            alone.steps(num_steps)
        meetings.gather([], About.START)
        before = meetings.seconds, meetings.number_held
        shared.steps(num_steps)
        if turn:
            seconds += meetings.seconds - before[0]
            number_held += meetings.number_held - before[1]
            taken += num_steps
        else:
            for run in (alone, shared):
                if run is not None:
                    run.times_ms.clear()
    return {
        "net": net,
        "gradient": gradient,
        "nfe": statistics.fmean(shared.evaluations),
        "alone_ms": [] if alone is None else alone.times_ms,
        "shared_ms": shared.times_ms,
        "exchange_ms": 1000 * seconds / taken,
        "meetings": number_held / taken,
    }


def latencies(meetings: Meetings, num_rounds: int) -> dict[str, list[float]]:
    """Microseconds of each of many meetings, and of sums of a gradient."""
    gradient = torch.zeros(NUM_PARAMETERS)
    calls: dict[str, tuple[Callable[[], object], int]] = {
        "a pair, for a step that is tried": (lambda: meetings.gather([1.0, 2.0]), 20 * num_rounds),
        f"a gradient of {NUM_PARAMETERS:,} numbers": (lambda: meetings.total(gradient), 2 * num_rounds),
    }
    found: dict[str, list[float]] = {}
    for name, (call, number) in calls.items():
        for _ in range(5):
            call()
        found[name] = []
        for _ in range(number):
            began = time.perf_counter()
            call()
            found[name].append(1e6 * (time.perf_counter() - began))
    return found


def main(num_rounds: int, quick: bool) -> None:
    """Measure all cases, and print them in the first process."""
    keep_freed_memory()
    torch.set_num_threads(1)
    place = place_here()
    assert place is not None, "started with a place among several"
    meetings = Meetings(place, CPU)
    found = {
        "latencies": latencies(meetings, 5 * num_rounds),
        "cases": [measured(case, meetings, num_rounds) for case in cases(quick)],
    }
    meetings.leave()
    if place.rank == 0:
        print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:] == ["quick"])
