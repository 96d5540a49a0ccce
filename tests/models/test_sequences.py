from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from nodebench.data.spirals import spirals
from nodebench.data.trajectories import SeriesSet
from nodebench.models.ode_block import recorded_solves
from nodebench.models.sequences import RNN, LatentODE
from nodebench.models.sequences.encoders import backwards
from nodebench.models.sequences.rnn import CLOCKS
from nodebench.ode.settings import SolverSettings

TIGHT = SolverSettings(rtol=1e-8, atol=1e-8)
CHANCE_SEED = 3


def chance() -> torch.Generator:
    return torch.Generator().manual_seed(CHANCE_SEED)


def double(series: SeriesSet) -> SeriesSet:
    assert series.clean is not None
    return replace(
        series, times=series.times.double(), values=series.values.double(), clean=series.clean.double()
    )


def some_spirals(num_observed: int = 30, size: int = 6) -> SeriesSet:
    return double(spirals(num_observed=num_observed).test[:size])


def ragged(num: int = 4) -> SeriesSet:
    """Series of different lengths at times of their own, one coordinate missing here and there."""
    random = torch.Generator().manual_seed(1)
    times = torch.rand(num, 7, generator=random, dtype=torch.float64).cumsum(1)
    lengths = torch.arange(num) % 4 + 4
    exists = torch.arange(7) < lengths[:, None]
    times = torch.where(exists, times, times.gather(1, lengths[:, None] - 1))
    is_there = (torch.rand(num, 7, 2, generator=random) < 0.8) & exists[..., None]
    is_there[:, 0] = True
    values = torch.randn(num, 7, 2, generator=random, dtype=torch.float64) * is_there
    return SeriesSet(times, values, is_there, is_there, torch.zeros(num, 7, dtype=torch.bool))


def latent_ode(seed: int = 0, **settings: object) -> LatentODE:
    torch.manual_seed(seed)
    return LatentODE(**{"solver": TIGHT, **settings}).double()  # type: ignore[arg-type]


def rnn(seed: int = 0, **settings: object) -> RNN:
    torch.manual_seed(seed)
    return RNN(**settings).double()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model", "num_params"),
    [
        (LatentODE(), 933 + 184 + 142),
        (LatentODE(time_input=False, field_layers=2), 1654),  # torchdiffeq's example
        (RNN(), 804),
        (RNN(time_input=True), 829),
    ],
)
def test_sizes_are_those_of_the_paper(model: nn.Module, num_params: int) -> None:
    assert sum(parameter.numel() for parameter in model.parameters()) == num_params


@pytest.mark.parametrize("encoder", ["rnn", "gru", "ode_rnn"])
@pytest.mark.parametrize("series", [some_spirals(), ragged()], ids=["grid", "ragged"])
def test_permuting_the_batch_permutes_the_encodings_and_changes_nothing_else(
    encoder: str, series: SeriesSet
) -> None:
    model = latent_ode(encoder=encoder)
    order = torch.randperm(len(series), generator=chance())
    mean, log_variance = model.posterior(series, 0.0)
    permuted_mean, permuted_log_variance = model.posterior(series[order], 0.0)
    torch.testing.assert_close(permuted_mean, mean[order], rtol=0, atol=1e-6)
    torch.testing.assert_close(permuted_log_variance, log_variance[order], rtol=0, atol=1e-6)


@pytest.mark.parametrize("encoder", ["rnn", "gru", "ode_rnn"])
def test_an_encoding_does_not_depend_on_longer_series_beside_it(encoder: str) -> None:
    model, series = latent_ode(encoder=encoder), ragged()
    together, _ = model.posterior(series, 0.0)
    for row in range(len(series)):
        alone, _ = model.posterior(series[row : row + 1], 0.0)
        torch.testing.assert_close(alone[0], together[row], rtol=0, atol=1e-6)


def test_reading_backwards_recomputes_the_gaps() -> None:
    times = torch.tensor([[0.5, 0.7, 1.6], [0.2, 1.0, 1.0]])
    is_there = torch.tensor([[True, True, True], [True, True, False]])[..., None]
    values = times[..., None] * is_there
    series = SeriesSet(times, values, is_there, is_there, torch.zeros(2, 3, dtype=torch.bool))
    read = backwards(series.readings(), t0=0.1)
    torch.testing.assert_close(read.values[..., 0], torch.tensor([[1.6, 0.7, 0.5], [1.0, 0.2, 0.0]]))
    torch.testing.assert_close(read.gaps, torch.tensor([[0.9, 0.2, 0.4], [0.8, 0.1, 0.0]]))


