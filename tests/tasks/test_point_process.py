from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nodebench.data import EventSequences, EventSet
from nodebench.data.event_sequences import padded
from nodebench.data.event_toy import VARIANTS, event_toy
from nodebench.models.sequences import LatentRate
from nodebench.models.sequences.latent_rate import RateField, Rates
from nodebench.ode.settings import SolverSettings
from nodebench.records.declared import point_process as declared
from nodebench.tasks.point_process import PointProcess
from nodebench.tasks.rate_scores import ks_distance, rescaled_intervals, true_rates
from nodebench.training.protocols import NonFiniteValuesError

SOLVER = SolverSettings(rtol=1e-5, atol=1e-5)


def toy(variant: str = "sine", **settings: Any) -> EventSequences:
    return event_toy(variant, **{"num_train": 20, "num_test": 12, "batch_size": 8, **settings})


def own(t_start: float = 0.0) -> EventSequences:
    """Events whose rate nobody knows."""
    sequences = [[0.5, 1.0], [], [0.25, 1.5, 1.75], [1.0]]
    times, lengths = padded([torch.tensor(sequence, dtype=torch.float64) for sequence in sequences])
    split = EventSet(times + t_start, lengths)
    return EventSequences("own", split, None, split, t_start, t_start + 2.0, batch_size=3)


def a_model(encoder: str = "none", **keys: Any) -> LatentRate:
    torch.manual_seed(0)
    return LatentRate(encoder, **{"solver": SOLVER, **keys})


def steady(encoder: str = "none") -> LatentRate:
    """A model that gives everything the mean rate."""
    model = a_model(encoder)
    field = model.ode_block.vector_field
    assert isinstance(field, RateField)
    for parameter in field.log_ratio.parameters():
        torch.nn.init.zeros_(parameter)
    return model


def rates(integral: list[list[float]], total: list[float]) -> Rates:
    at_events = torch.tensor(integral, dtype=torch.float64)
    return Rates(torch.zeros_like(at_events), at_events, torch.tensor(total, dtype=torch.float64))


def test_the_rest_of_a_window_and_the_begin_of_the_next_are_one_interval() -> None:
    is_event = torch.tensor([[True, True], [False, False], [True, False]])
    intervals = rescaled_intervals(rates([[0.5, 0.75], [9, 9], [0.25, 9]], [1, 2, 3]), is_event)
    assert intervals.tolist() == [0.5, 0.25, 0.25 + 2 + 0.25]


@pytest.mark.parametrize(
    ("intervals", "distance"), [([math.log(2)], 0.5), ([0.0], 1.0), ([50.0], 1.0), ([math.log(2)] * 4, 0.5)]
)
def test_the_ks_distance_of_a_few_intervals_is_what_one_counts(
    intervals: list[float], distance: float
) -> None:
    assert ks_distance(torch.tensor(intervals)) == pytest.approx(distance)


