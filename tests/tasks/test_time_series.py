from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nodebench import cli
from nodebench.data import SeriesSet, Trajectories
from nodebench.data.spirals import spirals
from nodebench.data.spirals_example import spirals_example
from nodebench.models.ode_block import ode_blocks
from nodebench.models.sequences import RNN, LatentODE, Losses, SequenceModel
from nodebench.ode.settings import SolverSettings
from nodebench.ode.status import NonFiniteError
from nodebench.records.declared.time_series import COLUMNS
from nodebench.tasks import TimeSeries
from nodebench.tasks.forecast_scores import (
    last_seen,
    naive_columns,
    probe_accuracy,
    rmse,
    shape_columns,
    turning,
)
from nodebench.training.protocols import NonFiniteValuesError

LOOSE = SolverSettings(rtol=1e-3, atol=1e-3)


class Oracle(SequenceModel):
    """Predicts the values without noise, plus `off`."""

    def __init__(self, off: float = 0.0) -> None:
        super().__init__()
        self.off = nn.Parameter(torch.tensor(off))

    def losses(
        self, seen: SeriesSet, t0: float, noise_std: float | None, chance: torch.Generator | None
    ) -> Losses:
        return Losses(self.off + torch.zeros(len(seen)), None, seen.observed.sum((1, 2)))

    def predict(self, seen: SeriesSet, t0: float, chance: torch.Generator | None = None) -> Tensor:
        assert seen.clean is not None
        return seen.clean + self.off


@pytest.fixture(scope="module")
def data() -> Trajectories:
    return spirals(num_observed=20, num_points=40, horizon=40, num_train=50, num_test=60, batch_size=16)


def make_task(data: Trajectories, seed: int = 0) -> TimeSeries:
    return TimeSeries(data, seed, "cpu")


def test_a_batch_is_a_function_of_seed_and_step_and_a_pass_has_every_series_once(data: Trajectories) -> None:
    task, again = make_task(data), make_task(data)
    later = again.batch(2)
    batches = [task.batch(step) for step in range(4)]
    torch.testing.assert_close(batches[2].series.values, later.series.values)
    assert torch.equal(torch.randn(3, generator=batches[2].chance), torch.randn(3, generator=later.chance))
    starts = torch.cat([batch.series.values[:, 0, 0] for batch in batches[:3]])
    assert len(starts.unique()) == 48
    assert not torch.equal(batches[3].series.values, batches[0].series.values)
    assert not torch.equal(make_task(data, seed=1).batch(0).series.values, batches[0].series.values)


def test_the_loss_is_the_negative_elbo_of_the_batch_a_scalar(data: Trajectories) -> None:
    task, model = make_task(data), LatentODE(solver=LOOSE)
    batch = task.batch(0)
    output = task.loss(model, batch)
    losses = model.losses(batch.series, data.t0, data.noise_std, task.batch(0).chance)
    assert losses.kl is not None
    expected = (losses.nll.sum() + losses.kl.sum()) / (16 * 20 * 2)
    torch.testing.assert_close(output.loss, expected)
    assert output.num_samples == 16
    torch.testing.assert_close(output.metrics["elbo_train"], -expected.detach())
    torch.testing.assert_close(output.metrics["nll_scalar_train"], losses.nll.detach().sum() / 640)


def test_an_oracle_errs_by_the_noise_alone(data: Trajectories) -> None:
    columns = make_task(data).evaluate(Oracle(), "test")
    assert columns["rmse"] == columns["rmse_median"] == columns["rmse_interp"] == 0
    assert columns["rmse_noisy"] == pytest.approx(0.1, rel=0.05)
    assert columns["turns_right"] == 1
    assert columns["radius_ratio"] == pytest.approx(math.exp(-0.1 * 2 * math.pi * 39 / 40), rel=1e-5)
    assert "kl_z0" not in columns
    shifted = make_task(data).evaluate(Oracle(0.3), "test")
    assert shifted["rmse"] == pytest.approx(0.3, rel=1e-5)


def test_naive_predictors_of_spirals_are_worth_what_their_formulas_say() -> None:
    """In units of the radius: zero 0.285, the last value held 0.470, the radius frozen 0.110 (without noise)."""
    series = spirals(min_radius=1.0, max_radius=1.0, noise=0).test
    columns = naive_columns(series)
    assert columns["rmse_zero"] == pytest.approx(0.285, abs=0.002)
    assert columns["rmse_last"] == pytest.approx(0.470, abs=0.01)
    assert columns["rmse_frozen"] == pytest.approx(0.110, abs=0.002)


