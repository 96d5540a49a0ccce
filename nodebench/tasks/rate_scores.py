"""What the rate of a point process is worth: likelihood, rescaled times, and its distance from the true one."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nodebench.data.event_sequences import EventSet, Rate
from nodebench.models.sequences.latent_rate import Events, Rates

NUM_NODES = (
    2001  # of the true rate's integral, a trapezoidal rule: its error is below 1e-5 of it for the toy events
)


def scores(rates: Rates, is_event: Tensor) -> dict[str, float]:
    """`nll_event` in nats an event, and `ks`, of rates at the events (N, n) of sequences."""
    return {
        "nll_event": float(rates.nll(is_event).cpu().double().sum() / is_event.sum()),
        "ks": ks_distance(rescaled_intervals(rates, is_event)),
    }


def rescaled_intervals(rates: Rates, is_event: Tensor) -> Tensor:
    """The integral of the rate between events, (M,) float64 on the CPU: independent Exp(1) if the rate is the true one.

    The sequences are laid end to end, so that the time from the last event of one to its window's end is not lost: what
    is left of one interval and the beginning of the next one are an interval of the same process (time rescaling:
    Brown et al. 2002, Neural Computation 14, 325-346).
    """
    integral, total = rates.integral.cpu().double(), rates.total.cpu().double()
    begin = torch.cumsum(total, 0) - total
    moments = (begin[:, None] + integral)[is_event.cpu()]
    return torch.diff(moments, prepend=moments.new_zeros(1))


def ks_distance(intervals: Tensor) -> float:
    """The Kolmogorov-Smirnov distance of (M,) numbers from Exp(1): the largest gap between the two distributions."""
    expected = -torch.expm1(-intervals.double().sort().values)
    place = torch.arange(len(expected) + 1, dtype=torch.float64) / len(expected)
    return float(torch.maximum(place[1:] - expected, expected - place[:-1]).max())


def relative_rms(found: Tensor, true: Tensor) -> float:
    """The root of the mean square of found - true, over that of true."""
    return float((found.cpu().double() - true).square().mean().sqrt() / true.square().mean().sqrt())


def true_rates(rate: Rate, split: EventSet, t_start: float, duration: float) -> Rates:
    """The true rates at a split's events."""
    grid = torch.linspace(0.0, duration, NUM_NODES, dtype=torch.float64)
    on_grid = rate(t_start + grid.expand(len(split), -1)).expand(len(split), -1)
    integral = torch.nn.functional.pad(torch.cumulative_trapezoid(on_grid, grid), (1, 0))
    place = (split.times - t_start).clamp(0.0, duration) * ((NUM_NODES - 1) / duration)
    below = place.long().clamp(max=NUM_NODES - 2)
    share = place - below
    before, after = integral.gather(1, below), integral.gather(1, below + 1)
    return Rates(rate(split.times).log(), before + share * (after - before), integral[:, -1])


def constant_rates(events: Events) -> Rates:
    """Of the rate that all training sequences have on average, which is the best constant one for them."""
    rate = events.usual_rate
    total = events.times.new_full((len(events.times),), rate * events.duration)
    return Rates(torch.full_like(events.times, math.log(rate)), rate * events.times, total)
