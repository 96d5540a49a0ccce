"""What every sequence model is: a likelihood of what was observed, and a prediction at all times."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from nodebench.data.trajectories import SeriesSet


class Losses(NamedTuple):
    """Of N series, each a sum over what was observed, in nats.

    nll: (N,), the negative log-likelihood; kl: (N, latent_dim), of each latent dimension, None for a model without;
    num_scalars: (N,), of how many observed coordinates the likelihood is.
    """

    nll: Tensor
    kl: Tensor | None
    num_scalars: Tensor

    @property
    def negative_elbo(self) -> Tensor:
        """nll + KL, or the nll alone of a model without latent state: (N,)."""
        return self.nll if self.kl is None else self.nll + self.kl.sum(1)


class SequenceModel(nn.Module, ABC):
    """A net for time series of `dim` coordinates."""

    net_kind: ClassVar[str] = "sequence model"
    needs_noise_std: bool = False
    """Whether its likelihood takes the noise of the data, which then has to be known."""

    @abstractmethod
    def losses(
        self, seen: SeriesSet, t0: float, noise_std: float | None, chance: torch.Generator | None
    ) -> Losses:
        """The terms of the loss, differentiable; what is random follows from `chance`, on the CPU.

        t0: the time at which a latent state begins, none later than the first observation.
        """

    @abstractmethod
    def predict(self, seen: SeriesSet, t0: float, chance: torch.Generator | None = None) -> Tensor:
        """The values at all times of the series (N, T, dim), from what was observed of them alone.

        NaN where the model predicts nothing. Of a model with a posterior, from one sample by `chance`; from its mean
        without.
        """


def gaussian_nll(values: Tensor, mean: Tensor, log_variance: Tensor | float, is_there: Tensor) -> Tensor:
    """-log N(values; mean, exp(log_variance)) summed over the coordinates that are there: (N, T, dim) to (N,)."""
    if not isinstance(log_variance, Tensor):
        log_variance = values.new_tensor(log_variance)
    squared = (values - mean).square() * torch.exp(-log_variance)
    nll = 0.5 * (squared + log_variance + math.log(2 * math.pi))
    return torch.where(is_there, nll, nll.new_zeros(())).sum((1, 2))
