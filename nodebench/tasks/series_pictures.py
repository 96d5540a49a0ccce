"""What is to be seen of a sequence model, as arrays: predictions, latent trajectories, what a latent dimension does."""

from __future__ import annotations

from contextlib import suppress

import torch
from torch import Tensor

from nodebench.data import SeriesSet
from nodebench.models.sequences import LatentODE, SequenceModel
from nodebench.ode import SolverError
from nodebench.tasks.generators import generator
from nodebench.training.protocols import Pictures

NUM_SERIES = 8
NUM_LATENT = 60
TRAVERSED = (-2.0, 2.0, 9)  # standard deviations of the prior: from, to, how many


def series_pictures(model: SequenceModel, series: SeriesSet, t0: float) -> Pictures:
    """The first 8 series (K) with what is predicted of them, float32 unless said; times (K, T), clean, values and
    prediction (K, T, dim), observed and is_horizon (K, T) bool, direction (K,) int8, 0 where it is not known.

    Of a LatentODE beside: `latent` (60, T, L), from the posterior means of that many series, and `latent_direction`;
    `traversal` (L, 9, T, dim), what is decoded over `traversal_times` (T,) while one dimension of z(t0) goes through
    `traversal_values` (9,) and the others are 0. Without what a solve fails for: a picture must not end a run.
    """
    pictures: dict[str, Tensor] = {}
    with suppress(SolverError):
        pictures = _predictions(model, series[:NUM_SERIES], t0)
        if isinstance(model, LatentODE):
            pictures |= _latent(model, series[:NUM_LATENT], t0)
    return {name: part.cpu().numpy() for name, part in pictures.items()}


def _predictions(model: SequenceModel, shown: SeriesSet, t0: float) -> dict[str, Tensor]:
    return {
        "times": shown.own_times.contiguous(),
        "clean": torch.full_like(shown.values, torch.nan) if shown.clean is None else shown.clean,
        "values": torch.where(shown.is_there, shown.values, torch.nan),
        "observed": shown.observed.any(2),
        "is_horizon": shown.is_horizon,
        "direction": _direction(shown),
        "prediction": model.predict(shown, t0, generator("pictures", 0, 0)),
    }


def _latent(model: LatentODE, shown: SeriesSet, t0: float) -> dict[str, Tensor]:
    mean, _ = model.posterior(shown, t0)
    values = torch.linspace(*TRAVERSED, device=mean.device)
    latent_dim = mean.shape[1]
    z0 = torch.zeros(latent_dim, len(values), latent_dim, device=mean.device)
    for dimension in range(latent_dim):
        z0[dimension, :, dimension] = values
    grid = shown.times if shown.times.dim() == 1 else torch.unique(shown.times)
    zs = model.latent(z0.flatten(0, 1), grid, t0)
    return {
        "latent": model.latent(mean, shown.times, t0),
        "latent_direction": _direction(shown),
        "traversal": model.decoder(zs).unflatten(0, (latent_dim, len(values))),
        "traversal_values": values,
        "traversal_times": grid,
    }


def _direction(shown: SeriesSet) -> Tensor:
    if shown.direction is None:
        return torch.zeros(len(shown), dtype=torch.int8)
    return shown.direction.to(torch.int8)
