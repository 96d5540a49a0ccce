"""The first step of an adaptive solve, guessed from the field at its start.

Source: Hairer, Norsett & Wanner, Solving Ordinary Differential Equations I, 2nd edition, section II.4, as in
torchdiffeq, so that steps can be compared one to one.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nodebench.ode.clock import Clock
from nodebench.ode.field import Field, StageFields, Time
from nodebench.ode.norms import Accuracy


class Interval(NamedTuple):
    """Where a first step may go: from `t` at most `longest` far in a `direction` (1 or -1), between the two `ends`.

    Floats, or in compiled code 0-d tensors of the state's precision.
    """

    t: Time
    direction: Time
    longest: Time
    ends: tuple[Any, Any]


def first_interval(clock: Clock) -> Interval:
    """That of a whole solve."""
    t, span = clock.ts[0], clock.span
    first, last = sorted((t, t + clock.direction * span))
    return Interval(
        t, clock.direction, span * (1 - 1e-6), (first, last)
    )  # t + span may round to a time beyond the interval


def guessed(
    f: StageFields,
    interval: Interval,
    y0: Tensor,
    f0: Tensor,
    order: int,
    accuracy: Accuracy,
) -> Tensor:
    """The step that the rule comes to, which may be no number, and the norm of f0: (2,).

    One evaluation, inside the interval.
    """
    with torch.no_grad():
        state, slope = accuracy.whole(y0, f0)
        scale = state.abs() * accuracy.rtol + accuracy.atol
        d0, d1 = accuracy.norms(state / scale, slope / scale)
        h0 = torch.where(torch.minimum(d0, d1) < 1e-5, 1e-6, 0.01 * d0 / d1)
        h0 = torch.clamp(h0, max=interval.longest)
        signed = h0 * interval.direction
        # In single precision t itself is rounded.
        time = (interval.t + signed).clamp(*interval.ends)
    # Recorded where autograd records, as every evaluation: a field may differentiate by its state.
    (trial,) = f.at_times([time], y0, [state.shape == y0.shape])
    f1 = trial(y0 + signed * f0).detach()
    with torch.no_grad():
        (f1,) = accuracy.whole(f1)
        (change,) = accuracy.norms((f1 - slope) / scale)
        steepness = torch.maximum(d1, change / h0)
        h1 = torch.where(steepness <= 1e-15, (h0 * 1e-3).clamp(min=1e-6), (0.01 / steepness) ** (1.0 / order))
        return torch.stack([torch.minimum(100 * h0, h1), d1])


def first_step(f: Field, clock: Clock, y0: Tensor, f0: Tensor, order: int, accuracy: Accuracy) -> float:
    """The guess of `guessed`, read."""
    return read(guessed(f, first_interval(clock), y0, f0, order, accuracy), clock)


def read(guess: Tensor, clock: Clock) -> float:
    """A step size, at most a hundred times that of an explicit Euler step of 1 % of y; NaN if f0 is not finite.

    `guess` is what `guessed` returned; one wait for the device.
    """
    step, d1 = guess.tolist()
    if math.isfinite(step) and step > 0:
        return float(step)
    # Only the trial point was bad: start small and let the controller find its way.
    return 1e-6 * (1.0 if clock.is_open else clock.span) if math.isfinite(d1) else math.nan
