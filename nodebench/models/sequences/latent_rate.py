"""A Poisson process whose rate is read off a latent ODE: the rate's integral is an entry of the same solve."""

from __future__ import annotations

import math
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from nodebench.data.trajectories import Readings
from nodebench.models.checks import check_choice, check_sizes
from nodebench.models.ode_block import ODEBlock
from nodebench.models.sequences.encoders import RecurrentEncoder
from nodebench.models.sequences.latent_ode import ACTIVATIONS, LatentField, kl_to_prior, sample
from nodebench.models.sequences.sequence_model import Losses
from nodebench.ode.settings import SolverSettings

ENCODERS = ("none", "rnn", "gru")


class Events(NamedTuple):
    """N sequences of events in one window of time.

    times: float64 (N, n) on the CPU, from the window's begin on, each row in order; what lies behind a sequence's last
    event is 0 and counts for nothing. lengths: (N,), on the CPU too. duration: of the window. usual_rate: events a unit
    of time over all training sequences, which the rates are multiples of. others: times of sequences of the same batch
    that are not among these.
    """

    times: Tensor
    lengths: Tensor
    duration: float
    usual_rate: float
    others: Tensor | None = None

    @property
    def is_event(self) -> Tensor:
        """Which entries of `times` are events, (N, n)."""
        return torch.arange(self.times.shape[1]) < self.lengths[:, None]


class Rates(NamedTuple):
    """Rates of N sequences: log lambda (N, T) at times (N, T), its integral from the window's begin to each (N, T), and
    to the window's end (N,).
    """

    log_rate: Tensor
    integral: Tensor
    total: Tensor

    def nll(self, is_event: Tensor) -> Tensor:
        """-log p (N,) of the sequences whose events are those of the times that `is_event` (N, T) says, in nats."""
        return self.total - torch.where(is_event.to(self.log_rate.device), self.log_rate, 0.0).sum(1)


class RateField(nn.Module):
    """d[z, A]/ds = [f(z), exp(net(z)) / t1] of states (N, latent_dim + 1), s from 0 to t1.

    At s = t1, A is the mean of exp(net(z)): of the size of z whatever the number of events, so that the solver's norm
    heeds the errors of both.
    """

    def __init__(self, latent: nn.Module, log_ratio: nn.Module, t1: float) -> None:
        super().__init__()
        self.latent = latent
        self.log_ratio = log_ratio
        self.t1 = t1

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        z = y[:, :-1]
        return torch.cat([self.latent(t, z), self.log_ratio(z).exp() / self.t1], dim=1)


