"""The latent ODE: a series is read backwards into an initial state, whose solution is decoded at every time."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from nodebench.data.trajectories import SeriesSet
from nodebench.models.checks import check_choice, check_sizes
from nodebench.models.ode_block import ODEBlock
from nodebench.models.sequences.encoders import ENCODERS, ODERNNEncoder, RecurrentEncoder
from nodebench.models.sequences.sequence_model import Losses, SequenceModel, gaussian_nll
from nodebench.ode.settings import SolverSettings
from nodebench.ranks import drawn

ACTIVATIONS = {"tanh": nn.Tanh, "elu": nn.ELU}
NOISES = ("fixed", "learned")


class LatentField(nn.Module):
    """dz/dt = f(z) of states (N, latent_dim): `layers` hidden layers of `width` units, the same at all times."""

    def __init__(self, latent_dim: int, width: int, layers: int, activation: str) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        for inputs in [latent_dim, *[width] * (layers - 1)]:
            parts += [nn.Linear(inputs, width), ACTIVATIONS[activation]()]
        self.net = nn.Sequential(*parts, nn.Linear(width, latent_dim))

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        dz: Tensor = self.net(z)
        return dz


class LatentODE(SequenceModel):
    """z(t0) ~ q(z | x), dz/dt = f(z), x(t) ~ N(decoder(z(t)), sigma^2) (Chen et al. 2018, section 5, appendix E).

    q is a Gaussian with diagonal covariance, whose mean and log-variance an encoder gives that reads the observations
    backwards in time; the prior is N(0, I). z begins at the first time of the grid, not at the first observation.
    `observation_noise` is sigma: `fixed` at that of the data, or `learned`, one for all coordinates.

    Sizes as the paper has them: 25 hidden units, a latent state of 4, field and decoder of 20 units; `field_layers` 1
    is the paper's, 2 that of torchdiffeq's example. Raises ValueError for sizes below 1 and unknown choices.
    """

    def __init__(
        self,
        encoder: str = "rnn",
        time_input: bool = True,
        mask_input: bool = False,
        latent_dim: int = 4,
        hidden_dim: int = 25,
        field_dim: int = 20,
        field_layers: int = 1,
        activation: str = "tanh",
        decoder_dim: int = 20,
        observation_noise: str = "fixed",
        dim: int = 2,
        gradient: str = "direct",
        solver: SolverSettings = SolverSettings(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__()
        check_choice("encoder", encoder, ENCODERS)
        check_choice("activation", activation, ACTIVATIONS)
        check_choice("observation_noise", observation_noise, NOISES)
        check_sizes(latent_dim=latent_dim, hidden_dim=hidden_dim, decoder_dim=decoder_dim)
        check_sizes(field_dim=field_dim, field_layers=field_layers)
        self.dim = dim
        self.encoder = (
            ODERNNEncoder(dim, hidden_dim, field_dim, mask_input, gradient, solver)
            if encoder == "ode_rnn"
            else RecurrentEncoder(encoder, dim, hidden_dim, time_input, mask_input)
        )
        self.to_posterior = nn.Linear(hidden_dim, 2 * latent_dim)
        self.ode_block = ODEBlock(
            LatentField(latent_dim, field_dim, field_layers, activation), solver, gradient
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, decoder_dim), nn.ReLU(), nn.Linear(decoder_dim, dim)
        )
        self.needs_noise_std = observation_noise == "fixed"
        self.log_noise_std = nn.Parameter(torch.zeros(())) if observation_noise == "learned" else None

    def posterior(self, seen: SeriesSet, t0: float) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of z(t0), each (N, latent_dim)."""
        mean, log_variance = self.to_posterior(self.encoder(seen.readings(), t0)).chunk(2, dim=1)
        return mean, log_variance

    def latent(self, z0: Tensor, times: Tensor, t0: float, others: Tensor | None = None) -> Tensor:
        """z (N, T, latent_dim) at `times`, (T,) for all or (N, T), of z(t0) = z0: one solve over the times of all.

        Times of their own are solved for together: outputs cost a solver no evaluation. `others`: times of series of
        the same batch that are not among these.
        """
        grid, place = times, None
        if times.dim() == 2:
            everybodys = times.flatten() if others is None else torch.cat([times.flatten(), others])
            grid, place = torch.unique(everybodys, return_inverse=True)
            place = place[: times.numel()].view(times.shape)
        starts = float(grid[0]) == t0
        zs = self.ode_block.solve(z0, grid if starts else torch.cat([grid.new_tensor([t0]), grid])).ys
        zs = zs if starts else zs[1:]
        if place is None:
            return zs.transpose(0, 1)
        return zs[place, torch.arange(len(z0), device=z0.device)[:, None]]

    def losses(
        self, seen: SeriesSet, t0: float, noise_std: float | None, chance: torch.Generator | None
    ) -> Losses:
        """See SequenceModel: the ELBO's terms, the KL analytic, the likelihood of one sample."""
        mean, log_variance = self.posterior(seen, t0)
        z0 = sample(mean, log_variance, chance)
        times, values, is_there = seen.times, seen.values, seen.observed
        if times.dim() == 2:  # of their own: solved for where something was observed, and nowhere else
            times, values, is_there, _ = seen.readings()
            times = torch.where(is_there.any(2), times, t0)
        predicted = self.decoder(self.latent(z0, times, t0, seen.others))
        nll = gaussian_nll(values, predicted, self._log_noise_variance(noise_std), is_there)
        return Losses(nll, kl_to_prior(mean, log_variance), seen.observed.sum((1, 2)))

    def predict(self, seen: SeriesSet, t0: float, chance: torch.Generator | None = None) -> Tensor:
        """See SequenceModel."""
        mean, log_variance = self.posterior(seen, t0)
        z0 = mean if chance is None else sample(mean, log_variance, chance)
        decoded: Tensor = self.decoder(self.latent(z0, seen.times, t0))
        return decoded

    def _log_noise_variance(self, noise_std: float | None) -> Tensor | float:
        if self.log_noise_std is not None:
            return 2 * self.log_noise_std
        if noise_std is None:
            raise ValueError(
                "the noise of the data is not known, which model.observation_noise=fixed takes; choose learned"
            )
        return 2 * math.log(noise_std)


def sample(mean: Tensor, log_variance: Tensor, chance: torch.Generator | None) -> Tensor:
    """One sample of a diagonal Gaussian, differentiable in both; the noise is drawn on the CPU."""

    def draw(num_rows: int) -> Tensor:
        return torch.randn(num_rows, mean.shape[1], generator=chance, dtype=mean.dtype)

    return mean + drawn(draw, len(mean)).to(mean.device) * torch.exp(0.5 * log_variance)


def kl_to_prior(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) || N(0, 1)) of each entry, in nats."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)
