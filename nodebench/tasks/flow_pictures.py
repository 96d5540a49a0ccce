"""A flow on the plane as arrays: its density and a histogram of its samples on a square grid, at times on the way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from nodebench.models.flows import Flow
from nodebench.ode import SolverError
from nodebench.tasks.generators import generator
from nodebench.training.protocols import Pictures

GRID_SIZE = 100
NUM_SAMPLES = 30_000


def flow_pictures(flow: Flow, window: float, fractions: Sequence[float]) -> Pictures:
    """`density` (float16) and `samples` (uint16 counts), both (len(fractions), G, G), `fractions` and `window`.

    Axis 1 is z2 from -window to window, axis 2 is z1. Empty for a flow that is not on the plane. Where a solve fails,
    the density of that time is NaN, or no sample is shown: a picture must not end a run.
    """
    if flow.dim != 2:
        return {}
    density = [_density(flow, window, fraction) for fraction in fractions]
    return {
        "window": np.asarray(window, dtype=np.float32),
        "fractions": np.asarray(fractions, dtype=np.float32),
        "density": np.stack(density),
        "samples": np.stack(_samples(flow, window, fractions)),
    }


def grid_points(window: float) -> Tensor:
    """The cells' centres, (G * G, 2), z1 the faster."""
    centres = (torch.arange(GRID_SIZE) + 0.5) * (2 * window / GRID_SIZE) - window
    z2, z1 = torch.meshgrid(centres, centres, indexing="ij")
    return torch.stack([z1.reshape(-1), z2.reshape(-1)], dim=1)


def histogram(points: Tensor, window: float) -> np.ndarray:
    """How many of the points (N, 2) lie in each cell, (G, G) uint16; points outside are left out."""
    points = points[torch.isfinite(points).all(1)]
    cells = ((points.detach().cpu() + window) * (GRID_SIZE / (2 * window))).floor().long()
    inside = ((cells >= 0) & (cells < GRID_SIZE)).all(1)
    flat = cells[inside, 1] * GRID_SIZE + cells[inside, 0]
    counts = torch.bincount(flat, minlength=GRID_SIZE**2).clamp(max=np.iinfo(np.uint16).max)
    return counts.view(GRID_SIZE, GRID_SIZE).numpy().astype(np.uint16)


def _samples(flow: Flow, window: float, fractions: Sequence[float]) -> list[np.ndarray]:
    z0 = flow.draw_base(NUM_SAMPLES, generator("pictures", 0, 0))
    try:
        return [histogram(points, window) for points in flow.trajectory(z0, fractions)]
    except SolverError:
        return [np.zeros((GRID_SIZE, GRID_SIZE), dtype=np.uint16)] * len(fractions)


def _density(flow: Flow, window: float, fraction: float) -> np.ndarray:
    like = next(flow.parameters())
    try:
        log_prob = flow.log_prob(grid_points(window).to(like), fraction)
    except SolverError:
        return np.full((GRID_SIZE, GRID_SIZE), np.nan, dtype=np.float16)
    density = log_prob.exp().clamp(max=float(np.finfo(np.float16).max))
    return density.view(GRID_SIZE, GRID_SIZE).cpu().numpy().astype(np.float16)
