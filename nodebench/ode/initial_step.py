"""The first step of an adaptive solve, guessed from the field at its start.

Source: Hairer, Norsett & Wanner, Solving Ordinary Differential Equations I, 2nd edition, section II.4, as in
torchdiffeq, so that steps can be compared one to one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nodebench.ode.counting import Field
from nodebench.ode.norms import Norm, Tolerance
from nodebench.ode.seams import Quadrature


def initial_step(
    f: Field,
    t: float,
    y0: Tensor,
    f0: Tensor,
    *,
    direction: float,
    span: float,
    order: int,
    rtol: Tolerance,
    atol: Tolerance,
    norm: Norm,
    extension: Quadrature | None,
) -> float:
    """A step size, at most a hundred times that of an explicit Euler step of 1 % of y; NaN if f0 is not finite.

    One evaluation, at most `span` away from t, and one wait for the device.
    """
    with torch.no_grad():
        state = y0 if extension is None else extension.extend_state(y0)
        slope = f0 if extension is None else extension.extend_stage(f0, 0)
        scale = state.abs() * rtol + atol
        d0, d1 = norm(state / scale), norm(slope / scale)
        h0 = torch.where(torch.minimum(d0, d1) < 1e-5, torch.full_like(d0, 1e-6), 0.01 * d0 / d1)
        h0 = h0.clamp(max=span * (1 - 1e-6))  # t + span may round to a time beyond the interval
        start, end = sorted((t, t + direction * span))
        time = (t + direction * h0).clamp(start, end)  # in single precision t itself is rounded
    # Recorded where autograd records, as every evaluation: a field may differentiate by its state.
    (trial,) = f.at_times([time], y0)
    f1 = trial(y0 + (direction * h0) * f0).detach()
    with torch.no_grad():
        slope1 = f1 if extension is None else extension.extend_stage(f1, 1)
        steepness = torch.maximum(d1, norm((slope1 - slope) / scale) / h0)
        h1 = torch.where(steepness <= 1e-15, (h0 * 1e-3).clamp(min=1e-6), (0.01 / steepness) ** (1.0 / order))
        step, d1_size = torch.stack([torch.minimum(100 * h0, h1), d1]).tolist()
    if math.isfinite(step) and step > 0:
        return step
    # Only the trial point was bad: start small and let the controller find its way.
    return 1e-6 * span if math.isfinite(d1_size) else math.nan
