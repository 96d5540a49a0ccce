"""Small trainings by several processes and by one: `several.py WHAT FOLDER`, in each process that torchrun would start.

`several.py numbers FOLDER` writes what the loss, the weights and the counts of a few nets are after some steps, as the
first of several processes and as one alone; test_several.py compares them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nodebench.data.densities import DensityData
from nodebench.data.energies import EnergyData
from nodebench.data.event_toy import event_toy
from nodebench.data.images import ImageData, ImageSet
from nodebench.data.trajectories import SeriesSet, Trajectories
from nodebench.models import ODEBlock
from nodebench.models.flows import CNF, FFJORD
from nodebench.models.sequences import LatentODE, LatentRate
from nodebench.ode.settings import AdjointSettings, SolverSettings
from nodebench.ranks import place_here
from nodebench.tasks.classification import Classification
from nodebench.tasks.density import Density
from nodebench.tasks.density_matching import DensityMatching
from nodebench.tasks.point_process import PointProcess
from nodebench.tasks.time_series import TimeSeries
from nodebench.training import TrainingSettings
from nodebench.training.interruption import InterruptGuard
from nodebench.training.meetings import Meetings
from nodebench.training.processes import Alone, Processes, Several
from nodebench.training.seeding import seed_everything
from nodebench.training.state import TrainingState
from nodebench.training.step import training_step

OF_LONG_RUNS = (
    *("classification checkpointed state", "classification adjoint seminorm", "classification adjoint joint"),
    *("density matching", "time series direct"),
)
OWN_STEPS = "own steps"
"""How cases are called in which each process takes the steps of its own rows."""
Case = tuple[Any, Callable[[], nn.Module]]


class Field(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 6))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        dy: Tensor = 3 * self.net(y)
        return dy


class Classifier(nn.Module):
    """Images to 10 logits, by an ODE of 6 dimensions."""

    def __init__(self, gradient: str, solver: SolverSettings) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Flatten(), nn.Linear(784, 6))
        self.ode_block = ODEBlock(Field(), solver, gradient)
        self.head = nn.Linear(6, 10)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.ode_block(2 * self.stem(images)))
        return logits


def images() -> ImageData:
    chance = torch.Generator().manual_seed(0)

    def some(number: int) -> ImageSet:
        pixels = torch.randint(0, 256, (number, 1, 28, 28), dtype=torch.uint8, generator=chance)
        return ImageSet(pixels, torch.randint(0, 10, (number,), generator=chance))

    return ImageData("noise", some(60), None, some(10), 10, "affine", 11)


def series() -> Trajectories:
    """Series of times and lengths of their own."""
    chance = torch.Generator().manual_seed(0)
    num, length, dim = 30, 6, 2
    times = torch.rand(num, length, generator=chance).sort(dim=1).values
    is_there = torch.rand(num, length, 1, generator=chance).expand(num, length, dim) < 0.7
    is_there = is_there | (torch.arange(length) == 0)[None, :, None]
    values = torch.randn(num, length, dim, generator=chance) * is_there
    some = SeriesSet(times, values, is_there, is_there, torch.zeros(num, length, dtype=torch.bool))
    return Trajectories("own", some, None, some[:4], batch_size=7, noise_std=0.3)


def points() -> DensityData:
    def draw(split: str, n: int, generator: torch.Generator) -> Tensor:
        return torch.randn(n, 2, generator=generator) + 2

    return DensityData("gaussian", 2, 11, 4.0, draw)


def latent_ode(gradient: str, solver: SolverSettings) -> LatentODE:
    return LatentODE("ode_rnn", time_input=False, gradient=gradient, solver=solver)


def cases(device: torch.device) -> Iterator[tuple[str, Case]]:
    solver = SolverSettings(rtol=1e-4, atol=1e-4)
    for gradient, norm in (
        *(("direct", "state"), ("checkpointed", "state")),
        *(("adjoint", norm) for norm in ("state", "seminorm", "joint", "full")),
    ):
        own = SolverSettings(rtol=1e-4, atol=1e-4, adjoint=AdjointSettings(norm=norm))
        yield (
            f"classification {gradient} {norm}",
            (
                Classification(images(), 0, device),
                lambda own=own, gradient=gradient: Classifier(gradient, own),
            ),
        )
    for name, own in (
        ("no sync", SolverSettings(rtol=1e-4, atol=1e-4, sync=False)),
        ("per sample", SolverSettings(rtol=1e-4, atol=1e-4, steps="per_sample")),
    ):
        yield (
            f"{OWN_STEPS}, {name}",
            (Classification(images(), 0, device), partial(Classifier, "direct", own)),
        )
    hutchinson = lambda: FFJORD([8], "hutchinson", solver=solver)  # noqa: E731
    yield "density, hutchinson", (Density(points(), 0, device), hutchinson)
    energy = EnergyData("bowl", lambda z: z.square().sum(1), 11)
    yield (
        "density matching",
        (DensityMatching(energy, 0, device), lambda: CNF(8, solver=solver, gradient="adjoint")),
    )
    for gradient in ("direct", "adjoint"):
        yield (
            f"time series {gradient}",
            (TimeSeries(series(), 0, device), partial(latent_ode, gradient, solver)),
        )
    events = event_toy(duration=0.4, num_train=30, num_test=4, batch_size=7)
    rate = lambda: LatentRate("gru", gradient="adjoint", solver=solver)  # noqa: E731
    yield "point process", (PointProcess(events, 0, device), rate)


def trained(case: Case, processes: Processes, num_steps: int, device: torch.device) -> dict[str, Any]:
    """What some steps come to."""
    task, make = case
    settings = TrainingSettings(num_steps, device=device, schedule="one_cycle", ema_decay=0.9, clip_norm=1.0)
    seed_everything(0)
    module = make()
    state = TrainingState(module, lambda params: torch.optim.SGD(params, lr=0.05), settings, num_steps)
    processes.start(state, InterruptGuard(tells=False))
    losses, counts, most = [], [], []
    for _ in range(num_steps):
        with task.counting(module) as read:
            measured = training_step(task, state, read, settings.clip_norm, device, processes)
        losses.append(measured.loss)
        assert measured.counts is not None
        counts.append([measured.counts.nfe_forward, measured.counts.nfe_backward])
        most.append(measured.metrics.get("nfe_forward_max"))
    weights = torch.cat([p.detach().reshape(-1) for p in state.evaluated_module.parameters()])
    return {
        "losses": losses,
        "counts": counts,
        "most": most,
        "weights": weights.tolist(),
        "means": state.means.state_dict(),
    }


def numbers(folder: Path, num_steps: int) -> None:
    place = place_here()
    assert place is not None
    device = torch.device("cpu")
    meetings = Meetings(place, device)
    found = {}

    for name, case in cases(device):
        if num_steps < 10 and name in OF_LONG_RUNS:
            continue
        together = trained(case, Several(meetings), num_steps, device)
        if place.rank == 0:
            found[name] = {"together": together, "alone": trained(case, Alone(), num_steps, device)}
    meetings.leave()
    if place.rank == 0:
        (folder / "numbers.json").write_text(json.dumps(found))


if __name__ == "__main__":
    torch.set_num_threads(1)
    numbers(Path(sys.argv[2]), int(sys.argv[3]))
