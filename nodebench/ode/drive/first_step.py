"""The first step of an adaptive solve, guessed from the field at its start.

Source: Hairer, Norsett & Wanner, Solving Ordinary Differential Equations I, 2nd edition, section II.4, as in
torchdiffeq, so that steps can be compared one to one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nodebench.ode.clock import Clock
from nodebench.ode.field import Field
from nodebench.ode.norms import Accuracy


def first_step(f: Field, clock: Clock, y0: Tensor, f0: Tensor, order: int, accuracy: Accuracy) -> float:
    """A step size, at most a hundred times that of an explicit Euler step of 1 % of y; NaN if f0 is not finite.

    One evaluation, inside the interval, and one wait for the device.
    """
    t, direction, span = clock.ts[0], clock.direction, clock.span
    with torch.no_grad():
        state, slope = accuracy.whole(y0, f0)
        scale = state.abs() * accuracy.rtol + accuracy.atol
        d0, d1 = accuracy.norms(state / scale, slope / scale)
        h0 = torch.where(torch.minimum(d0, d1) < 1e-5, 1e-6, 0.01 * d0 / d1)
        h0 = h0.clamp(max=span * (1 - 1e-6))  # t + span may round to a time beyond the interval
        start, end = sorted((t, t + direction * span))
        signed = h0 if direction > 0 else -h0
        time = (t + signed).clamp(start, end)  # in single precision t itself is rounded
    # Recorded where autograd records, as every evaluation: a field may differentiate by its state.
    (trial,) = f.at_times([time], y0, [state.shape == y0.shape])
    f1 = trial(y0 + signed * f0).detach()
    with torch.no_grad():
        (f1,) = accuracy.whole(f1)
        (change,) = accuracy.norms((f1 - slope) / scale)
        steepness = torch.maximum(d1, change / h0)
        h1 = torch.where(steepness <= 1e-15, (h0 * 1e-3).clamp(min=1e-6), (0.01 / steepness) ** (1.0 / order))
        step, d1_size = torch.stack([torch.minimum(100 * h0, h1), d1]).tolist()
    if math.isfinite(step) and step > 0:
        return step
    # Only the trial point was bad: start small and let the controller find its way.
    return 1e-6 * (1.0 if clock.is_open else span) if math.isfinite(d1_size) else math.nan
