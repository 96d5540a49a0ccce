"""Toy events for the paper's Figure 7: draws from Poisson processes whose rates are known."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nodebench.data.checks import check_batch_size, check_count, check_number
from nodebench.data.errors import DataError
from nodebench.data.event_sequences import EventSequences, EventSet, Rate
from nodebench.data.splits import draw_splits

VARIANTS = ("sine", "spiral")
MAX_EVENTS = 10_000  # of one sequence, were its rate always as high as it gets


def event_toy(
    variant: str = "sine",
    rate: float = 5.0,
    omega: float = 1.2566,
    duration: float = 10.0,
    depth: float = 0.8,
    phase: float = 0.0,
    rho: float = 0.1,
    min_radius: float = 0.5,
    max_radius: float = 1.5,
    num_train: int = 1000,
    num_test: int = 1000,
    batch_size: int = 32,
) -> EventSequences:
    """Events of inhomogeneous Poisson processes on [0, duration], the same in every run.

    sine: lambda(t) = rate (1 + depth sin(omega t + phase)), one rate for all sequences.
    spiral: log lambda(t) = log(rate) + R exp(-rho t) cos(phi + omega t), the first coordinate of a logarithmic spiral;
    every sequence has its own R ~ U(min_radius, max_radius) and phi ~ U(0, 2 pi).

    Of 200 more sequences the numbers of validation are. Chen et al. (2018) say of Figure 7 that its data are a toy set,
    and no more. Raises DataError for settings out of range.
    """
    if variant not in VARIANTS:
        raise DataError(f"`data.variant` is {variant!r}; allowed: {', '.join(VARIANTS)}")
    check_batch_size(batch_size)
    for key, size in (("num_train", num_train), ("num_test", num_test)):
        check_count(key, size, at_least=1)
    for key, value in (("rate", rate), ("omega", omega), ("duration", duration)):
        check_number(key, value, above=0.0)
    _check_between("depth", depth, 0.0, 1.0)
    _check_between("phase", phase, -math.inf, math.inf)
    check_number("rho", rho, above=0.0)
    _check_between("max_radius", max_radius, 0.0, 5.0)
    _check_between("min_radius", min_radius, 0.0, max_radius)
    highest = rate * (1 + depth if variant == "sine" else math.exp(max_radius))
    if highest * duration > MAX_EVENTS:
        raise DataError(
            f"data.rate={rate:g} and data.duration={duration:g} make up to {highest * duration:,.0f} events a "
            f"sequence; allowed: up to {MAX_EVENTS:,}; lower one of them"
        )

    def draw(split: str, size: int, chance: torch.Generator) -> EventSet:
        if variant == "sine":
            of_time = _sine(rate, depth, omega, phase)
        else:
            own = torch.rand(2, size, 1, generator=chance, dtype=torch.float64)
            radius = min_radius + (max_radius - min_radius) * own[0]
            of_time = _spiral(rate, radius, rho, omega, 2 * math.pi * own[1])
        return EventSet(*thinned(of_time, highest, size, duration, chance), of_time)

    train, val, test = draw_splits(draw, num_train, num_test)
    return EventSequences("event_toy", train, val, test, 0.0, duration, batch_size)


def thinned(
    rate: Rate, highest: float, num_sequences: int, duration: float, chance: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Times (N, n) and lengths (N,) of events on [0, duration], drawn at `rate`, which is nowhere above `highest`.

    Candidates come at the rate `highest` and are kept with probability rate / highest (Lewis and Shedler 1979).
    """
    expected = torch.full((num_sequences,), highest * duration, dtype=torch.float64)
    num_candidates = torch.poisson(expected, generator=chance).long()
    shape = (num_sequences, int(num_candidates.max()))
    times = duration * torch.rand(shape, generator=chance, dtype=torch.float64)
    is_kept = torch.rand(shape, generator=chance, dtype=torch.float64) * highest < rate(times)
    is_kept &= torch.arange(shape[1]) < num_candidates[:, None]
    lengths = is_kept.sum(1)
    times = times.masked_fill(~is_kept, math.inf).sort(1).values[:, : int(lengths.max())]
    return times.masked_fill(times.isinf(), 0.0), lengths


def _sine(rate: float, depth: float, omega: float, phase: float) -> Rate:
    return lambda times: rate * (1 + depth * torch.sin(omega * times + phase))


def _spiral(rate: float, radius: Tensor, rho: float, omega: float, phase: Tensor) -> Rate:
    """Of radius and phase (N, 1)."""
    return lambda times: rate * torch.exp(radius * torch.exp(-rho * times) * torch.cos(phase + omega * times))


def _check_between(key: str, value: float, least: float, most: float) -> None:
    """DataError unless the setting is a finite number from `least` to `most`."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or not least <= value <= most:
        bounds = "finite numbers" if math.isinf(most) else f"numbers from {least:g} to {most:g}"
        raise DataError(f"`data.{key}` is {value!r}; allowed: {bounds}")