def test_the_encoder_knows_how_far_before_the_first_observation_the_latent_state_begins() -> None:
    series, model = ragged(), latent_ode()
    near, _ = model.posterior(series, float(series.times.min()))
    far, _ = model.posterior(series, float(series.times.min()) - 1)
    assert (near - far).abs().max() > 1e-3


def test_the_masked_likelihood_is_the_dense_one_where_everything_is_observed() -> None:
    model, series = latent_ode(), some_spirals(num_observed=100)
    inside = ~series.is_horizon[0]
    window = SeriesSet(
        series.times[inside],
        series.values[:, inside],
        *(part[:, inside] for part in (series.is_there, series.observed, series.is_horizon)),
    )
    losses = model.losses(window, 0.0, 0.1, chance())
    decoded = model.predict(window, 0.0, chance())
    dense = torch.distributions.Normal(decoded, 0.1).log_prob(window.values).sum((1, 2))
    torch.testing.assert_close(losses.nll, -dense)
    assert losses.num_scalars.tolist() == [200] * len(series)
    longer = model.losses(series, 0.0, 0.1, chance())
    torch.testing.assert_close(longer.nll, losses.nll, rtol=1e-6, atol=0)


def test_what_is_not_observed_changes_nothing() -> None:
    series = some_spirals()
    hidden = replace(series, values=torch.where(series.observed, series.values, 1e3))
    for model in (latent_ode(), rnn(time_input=True)):
        told = model.losses(series, 0.0, 0.1, chance()).nll
        torch.testing.assert_close(model.losses(hidden, 0.0, 0.1, chance()).nll, told, rtol=0, atol=0)
        torch.testing.assert_close(
            model.predict(hidden, 0.0), model.predict(series, 0.0), rtol=0, atol=0, equal_nan=True
        )


def test_the_elbo_is_the_evidence_of_a_linear_gaussian_model_under_its_exact_posterior() -> None:
    """dz/dt = 0 and x = W z + noise: log p(x) is known, and the bound is tight where q is the posterior."""
    num_copies, sigma, num_times = 4000, 0.5, 3
    weights = torch.tensor([[0.8, 0.0], [0.0, -0.6]], dtype=torch.float64)

    class Exact(LatentODE):
        def posterior(self, seen: SeriesSet, t0: float) -> tuple[Tensor, Tensor]:
            precision = 1 + num_times * weights.diagonal().square() / sigma**2
            mean = weights.diagonal() * seen.values.sum(1) / sigma**2 / precision
            return mean, -precision.log().expand_as(mean)

    model = Exact(latent_dim=2, solver=TIGHT).double()
    nn.init.zeros_(model.ode_block.vector_field.net[-1].weight)
    nn.init.zeros_(model.ode_block.vector_field.net[-1].bias)
    model.decoder = nn.Sequential(nn.Linear(2, 2, bias=False)).double()
    model.decoder[0].weight.data = weights

    values = torch.randn(num_times, 2, generator=chance(), dtype=torch.float64)
    there = torch.ones(num_copies, num_times, 2, dtype=torch.bool)
    series = SeriesSet(
        torch.linspace(0, 1, num_times, dtype=torch.float64),
        values.expand(num_copies, -1, -1),
        there,
        there,
        torch.zeros(num_copies, num_times, dtype=torch.bool),
    )
    elbos = -model.losses(series, 0.0, sigma, chance()).negative_elbo.detach()

    evidence = 0.0
    for coordinate in range(2):
        covariance = sigma**2 * torch.eye(num_times, dtype=torch.float64)
        covariance += weights[coordinate, coordinate] ** 2
        normal = torch.distributions.MultivariateNormal(
            torch.zeros(num_times, dtype=torch.float64), covariance
        )
        evidence += float(normal.log_prob(values[:, coordinate]))
    assert abs(float(elbos.mean()) - evidence) < 4 * float(elbos.std()) / math.sqrt(num_copies)


