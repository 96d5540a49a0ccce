"""Rates read off a latent ODE, in float64 and tightly solved."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nodebench.models.ode_block import recorded_solves
from nodebench.models.sequences import LatentRate
from nodebench.models.sequences.latent_rate import Events, RateField
from nodebench.ode.settings import AdjointSettings, SolverSettings

T1 = DURATION = 2.0
TIGHT = SolverSettings(rtol=1e-10, atol=1e-10)
TIMES = [[0.3, 0.4, 1.9], [], [0.0, 2.0], [0.4, 0.4, 1.1, 1.2]]


class Clock(nn.Module):
    """dz/ds = 1: z is the time that has gone by."""

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        return torch.ones_like(z)


class Swinging(nn.Module):
    """A log-rate of z that goes up and down while z itself is a straight line."""

    def forward(self, z: Tensor) -> Tensor:
        return 2 * torch.sin(6 * z[..., :1])


class FallingSilent(nn.Module):
    """A log-rate of z that is 1 up to z = 1 and then falls without end."""

    def forward(self, z: Tensor) -> Tensor:
        return 1 - 4000 * (z[..., :1] - 1).relu()


def events(
    sequences: list[list[float]] = TIMES, duration: float = DURATION, usual_rate: float = 1.25
) -> Events:
    times = torch.zeros(len(sequences), max(map(len, sequences)), dtype=torch.float64)
    for row, sequence in zip(times, sequences, strict=True):
        row[: len(sequence)] = torch.tensor(sequence, dtype=torch.float64)
    return Events(times, torch.tensor([len(sequence) for sequence in sequences]), duration, usual_rate)


def a_model(encoder: str = "none", **keys: Any) -> LatentRate:
    torch.manual_seed(1)
    return LatentRate(encoder, **{"t1": T1, "field_dim": 8, "solver": TIGHT, **keys}).double()


def of(latent: nn.Module, log_ratio: nn.Module, solver: SolverSettings = TIGHT, t1: float = T1) -> LatentRate:
    """A model whose z is one number that starts in 0."""
    model = a_model(latent_dim=1, solver=solver, t1=t1)
    model.ode_block.vector_field = RateField(latent, log_ratio, t1)
    assert model.z0 is not None
    nn.init.zeros_(model.z0)
    return model


def log_likelihood(model: LatentRate, seen: Events) -> Tensor:
    return -model.losses(seen, torch.Generator().manual_seed(0)).nll


@pytest.mark.parametrize("encoder", ["none", "rnn", "gru"])
def test_a_constant_rate_has_its_closed_form(encoder: str) -> None:
    model, seen = a_model(encoder), events()
    field = model.ode_block.vector_field
    assert isinstance(field, RateField)
    for parameter in field.log_ratio.parameters():
        nn.init.zeros_(parameter)
    nn.init.constant_(field.log_ratio[-1].bias, 0.7)
    rate = 1.25 * math.exp(0.7)
    expected = seen.lengths.double() * math.log(rate) - rate * DURATION
    torch.testing.assert_close(log_likelihood(model, seen), expected, rtol=1e-8, atol=0)


def test_the_accumulated_rate_is_its_quadrature() -> None:
    model = a_model("rnn")
    grid = torch.linspace(0.0, DURATION, 2001, dtype=torch.float64).expand(4, -1)
    rates = model.rates(events(), model.start(events()), grid)
    quadrature = torch.cumulative_trapezoid(rates.log_rate.exp(), grid)
    torch.testing.assert_close(rates.integral[:, 1:], quadrature, rtol=1e-6, atol=0)
    torch.testing.assert_close(rates.total, rates.integral[:, -1])
    assert (rates.integral[:, 0] == 0).all()
    assert len(torch.unique(rates.total)) == 4


@pytest.mark.parametrize("tol", [1e-3, 1e-6, 1e-9])
@torch.no_grad()
def test_the_error_of_the_integral_is_kept_to_the_tolerance_where_the_latent_state_has_none(
    tol: float,
) -> None:
    model = of(Clock(), Swinging(), SolverSettings(rtol=tol, atol=tol))
    assert model.z0 is not None
    s = torch.linspace(0.0, T1, 20_001, dtype=torch.float64)
    expected = 1.25 * torch.trapezoid(torch.exp(2 * torch.sin(6 * s)), s)
    total = model.rates(events(), model.z0, events().times).total
    assert float((total - expected).abs().max() / expected) < 20 * tol + 1e-8


def test_the_log_likelihood_s_gradient_is_that_of_finite_differences() -> None:
    # Fixed steps: a solver's choice of its steps is no part of the gradient.
    model = a_model(solver=SolverSettings(method="rk4", dt=0.05))
    log_likelihood(model, events()).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        direction = torch.randn_like(parameter)
        ends = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                parameter.add_(step * direction)
                ends.append(log_likelihood(model, events()).sum())
                parameter.sub_(step * direction)
        slope = (ends[0] - ends[1]) / 2e-5
        torch.testing.assert_close((parameter.grad * direction).sum(), slope, rtol=1e-6, atol=1e-7)


def gradients(encoder: str = "none", **keys: Any) -> list[Tensor]:
    model = a_model(encoder, **keys)
    log_likelihood(model, events()).sum().backward()
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("encoder", ["none", "rnn"])
def test_checkpointed_and_direct_gradients_are_one_and_the_adjoint_s_comes_near(encoder: str) -> None:
    direct = gradients(encoder)
    torch.testing.assert_close(gradients(encoder, gradient="checkpointed"), direct, rtol=1e-12, atol=1e-12)
    adjoint = [
        gradients(
            encoder,
            gradient="adjoint",
            solver=SolverSettings(rtol=1e-10, atol=1e-10, adjoint=AdjointSettings(rtol=tol, atol=tol)),
        )
        for tol in (1e-4, 1e-8)
    ]
    loose, tight = (
        max(float((a - b).abs().max()) for a, b in zip(direct, each, strict=True)) for each in adjoint
    )
    assert tight < 1e-5
    assert tight < loose


def test_a_stretch_in_which_nothing_can_happen_changes_nothing() -> None:
    sequences = [[0.1, 0.9], [], [1.0]]
    short, long = (
        log_likelihood(of(Clock(), FallingSilent(), t1=duration), events(sequences, duration))
        for duration in (1.05, 3.0)
    )
    torch.testing.assert_close(short, long, rtol=1e-6, atol=1e-6)
    rate = 1.25 * math.e
    expected = torch.tensor([2.0, 0.0, 1.0], dtype=torch.float64) * math.log(rate) - rate
    torch.testing.assert_close(long, expected, rtol=0, atol=2e-3)  # it takes 1/4000 to fall


@pytest.mark.parametrize("encoder", ["none", "rnn", "gru"])
def test_one_solve_over_all_times_gives_what_each_sequence_gives_alone(encoder: str) -> None:
    model = a_model(encoder)
    with recorded_solves(model) as solves:
        together = log_likelihood_of_means(model, TIMES)
    assert len(solves) == 1
    alone = torch.cat([log_likelihood_of_means(model, [sequence]) for sequence in TIMES])
    torch.testing.assert_close(together, alone, rtol=1e-7, atol=1e-7)


def log_likelihood_of_means(model: LatentRate, sequences: list[list[float]]) -> Tensor:
    seen = events(sequences)
    return -model.nll(seen, model.start(seen))


@pytest.mark.parametrize("encoder", ["rnn", "gru"])
def test_sequences_in_another_order_are_encoded_the_same(encoder: str) -> None:
    model, order = a_model(encoder), [2, 0, 3, 1]
    there, permuted = (model.posterior(events(each)) for each in (TIMES, [TIMES[row] for row in order]))
    for part, same in zip(there, permuted, strict=True):
        torch.testing.assert_close(same, part[order])
        assert len(torch.unique(part[:, 0])) == 4


@pytest.mark.parametrize("encoder", ["none", "rnn"])
def test_the_unit_of_time_changes_a_likelihood_by_its_logarithm_alone(encoder: str) -> None:
    model, hours = a_model(encoder), 3600.0
    in_seconds = events(
        [[hours * time for time in sequence] for sequence in TIMES], hours * DURATION, 1.25 / hours
    )
    expected = log_likelihood(model, events()) - math.log(hours) * events().lengths.double()
    torch.testing.assert_close(log_likelihood(model, in_seconds), expected, rtol=1e-7, atol=1e-7)


def test_what_stands_behind_the_last_event_counts_for_nothing() -> None:
    model, seen = a_model("rnn"), events()
    padded = seen._replace(times=nn.functional.pad(seen.times, (0, 3)))
    torch.testing.assert_close(log_likelihood(model, padded), log_likelihood(model, seen))


def test_an_encoder_tells_sequences_apart_by_any_gap_and_reads_the_one_before_the_first_event_last() -> None:
    model = a_model("rnn")
    base, *changed = (
        model.posterior(events([sequence]))[0]
        for sequence in ([0.5, 1.0], [0.6, 1.0], [0.5, 1.1], [0.5], [0.5, 1.0, 1.9])
    )
    assert all(not torch.allclose(base, other, atol=1e-6) for other in changed)
    longer = model.posterior(events([[0.5, 1.0]], duration=2.5))[0]
    assert not torch.allclose(base, longer, atol=1e-6)


def test_events_that_all_but_coincide_are_solved_by_every_gradient() -> None:
    sequences = [[1.0, 1.0 + 1e-15, 1.0 + 1e-9], [1.0]]
    for gradient in ("direct", "checkpointed", "adjoint"):
        model = a_model(gradient=gradient).float()
        model.losses(events(sequences), None).nll.sum().backward()
        assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_the_losses_of_a_model_without_an_encoder_have_no_kl() -> None:
    assert a_model().losses(events(), None).kl is None
    losses = a_model("rnn").losses(events(), torch.Generator().manual_seed(0))
    assert losses.kl is not None
    mean, log_variance = a_model("rnn").posterior(events())
    posterior = torch.distributions.Normal(mean, torch.exp(0.5 * log_variance))
    prior = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    torch.testing.assert_close(losses.kl, torch.distributions.kl_divergence(posterior, prior))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"encoder": "lstm"}, "`model.encoder` is 'lstm'; allowed: none, rnn, gru"),
        ({"activation": "relu"}, "`model.activation` is 'relu'; allowed: tanh, elu"),
        ({"latent_dim": 0}, r"`model\.latent_dim` is 0; allowed: 1 or above"),
        ({"t1": 0.0}, r"`model\.t1` is 0\.0; allowed: a finite time above 0"),
    ],
)
def test_sizes_and_choices_that_cannot_be_are_named(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LatentRate(**keys)


def test_a_model_without_an_encoder_has_no_posterior_to_ask_for() -> None:
    with pytest.raises(ValueError, match="a model with encoder=none has no posterior"):
        a_model().posterior(events())