def test_errors_are_pooled_over_what_there_is() -> None:
    error = torch.tensor([[[3.0, 100.0]], [[4.0, 0.0]]])
    where = torch.tensor([[[True, False]], [[True, True]]])
    assert rmse(error, where) == pytest.approx(math.sqrt(25 / 3))
    assert rmse(error, torch.zeros_like(where)) is None
    with pytest.raises(NonFiniteValuesError, match="NaN or infinity for 1 of 3 values"):
        rmse(torch.where(error == 4, torch.nan, error), where)


def test_turning_has_the_sign_of_the_direction() -> None:
    angle = torch.linspace(0, 1, 5)
    left = torch.stack([angle.cos(), angle.sin()], dim=1)
    assert turning(left) > 0 > turning(left.flip(0))
    both = torch.stack([left, left.flip(0)])
    everywhere = torch.ones(2, 5, dtype=torch.bool)
    series = SeriesSet(
        angle, both, everywhere[..., None], everywhere[..., None], everywhere, both, torch.tensor([1, 1])
    )
    assert shape_columns(both, series)["turns_right"] == 0.5


def test_one_time_is_no_horizon_to_turn_in() -> None:
    data = spirals(num_observed=5, num_points=5, horizon=1, num_train=2, num_test=4)
    columns = make_task(data).evaluate(Oracle(), "test")
    assert columns["rmse"] == 0
    assert not {"turns_right", "radius_ratio"} & set(columns)


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_likelihood_that_is_not_finite_has_no_mean(split: str, data: Trajectories) -> None:
    class Unlikely(Oracle):
        def losses(self, *args: Any) -> Losses:
            losses = super().losses(*args)
            return losses._replace(nll=losses.nll.index_fill(0, torch.tensor([1, 3]), math.inf))

    size = len(data.splits[split])
    with pytest.raises(NonFiniteValuesError, match=f"likelihood of NaN or infinity for 2 of {size} series"):
        make_task(data).evaluate(Unlikely(), split)


def test_the_spirals_of_the_example_are_measured_from_their_own_centres() -> None:
    data = spirals_example(num_train=2, num_test=40)
    columns = make_task(data).evaluate(Oracle(), "test")
    assert columns["turns_right"] == 1
    assert columns["radius_ratio"] > 1
    assert columns["rmse_frozen"] < columns["rmse_zero"]


def test_the_last_value_held_is_that_of_each_coordinate() -> None:
    observed = torch.tensor([[[1, 1], [1, 0], [0, 0]], [[1, 0], [0, 0], [0, 0]]]).bool()
    values = torch.arange(12.0).reshape(2, 3, 2) + 1
    series = SeriesSet(
        torch.arange(3.0),
        values,
        torch.ones_like(observed),
        observed,
        torch.tensor([[False, False, True]] * 2),
    )
    assert last_seen(series).tolist() == [[3, 2], [7, 0]]
    errors = torch.tensor([5.0 - 3, 6 - 2, 11 - 7, 12 - 0])
    assert naive_columns(series)["rmse_last"] == pytest.approx(float(errors.square().mean().sqrt()))


def test_a_linear_probe_reads_what_is_linear_and_nothing_else(data: Trajectories) -> None:
    def told(series: SeriesSet) -> Tensor:
        assert series.direction is not None
        return torch.stack([torch.arange(len(series)).float(), 3.0 * series.direction + 7], dim=1)

    assert probe_accuracy(told, data.train, data.test) == 1
    untold = probe_accuracy(lambda series: torch.ones(len(series), 1), data.train, data.test)
    assert untold is not None
    assert untold <= 0.5
    assert probe_accuracy(told, replace(data.train, direction=None), data.test) is None


def test_of_a_state_that_turns_with_the_series_only_a_quadratic_probe_reads_the_direction(
    data: Trajectories,
) -> None:
    def two_planes(series: SeriesSet) -> Tensor:
        """Position in one plane for either direction, the other plane empty."""
        assert series.direction is not None
        assert series.clean is not None
        is_one = (series.direction == 1)[:, None]
        first = series.clean[:, 0]
        return torch.cat([first * is_one, first * ~is_one], dim=1)

    assert probe_accuracy(two_planes, data.train, data.test, degree=2) == 1
    linear = probe_accuracy(two_planes, data.train, data.test)
    assert linear is not None
    assert linear < 0.8