@pytest.mark.parametrize("encoder", ["rnn", "ode_rnn"])
def test_gradients_with_many_output_times_agree(encoder: str) -> None:
    series = some_spirals(num_observed=100 if encoder == "rnn" else 5, size=3)

    def gradient(mode: str, tol: float) -> Tensor:
        model = latent_ode(encoder=encoder, gradient=mode, solver=SolverSettings(rtol=tol, atol=tol))
        loss = model.losses(series, 0.0, 0.5, chance()).negative_elbo.mean()
        return torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(model.parameters()))])

    direct = gradient("direct", 1e-5)
    assert (gradient("checkpointed", 1e-5) - direct).norm() <= 1e-12 * direct.norm()
    errors = [float((gradient("adjoint", tol) - gradient("direct", tol)).norm()) for tol in (1e-4, 1e-7)]
    assert errors[1] < 1e-5 * float(direct.norm())
    assert errors[1] < 0.1 * errors[0]


def test_one_solve_over_the_times_of_all_is_a_solve_for_each() -> None:
    model, series = latent_ode(), ragged()
    z0 = torch.randn(len(series), 4, generator=chance(), dtype=torch.float64)
    with recorded_solves(model) as solves:
        together = model.latent(z0, series.times, 0.0)
    assert len(solves) == 1
    for row in range(len(series)):
        alone = model.latent(z0[row : row + 1], series.times[row : row + 1], 0.0)
        torch.testing.assert_close(alone[0], together[row], rtol=0, atol=1e-6)


def test_nothing_is_solved_for_after_the_last_observation_whatever_time_is_0() -> None:
    model, series = latent_ode(), ragged()
    early = replace(series, times=series.times - 20)
    t0 = float(series.times.min())
    with recorded_solves(model) as solves:
        told = model.losses(series, t0, 0.1, chance()).nll
        told_early = model.losses(early, t0 - 20, 0.1, chance()).nll
    torch.testing.assert_close(told_early, told, rtol=1e-6, atol=0)
    assert solves[1].forward.nfe == solves[0].forward.nfe


