"""What a flow's density costs beside its samples: the solve from the data to the base, and the one back.

Chen et al. 2018, section 4.1: a continuous flow's reverse costs about what its forward pass does, "which cannot be said
for normalizing flows". The flows are trained for a while by maximum likelihood, as a fresh one does next to nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from nodebench.benchmark.contestants import Contestant, Measured, Solved, run_forward
from nodebench.benchmark.problems import OWN, seeded
from nodebench.data.toy_densities import two_circles
from nodebench.models import recorded_solves
from nodebench.models.flows import CNF, Flow, PlanarNF
from nodebench.ode.settings import SolverSettings

UNITS, TOL, LR, BASE_STD = 64, 1e-5, 4e-3, math.sqrt(0.1)  # Figure 5's
SAMPLE, DENSITY = "sample", "density"


def make_flows(device: torch.device) -> dict[str, Flow]:
    """Figure 5's two flows, fresh."""
    solver = SolverSettings(method="dopri5", rtol=TOL, atol=TOL)
    with seeded():
        flows: dict[str, Flow] = {
            "cnf": CNF(UNITS, "example", t1=10.0, base_std=BASE_STD, solver=solver),
            "planar_nf": PlanarNF(UNITS, base_std=BASE_STD),
        }
    return {name: flow.to(device) for name, flow in flows.items()}


def train(flow: Flow, num_steps: int, num_points: int, tell: Callable[[str], object]) -> None:
    """Maximise the likelihood of two circles by Adam at a constant rate."""
    optimizer = torch.optim.Adam(flow.parameters(), LR)
    generator = torch.Generator().manual_seed(0)
    draw = two_circles().draw
    for step in range(num_steps):
        if step % 10 == 0:
            tell(f"step {step} of {num_steps}")
        points = draw("train", num_points, generator).to(next(flow.parameters()).device)
        optimizer.zero_grad()
        (-flow.log_prob(points).mean()).backward()
        optimizer.step()


def make_contestants(
    flows: dict[str, Flow], num_points: int, device: torch.device
) -> Iterator[tuple[str, str, Contestant]]:
    """Of every flow, samples with their log-density by one push, and the log-density of data by one pull."""
    data = two_circles().draw("test", num_points, torch.Generator().manual_seed(1)).to(device)
    for name, flow in flows.items():
        base = flow.draw_base(num_points, torch.Generator().manual_seed(1))
        ways = {SAMPLE: partial(_sample, flow, base), DENSITY: partial(flow.log_prob, data)}
        for direction, way in ways.items():
            run = partial(_timed, flow, way, device)
            yield name, direction, Contestant(f"{name}, {direction}", OWN, OWN, "", run)


def _sample(flow: Flow, base: Tensor) -> Tensor:
    return flow.push_with_log_prob(base)[1]


def _timed(flow: Flow, way: Callable[[], Tensor], device: torch.device) -> Measured:
    def forward() -> Solved:
        with recorded_solves(flow) as solves:
            value = way()
        return Solved(value, sum(stats.forward.nfe for stats in solves), lambda: 0)

    return run_forward(forward, device)