@pytest.mark.parametrize("model", [LatentODE(solver=LOOSE), RNN(), RNN(time_input=True)])
def test_an_evaluation_repeats_itself_and_has_declared_columns_alone(
    model: SequenceModel, data: Trajectories
) -> None:
    task = make_task(data)
    first = task.evaluate(model, "test")
    assert make_task(data, seed=1).evaluate(model, "test") == first
    declared = {column.name for column in COLUMNS} | {"nfe_eval"}
    assert set(first) <= declared
    assert ("rmse_interp" in first) == isinstance(model, LatentODE)
    val = task.evaluate(model, "val")
    assert {"nll_scalar_val", "rmse_val"} <= set(val) <= declared


def test_the_posterior_of_a_net_is_told_from_its_prior(data: Trajectories) -> None:
    model = LatentODE(solver=LOOSE)
    nn.init.zeros_(model.to_posterior.weight)
    nn.init.zeros_(model.to_posterior.bias)
    model.to_posterior.bias.data[1] = 2.0  # the mean of one dimension: KL 2
    columns = make_task(data).evaluate(model, "test")
    assert columns["active_units"] == 1
    assert columns["kl_z0"] == pytest.approx(2.0, rel=1e-5)


def test_evaluations_are_summed_over_the_solves_of_the_encoder_too(data: Trajectories) -> None:
    task = make_task(data)
    fixed = SolverSettings(method="euler", dt=0.5)
    plain, read_by_ode = LatentODE(solver=fixed), LatentODE(encoder="ode_rnn", solver=fixed)
    assert len(ode_blocks(read_by_ode)) == 2
    totals = []
    for model in (plain, read_by_ode):
        with task.counting(model) as counts:
            task.loss(model, task.batch(0)).loss.backward()
        solved = counts()
        assert solved is not None
        totals.append(solved.nfe_forward)
    assert totals[1] == totals[0] + 20 * 2  # 20 readings, two steps each


def test_pictures_are_what_figures_are_drawn_from(data: Trajectories) -> None:
    task = make_task(data)
    pictures = task.pictures(LatentODE(solver=LOOSE), is_final=True)
    shapes = {name: part.shape for name, part in pictures.items()}
    assert shapes == {
        **{name: (8, 80, 2) for name in ("clean", "values", "prediction")},
        **{name: (8, 80) for name in ("times", "observed", "is_horizon")},
        "direction": (8,),
        "latent": (60, 80, 4),
        "latent_direction": (60,),
        "traversal": (4, 9, 80, 2),
        "traversal_values": (9,),
        "traversal_times": (80,),
    }
    assert pictures["direction"].tolist() == [1, -1] * 4
    assert set(task.pictures(RNN(), is_final=True)) == set(shapes) - {
        "latent",
        "latent_direction",
        "traversal",
        "traversal_values",
        "traversal_times",
    }


def test_a_latent_space_that_cannot_be_solved_for_leaves_the_predictions_to_be_drawn(
    data: Trajectories,
) -> None:
    class Fragile(LatentODE):
        def latent(self, z0: Tensor, times: Tensor, t0: float) -> Tensor:
            if len(z0) > 8:
                raise NonFiniteError("the state became infinite")
            return super().latent(z0, times, t0)

    pictures = make_task(data).pictures(Fragile(solver=LOOSE), is_final=True)
    assert pictures["prediction"].shape == (8, 80, 2)
    assert "latent" not in pictures


def test_data_of_unknown_noise_need_a_model_that_learns_it(data: Trajectories) -> None:
    task = make_task(replace(data, noise_std=None))
    with pytest.raises(ValueError, match=r"choose model\.observation_noise=learned"):
        task.check_model(LatentODE())
    task.check_model(RNN())
    learned = LatentODE(observation_noise="learned", solver=LOOSE)
    task.check_model(learned)
    task.loss(learned, task.batch(0)).loss.backward()
    assert learned.log_noise_std is not None
    assert learned.log_noise_std.grad is not None