def test_the_ks_distance_of_exponential_numbers_is_small_and_of_others_is_not() -> None:
    uniform = torch.rand(4000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert ks_distance(-uniform.log()) < 1.63 / math.sqrt(4000)  # which one in a hundred exceeds
    # Of twice too short intervals the largest gap is at x = ln 2: 3/4 - 1/2.
    assert ks_distance(-0.5 * uniform.log()) == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("variant", VARIANTS)
def test_by_the_true_rate_the_toy_events_are_a_poisson_process(variant: str) -> None:
    data = event_toy(variant, num_train=1, num_test=200)
    assert data.test.rate is not None
    found = true_rates(data.test.rate, data.test, 0.0, data.duration)
    intervals = rescaled_intervals(found, data.test.is_event)
    assert len(intervals) == data.test.num_events
    assert ks_distance(intervals) < 1.63 / math.sqrt(len(intervals))
    assert float(intervals.mean()) == pytest.approx(1, abs=4 / math.sqrt(len(intervals)))


def test_the_true_rate_of_the_sine_is_integrated_as_its_closed_form() -> None:
    data = toy(phase=0.5)
    assert data.test.rate is not None
    found = true_rates(data.test.rate, data.test, 0.0, data.duration)

    def integral(t: Tensor) -> Tensor:
        return 5 * (t - 0.8 / 1.2566 * (torch.cos(1.2566 * t + 0.5) - math.cos(0.5)))

    is_event = data.test.is_event
    torch.testing.assert_close(
        found.integral[is_event], integral(data.test.times[is_event]), rtol=0, atol=1e-4
    )
    expected = integral(torch.tensor(10.0, dtype=torch.float64)).expand(12)
    torch.testing.assert_close(found.total, expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("encoder", ["none", "rnn"])
def test_the_mean_rate_scores_as_the_best_constant_one(encoder: str) -> None:
    data = toy("spiral")
    columns = PointProcess(data, 0, "cpu").evaluate(steady(encoder), "test")
    for name in ("nll_event", "ks", "rate_error"):
        assert columns[name] == pytest.approx(columns[f"{name}_constant"], rel=1e-4), name
    rate = data.train.num_events / len(data.train) / 10
    expected = 10 * rate * 12 / data.test.num_events - math.log(rate)
    assert columns["nll_event_constant"] == pytest.approx(expected)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_true_rate_scores_better_than_the_best_constant_one(variant: str) -> None:
    columns = PointProcess(toy(variant, num_test=100), 0, "cpu").evaluate(a_model(), "test")
    assert columns["nll_event_true"] < columns["nll_event_constant"] - 0.05
    assert columns["ks_true"] < 0.5 * columns["ks_constant"]


def test_the_bound_is_the_likelihood_less_the_divergence() -> None:
    task, model = PointProcess(toy("spiral"), 0, "cpu"), a_model("rnn")
    columns = task.evaluate(model, "test")
    num_events = task.data.test.num_events / 12
    assert -columns["elbo_event"] == pytest.approx(columns["nll_event"] + columns["kl_z0"] / num_events)
    assert columns["kl_z0"] > 0


KNOWN = {"nll_event_true", "ks_true", "rate_error", "rate_error_constant"}
ALWAYS = {"nll_event", "nll_event_constant", "ks", "ks_constant", "nfe_eval"}
WITH_ENCODER = {"elbo_event", "kl_z0"}


@pytest.mark.parametrize(
    ("data", "encoder", "test", "val"),
    [
        (toy(), "none", ALWAYS | KNOWN, {"nll_event_val", "nfe_eval"}),
        (toy(), "gru", ALWAYS | KNOWN | WITH_ENCODER, {"nll_event_val", "elbo_event_val", "nfe_eval"}),
        (own(), "none", ALWAYS, set()),
    ],
    ids=["none", "gru", "own"],
)
def test_each_split_has_its_columns(
    data: EventSequences, encoder: str, test: set[str], val: set[str]
) -> None:
    task, model = PointProcess(data, 0, "cpu"), a_model(encoder)
    assert set(task.evaluate(model, "test")) == test
    assert set(task.evaluate(model, "val")) == val
    assert test | val <= {column.name for column in declared.COLUMNS} | {"nfe_eval"}


def test_an_unknown_split_is_an_error() -> None:
    with pytest.raises(ValueError, match="`split` is 'tests'; allowed: train, val, test"):
        PointProcess(toy(), 0, "cpu").evaluate(a_model(), "tests")


def test_when_the_window_begins_changes_no_number() -> None:
    now, later = (
        PointProcess(own(t_start), 0, "cpu").evaluate(a_model("rnn"), "test") for t_start in (0.0, 1024.0)
    )
    assert now == pytest.approx(later)


def test_a_likelihood_that_is_not_finite_has_no_mean() -> None:
    model = steady()
    field = model.ode_block.vector_field
    assert isinstance(field, RateField)
    torch.nn.init.constant_(field.log_ratio[-1].bias, -math.inf)  # a rate of 0, at which nothing happens
    with pytest.raises(NonFiniteValuesError, match="NaN or infinity for 12 of 12 sequences"):
        PointProcess(toy(), 0, "cpu").evaluate(model, "test")


def test_a_batch_depends_on_seed_and_step_alone_and_a_pass_takes_every_sequence_once() -> None:
    task, again = PointProcess(toy(), 3, "cpu"), PointProcess(toy(), 3, "cpu")
    first = [task.batch(step) for step in range(2)]
    for step in (1, 0):
        assert torch.equal(again.batch(step).events.times, first[step].events.times)
        noise = torch.rand(2, generator=task.batch(step).chance)
        assert torch.equal(noise, torch.rand(2, generator=again.batch(step).chance))
    seen = [tuple(row.tolist()) for batch in first for row in batch.events.times[:, :20]]
    assert len(set(seen)) == 16
    assert not torch.equal(PointProcess(toy(), 4, "cpu").batch(0).events.times, first[0].events.times)


def test_the_loss_is_the_negative_elbo_over_the_number_of_events_to_be_expected() -> None:
    task, model = PointProcess(toy(), 0, "cpu"), a_model("rnn")
    losses = model.losses(task.batch(0).events, task.batch(0).chance)
    output = task.loss(model, task.batch(0))
    expected = task.data.train.num_events / 20 * 8
    assert losses.kl is not None
    torch.testing.assert_close(output.loss, (losses.nll + losses.kl.sum(1)).sum() / expected)
    torch.testing.assert_close(output.metrics["nll_event_train"], losses.nll.detach().sum() / expected)
    assert output.num_samples == 8


def test_a_training_step_is_counted_and_evaluation_counts_a_solve() -> None:
    task, model = PointProcess(own(), 0, "cpu"), a_model(solver=SolverSettings(method="rk4", dt=10.0))
    with task.counting(model) as counts:
        task.loss(model, task.batch(0)).loss.backward()
    counted = counts()
    assert counted is not None
    # Fixed steps go to every output: at most one for each event, and one to the end.
    num_gaps = len({time for time in task.batch(0).events.times.flatten().tolist() if time > 0}) + 1
    assert counted.nfe_forward == 4 * num_gaps
    assert counted.nfe_backward == 0


def test_final_metrics_tell_size_cost_and_whether_the_solve_can_be_inverted() -> None:
    metrics = PointProcess(toy(), 0, "cpu").final_metrics(a_model("rnn"))
    encoder = 25 * (1 + 1 + 1 + 25) + 26 * 8
    latent, rate = 5 * 20 + 21 * 4, 5 * 20 + 21
    assert metrics["num_params"] == encoder + latent + rate
    assert metrics["flops_forward"] > 0
    assert metrics["recon_ok"] is True


@pytest.mark.parametrize("data", [toy("spiral"), own(100.0)], ids=["toy", "own"])
def test_pictures_are_of_the_first_test_sequences(data: EventSequences) -> None:
    task = PointProcess(data, 0, "cpu")
    pictures = task.pictures(a_model("rnn"), is_final=True)
    assert pictures["grid"][[0, -1]].tolist() == [data.t_start, data.t_end]
    assert pictures["rate"].shape == pictures["rate_true"].shape == (4, 201)
    is_there = np.isfinite(pictures["events"])
    assert is_there.sum(1).tolist() == data.test.lengths[:4].tolist()
    assert np.nanmin(pictures["events"]) >= data.t_start
    assert np.isfinite(pictures["rate_true"]).all() == (data.test.rate is not None)
    assert float(pictures["rate_constant"]) == pytest.approx(task.usual_rate)
    assert {part.dtype for part in pictures.values()} == {np.dtype("float32")}


def test_without_an_encoder_one_rate_is_pictured_for_all() -> None:
    rate = PointProcess(toy(), 0, "cpu").pictures(a_model(), is_final=True)["rate"]
    assert rate.shape == (4, 201)
    assert (rate == rate[0]).all()