def test_the_latent_state_begins_at_t0() -> None:
    model = latent_ode()
    z0 = torch.randn(2, 4, generator=chance(), dtype=torch.float64)
    at_t0 = model.latent(z0, torch.tensor([0.5, 1.0], dtype=torch.float64), 0.5)
    before = model.latent(z0, torch.tensor([0.5, 1.0], dtype=torch.float64), 0.0)
    torch.testing.assert_close(at_t0[:, 0], z0)
    # The field knows no time: half a unit later from 0 is where half a unit later from 0.5 is.
    torch.testing.assert_close(before[:, 0], at_t0[:, 1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("settings", [{}, {"time_input": True}, {"cell": "gru"}, {"mask_input": True}])
def test_an_rnn_predicts_the_next_observation_and_not_the_present_one(settings: dict[str, object]) -> None:
    model, series = rnn(**settings), some_spirals(num_observed=10, size=1)
    values = series.values.clone().requires_grad_()
    predicted = model.predict(replace(series, values=values), 0.0)
    (places,) = series.observed[0].any(1).nonzero(as_tuple=True)
    for earlier, place in pairwise(places):
        (slope,) = torch.autograd.grad(predicted[0, place].sum(), values, retain_graph=True)
        assert (slope[0, :place] != 0).any(1)[earlier]
        assert not slope[0, place:].any()


def test_the_loss_of_an_rnn_is_of_the_observations_after_the_first_as_they_were_predicted() -> None:
    model, series = rnn(time_input=True), some_spirals(num_observed=10, size=2)
    losses = model.losses(series, 0.0, None, None)
    assert losses.kl is None
    assert losses.num_scalars.tolist() == [18, 18]
    shifted = replace(series, values=series.values.roll(1, dims=1))
    assert (model.losses(shifted, 0.0, None, None).nll - losses.nll).abs().min() > 1e-3

    read = series.readings()
    _, mean, log_variance = model.one_step_ahead(read)
    normal = torch.distributions.Normal(mean[:, :-1], (0.5 * log_variance[:, :-1]).exp())
    torch.testing.assert_close(losses.nll, -normal.log_prob(read.values[:, 1:]).sum((1, 2)))
    predicted = model.predict(series, 0.0)
    torch.testing.assert_close(predicted[0][series.observed[0].any(1)][1:], mean[0, :-1])


@pytest.mark.parametrize("time_input", [False, True])
def test_the_clocks_of_an_rnn_agree_where_all_points_were_observed(time_input: bool) -> None:
    series = some_spirals(num_observed=100)
    by_clock = [rnn(time_input=time_input, clock=clock).predict(series, 0.0) for clock in CLOCKS]
    assert by_clock[0][:, 1:].isfinite().all()
    assert by_clock[0][:, 0].isnan().all()
    torch.testing.assert_close(by_clock[1][:, 1:], by_clock[0][:, 1:], rtol=0, atol=1e-5)


@pytest.mark.parametrize("clock", CLOCKS)
def test_a_roll_out_does_not_depend_on_other_series_beside_it(clock: str) -> None:
    model, series = rnn(time_input=True, mask_input=True, clock=clock), ragged()
    cut = replace(series, observed=series.observed & (torch.arange(7) < 3)[:, None])
    together = model.predict(cut, 0.0)
    for row in range(len(series)):
        alone = model.predict(cut[row : row + 1], 0.0)
        torch.testing.assert_close(alone[0], together[row], rtol=0, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize("clock", CLOCKS)
def test_series_that_end_with_their_last_observation_are_predicted_beside_longer_ones(clock: str) -> None:
    model, series = rnn(clock=clock), ragged()
    row = slice(1, 2)  # five times of seven, the last repeated
    ended, at_end = series[row], series.observed[row].clone()
    at_end[:, :-3] = False  # the last of its times alone
    for observed in (ended.observed, at_end):
        predicted = model.predict(replace(ended, observed=observed), 0.0)
        given = observed.any(2)[0].nonzero()[1:, 0]
        assert predicted[0, given].isfinite().all()


def test_the_mean_gap_is_that_of_each_series() -> None:
    """A stub whose mean is its input plus 1: after a mean gap the prediction has risen by 1."""
    model = rnn()
    model.recurrence = Copying()  # type: ignore[assignment]
    model.to_next = nn.Identity()  # type: ignore[assignment]
    times = torch.tensor([[0.0, 1.0, 2.0, 3.0, 4.5], [0.0, 0.5, 1.0, 1.25, 2.0]])
    there = torch.ones(2, 5, 1, dtype=torch.bool)
    observed = there & (torch.arange(5) < 3)[:, None]
    model.dim = 1
    series = SeriesSet(times, torch.zeros(2, 5, 1), there, observed, torch.zeros(2, 5, dtype=torch.bool))
    predicted = model.predict(series, 0.0)[..., 0]
    torch.testing.assert_close(predicted[:, 3:], torch.tensor([[1.0, 2.5], [0.5, 2.0]]))


def test_observations_on_top_of_each_other_are_rolled_out_in_a_bounded_number_of_steps() -> None:
    model = rnn()
    model.recurrence = counted = Copying()  # type: ignore[assignment]
    model.to_next = nn.Identity()  # type: ignore[assignment]
    model.dim = 1
    times = torch.tensor([[0.0, 1e-6, 5.0, 10.0]])
    there = torch.ones(1, 4, 1, dtype=torch.bool)
    observed = there & (torch.arange(4) < 2)[:, None]
    series = SeriesSet(times, torch.zeros(1, 4, 1), there, observed, torch.zeros(1, 4, dtype=torch.bool))
    assert model.predict(series, 0.0)[0, 2:, 0].tolist() == pytest.approx([500.0, 1000.0], rel=1e-3)
    assert counted.num_calls <= 1002


class Copying(nn.Module):
    """The state is the input plus 1, twice: as mean and as log-variance."""

    num_calls = 0

    def forward(self, inputs: Tensor, h0: Tensor | None = None) -> Tensor:
        self.num_calls += 1
        return torch.cat([inputs + 1, inputs + 1], dim=2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoder": "lstm"}, "`model.encoder` is 'lstm'; allowed: rnn, gru, ode_rnn"),
        ({"activation": "relu"}, "`model.activation` is 'relu'; allowed: tanh, elu"),
        ({"latent_dim": 0}, "`model.latent_dim` is 0; allowed: 1 or above"),
    ],
)
def test_what_a_latent_ode_refuses(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LatentODE(**settings)  # type: ignore[arg-type]