SMALL = ("data=spirals", "data.num_train=20", "data.num_test=20", "data.num_points=20", "data.horizon=20")


@pytest.mark.parametrize("model", ["latent_ode", "rnn", "rnn_dt"])
def test_it_is_trained_and_evaluated_by_the_commands(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    small = (*SMALL, "data.num_observed=10", "training.num_steps=2", "optimizer.lr=1e-2")
    assert cli.main(["train", "task=time_series", f"model={model}", *small]) == 0
    (config,) = Path("outputs/time_series").rglob("config.yaml")
    summary = json.loads((config.parent / "summary.json").read_text())
    assert summary["rmse"] > 0
    assert summary["rmse_frozen"] < summary["rmse_zero"] < summary["rmse_last"]
    assert cli.main(["evaluate", str(config.parent)]) == 0
    evaluation = json.loads((config.parent / "evaluations.jsonl").read_text())
    assert evaluation["rmse"] == pytest.approx(summary["rmse"], rel=1e-5)
    assert (evaluation["num_series"], evaluation["num_observed"]) == (20, 10)
    capsys.readouterr()
    assert cli.main(["evaluate", str(config.parent), "data.num_observed=20"]) == 0
    shown = capsys.readouterr().out
    assert "in 2 dimensions, 20 of 20 points observed\n" in shown
    columns = [line.split(maxsplit=1) for line in shown.splitlines() if line.startswith(("rmse", "radius"))]
    assert len({shown.index(value) - shown.index(f"\n{name} ") for name, value in columns}) == 1
    denser = json.loads((config.parent / "evaluations.jsonl").read_text().splitlines()[1])
    assert denser["num_observed"] == 20
    assert denser["rmse"] != evaluation["rmse"]


@pytest.mark.parametrize("model", ["latent_ode", "rnn_dt"])
def test_series_of_ones_own_are_trained_on_and_evaluated_with_fewer_points(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of different lengths, at times of their own, some without a coordinate."""
    monkeypatch.chdir(tmp_path)
    rows = [
        f"s{i},{t + i / 50},{math.sin(t + i)},{math.cos(t + i) if (t + i) % 4 else ''}"
        for i in range(12)
        for t in range(6 + i % 3)
    ]
    Path("mine.csv").write_text("\n".join(["id,time,x1,x2", *rows]))
    own = ["data=series", "data.path=mine.csv", "data.window_end=4", "data.batch_size=4"]
    if model == "latent_ode":
        own += ["model.observation_noise=learned", "model.mask_input=true"]
    assert cli.main(["train", "task=time_series", f"model={model}", *own, "training.num_steps=2"]) == 0
    (config,) = Path("outputs/time_series").rglob("config.yaml")
    summary = json.loads((config.parent / "summary.json").read_text())
    assert summary["status"] == "finished"
    assert 0 < summary["rmse"] < 10
    assert "rmse_frozen" not in summary
    fewer = ["data.path=mine.csv", "data.num_observed=2"]
    assert cli.main(["evaluate", str(config.parent), *fewer]) == 0
    evaluation = json.loads((config.parent / "evaluations.jsonl").read_text())
    assert evaluation["num_series"] == 1
    assert evaluation["rmse"] != summary["rmse"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["data.num_observed=21"], "`data.num_observed` is 21, and a series has data.num_points=20"),
        (["data.min_radius=3"], "`data.max_radius` is 2.5, below data.min_radius=3; swap them"),
        (["model=mlp"], "task=time_series trains a sequence model, and model=mlp is no sequence model"),
        (["data=two_moons"], "task=time_series learns from time series (such as data=spirals), not from samples"),
        (["training.num_steps=null", "training.epochs=2"], "has no epochs, so training.epochs means nothing"),
        (["model.encoder=none"], "`model.encoder` is 'none'; allowed: rnn, gru, ode_rnn"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_a_sentence(
    changes: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = {"model": "latent_ode", "data": "spirals", "data.num_points": "20", "data.num_observed": "10"}
    if "data=two_moons" in changes:
        chosen = {"model": "latent_ode"}
    chosen |= dict(change.split("=") for change in changes)
    overrides = [f"{key}={value}" for key, value in chosen.items()]
    assert cli.main(["train", "task=time_series", *overrides]) == 2
    assert message in capsys.readouterr().err
