"""What could be known of the spiral toy events' rates at best: the reference of docs/results/fig7.

R and phi of each test sequence are all that its rate is made of, and their prior is known. Summed over a grid of both,
the posterior of each sequence is exact: its evidence is what no elbo_event can exceed, and no rate read off the events
has a smaller mean square error than the posterior's mean. Prints both, as the columns of a run have them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nodebench.data.event_toy import event_toy

RATE, OMEGA, RHO, DURATION, RADII = 5.0, 1.2566, 0.1, 10.0, (0.5, 1.5)  # event_toy's defaults
NUM_RADII, NUM_PHASES = 41, 120


def main() -> None:
    """Print `elbo_event` at most and `rate_error` at least."""
    test = event_toy("spiral").test
    assert test.rate is not None, "the toy's rates are known"
    radius = (
        RADII[0] + (RADII[1] - RADII[0]) * (torch.arange(NUM_RADII, dtype=torch.float64) + 0.5) / NUM_RADII
    )
    phase = 2 * math.pi * torch.arange(NUM_PHASES, dtype=torch.float64) / NUM_PHASES
    own_radius, own_phase = (part.reshape(-1, 1) for part in torch.meshgrid(radius, phase, indexing="ij"))
    grid = torch.linspace(0.0, DURATION, 201, dtype=torch.float64)
    rates = torch.exp(log_rate(grid, own_radius, own_phase))  # (R phi, G)
    expected = torch.trapezoid(rates, grid)

    evidence, errors = torch.zeros(len(test), dtype=torch.float64), []
    for row, (times, length) in enumerate(zip(test.times, test.lengths.tolist(), strict=True)):
        likelihood = log_rate(times[:length], own_radius, own_phase).sum(1) - expected
        evidence[row] = likelihood.logsumexp(0) - math.log(len(likelihood))
        errors.append(torch.softmax(likelihood, 0) @ rates)
    true = test.rate(grid.expand(len(test), -1))
    error = (torch.stack(errors) - true).square().mean().sqrt() / true.square().mean().sqrt()
    print(f"elbo_event at most  {float(evidence.sum()) / test.num_events:.4f}")
    print(f"rate_error at least {float(error):.4f}")


def log_rate(times: Tensor, radius: Tensor, phase: Tensor) -> Tensor:
    """log lambda (M, T) at times (T,), for M pairs (M, 1) of radius and phase."""
    return math.log(RATE) + radius * torch.exp(-RHO * times) * torch.cos(phase + OMEGA * times)


if __name__ == "__main__":
    main()