class LatentRate(nn.Module):
    """lambda(t) = usual rate exp(net(z(t))), dz/dt = f(z) (Chen et al. 2018, section 5, "Poisson Process likelihoods").

        log p(t_1 ... t_N | t_start, t_end) = sum_i log lambda(z(t_i)) - integral of lambda(z(t)) from t_start to t_end

    With `encoder` none, z(t_start) is a parameter and all sequences share one rate. Else each has its own: z(t_start) ~
    q(z | events), a Gaussian that an RNN gives which reads the times between events backwards, with N(0, I) as prior.
    The window, however long, is solved for s from 0 to t1. Raises ValueError for sizes below 1 and unknown choices.
    """

    net_kind: ClassVar[str] = "rate model"

    def __init__(
        self,
        encoder: str = "none",
        latent_dim: int = 4,
        hidden_dim: int = 25,
        field_dim: int = 20,
        field_layers: int = 1,
        activation: str = "tanh",
        rate_dim: int = 20,
        t1: float = 10.0,
        gradient: str = "direct",
        solver: SolverSettings = SolverSettings(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__()
        check_choice("encoder", encoder, ENCODERS)
        check_choice("activation", activation, ACTIVATIONS)
        if not t1 > 0 or not math.isfinite(t1):
            raise ValueError(f"`model.t1` is {t1}; allowed: a finite time above 0")
        check_sizes(latent_dim=latent_dim, hidden_dim=hidden_dim, field_dim=field_dim)
        check_sizes(field_layers=field_layers, rate_dim=rate_dim)
        self.z0 = nn.Parameter(torch.randn(1, latent_dim)) if encoder == "none" else None
        self.encoder = None
        if encoder != "none":
            self.encoder = RecurrentEncoder(encoder, 1, hidden_dim, time_input=True, mask_input=False)
            self.to_posterior = nn.Linear(hidden_dim, 2 * latent_dim)
        log_ratio = nn.Sequential(nn.Linear(latent_dim, rate_dim), nn.Tanh(), nn.Linear(rate_dim, 1))
        latent = LatentField(latent_dim, field_dim, field_layers, activation)
        self.ode_block = ODEBlock(RateField(latent, log_ratio, t1), solver, gradient, t1)

    def posterior(self, events: Events) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of z(t_start), each (N, latent_dim); of a model with an encoder."""
        if self.encoder is None:
            raise ValueError(
                "a model with encoder=none has no posterior: its z(t_start) is the same for all sequences"
            )
        read = self.encoder(_readings(events, self.to_posterior.weight), 0.0)
        mean, log_variance = self.to_posterior(read).chunk(2, dim=1)
        return mean, log_variance

    def start(self, events: Events) -> Tensor:
        """z(t_start): the means of the posteriors (N, latent_dim), or the one for all (1, latent_dim)."""
        return self.posterior(events)[0] if self.z0 is None else self.z0

    def losses(self, events: Events, chance: torch.Generator | None) -> Losses:
        """The terms of the loss of each sequence, `num_scalars` its events; one sample of the posterior by `chance`."""
        if self.z0 is not None:
            return Losses(self.nll(events, self.z0), None, events.lengths)
        mean, log_variance = self.posterior(events)
        nll = self.nll(events, sample(mean, log_variance, chance))
        return Losses(nll, kl_to_prior(mean, log_variance), events.lengths)

    def nll(self, events: Events, z0: Tensor) -> Tensor:
        """-log p (N,) of sequences whose z(t_start) is z0, (N, latent_dim) or one for all, in nats."""
        return self.rates(events, z0, events.times).nll(events.is_event)

    def state(self, z0: Tensor) -> Tensor:
        """What the solve of z(t_start) = z0 (N, latent_dim) begins with: [z0, 0], (N, latent_dim + 1)."""
        return torch.cat([z0, z0.new_zeros(len(z0), 1)], dim=1)

    def rates(self, events: Events, z0: Tensor, times: Tensor) -> Rates:
        """The rates of the sequences at `times` (N, T), float64 from 0 to their duration, on the CPU.

        All times of all sequences are outputs of one solve: outputs cost a solver no evaluation, and one step size
        serves the whole batch anyway.
        """
        t1 = self.ode_block.t1
        everybodys = times.flatten() if events.others is None else torch.cat([times.flatten(), events.others])
        clock = (everybodys * (t1 / events.duration)).clamp(0.0, t1)
        grid, place = torch.unique(torch.cat([clock.new_tensor([0.0, t1]), clock]), return_inverse=True)
        ys = self.ode_block.solve(self.state(z0), grid.tolist()).ys
        ys = ys.expand(-1, len(times), -1)
        rows = torch.arange(len(times), device=z0.device)
        place = place[2 : 2 + times.numel()].view(times.shape).to(z0.device)
        ys_at = ys[place, rows[:, None]]
        field = self.ode_block.vector_field
        assert isinstance(field, RateField), "made so, and nobody else's"
        log_ratio = field.log_ratio(ys_at[..., :-1])[..., 0]
        usual_number = events.usual_rate * events.duration
        return Rates(
            log_ratio + math.log(events.usual_rate),
            usual_number * ys_at[..., -1],
            usual_number * ys[-1, :, -1],
        )


def _readings(events: Events, like: Tensor) -> Readings:
    """What the encoder reads of each sequence, the latest first: the window's end (0), then every event (1).

    Each comes with the time to what is read next, of the first event to the window's begin; in units of the mean time
    between events, so that they are around 1 on any clock.
    """
    num_sequences = len(events.times)
    place = torch.arange(events.times.shape[1] + 1)
    is_event = place < events.lengths[:, None]
    times = torch.where(is_event, nn.functional.pad(events.times, (0, 1)), events.duration)
    is_there = torch.ones(num_sequences, len(place), 1, dtype=torch.bool)
    return Readings(
        (times * events.usual_rate).to(like),
        is_event[..., None].to(like),
        is_there.to(like.device),
        (events.lengths + 1).to(like.device),
    )
