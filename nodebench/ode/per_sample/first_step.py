"""The first step of every sample, guessed as in drive/first_step.py, from each sample's own field and norm."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nodebench.ode.norms import Accuracy
from nodebench.ode.per_sample.step import Slopes, to_device
from nodebench.ode.per_sample.times import Floats, SampleTimes


def first_steps(
    f: Slopes, times: SampleTimes, y0: Tensor, f0: Tensor, order: int, accuracy: Accuracy
) -> Floats:
    """Step sizes (B,), NaN where f0 is not finite: one evaluation, inside the intervals, and two waits."""
    start, end, spans = times.ts[:, 0], times.ts[:, -1], times.spans
    norm = accuracy.norm
    with torch.no_grad():
        scale = y0.abs() * accuracy.rtol + accuracy.atol
        d0, d1 = host_floats(torch.stack([norm(y0 / scale), norm(f0 / scale)]))
    with np.errstate(all="ignore"):
        h0 = np.where(np.minimum(d0, d1) < 1e-5, 1e-6, 0.01 * d0 / d1)
        h0 = np.minimum(h0, spans * (1 - 1e-6))
        h0 = np.where(np.isfinite(h0), h0, 0.0)
    signed = times.direction * h0
    trial_times = np.clip(start + signed, np.minimum(start, end), np.maximum(start, end))
    t, sizes = to_device(np.stack([trial_times, signed]), y0)
    f1 = f(t, y0 + sizes.unsqueeze(1) * f0).detach()
    with torch.no_grad():
        (d2,) = host_floats(norm((f1 - f0) / scale).unsqueeze(0))
    with np.errstate(all="ignore"):
        steepness = np.maximum(d1, d2 / h0)
        h1 = np.where(steepness <= 1e-15, np.maximum(h0 * 1e-3, 1e-6), (0.01 / steepness) ** (1.0 / order))
        step = np.minimum(100 * h0, h1)
        # Where only the trial point was bad: start small and let the controller find its way.
        small = np.where(np.isfinite(d1), 1e-6 * spans, np.nan)
        return np.where(np.isfinite(step) & (step > 0), step, small)


def host_floats(x: Tensor) -> Floats:
    """A tensor's numbers on the host, in float64: a wait for the device."""
    return x.detach().cpu().numpy().astype(np.float64)
