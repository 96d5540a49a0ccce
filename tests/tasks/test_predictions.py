"""What is said of each sample adds up to what `evaluate` says of all."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest
import torch

from nodebench.commands.predictions import predictions
from nodebench.commands.session import Session, assemble
from nodebench.config.compose import compose
from nodebench.config.errors import ConfigError, FailedError

IMAGES = ("data=digits", "model=mlp", "data.limit_test=60")
SERIES = ("task=time_series", "data=spirals", "model=latent_ode", "data.num_train=20", "data.num_test=8")
EVENTS = ("task=point_process", "data=event_toy", "model=latent_rate", "data.num_train=20", "data.num_test=6")
FLOW = ("model=planar_nf", "model.num_layers=2")


def both(*overrides: str) -> tuple[Session, pd.DataFrame, dict[str, Any]]:
    session = assemble(compose(overrides).config)
    session.model.eval()
    return session, predictions(session), dict(session.task.evaluate(session.model, "test"))


def test_a_classifiers_rows_are_images_whose_mistakes_are_the_error() -> None:
    session, rows, scores = both(*IMAGES)
    assert list(rows) == ["image", "label", "predicted", "probability", "nll"]
    assert list(rows.image) == list(range(60))
    assert 100 * (rows.label != rows.predicted).mean() == pytest.approx(scores["error_test"])
    images = session.data.test  # type: ignore[attr-defined]
    with torch.no_grad():
        logits = session.model(images.images.float() / 255)
    assert list(rows.label) == images.labels.tolist()
    assert rows.nll.mean() == pytest.approx(
        float(torch.nn.functional.cross_entropy(logits, images.labels)), rel=1e-5
    )
    assert rows.probability.tolist() == pytest.approx(logits.softmax(1).amax(1).tolist(), rel=1e-5)


def test_a_flows_rows_are_the_points_with_their_log_density() -> None:
    _, rows, scores = both("task=density", "data=two_circles", *FLOW)
    assert list(rows) == ["x1", "x2", "log_prob"]
    assert -rows.log_prob.mean() == pytest.approx(scores["nll"], rel=1e-5)


def test_a_matched_flows_rows_are_samples_whose_log_densities_differ_by_the_kl() -> None:
    _, rows, scores = both("task=density_matching", "data=u1", *FLOW)
    assert list(rows) == ["z1", "z2", "log_q", "log_p"]
    assert (rows.log_q - rows.log_p).astype(float).mean() == pytest.approx(scores["kl"], rel=1e-4)


def test_the_rows_of_series_have_errors_that_pool_to_the_rmse() -> None:
    _, rows, scores = both(*SERIES)
    assert list(rows) == ["series", "num_asked", "rmse", "num_scalars", "nll_scalar", "elbo"]
    pooled = math.sqrt((rows.num_asked * rows.rmse**2).sum() / rows.num_asked.sum())
    assert pooled == pytest.approx(scores["rmse"], rel=1e-5)
    elbo = (rows.elbo * rows.num_scalars).sum() / rows.num_scalars.sum()
    assert elbo == pytest.approx(scores["elbo"], rel=1e-4)


def test_the_rows_of_events_have_likelihoods_that_add_up() -> None:
    _, rows, scores = both(*EVENTS)
    assert list(rows)[:3] == ["sequence", "num_events", "nll"]
    assert rows.nll.sum() / rows.num_events.sum() == pytest.approx(scores["nll_event"], rel=1e-5)


def test_a_split_that_was_not_held_out_has_no_rows() -> None:
    session = assemble(compose((*IMAGES, "data.val_size=0")).config)
    assert len(predictions(session, "val")) == 0


def test_a_net_that_gives_nan_has_no_predictions() -> None:
    session = assemble(compose(IMAGES).config)
    with torch.no_grad():
        next(session.model.parameters()).fill_(math.nan)
    with pytest.raises(FailedError, match="NaN or infinity"):
        predictions(session)


def test_a_task_of_ones_own_without_predictions_is_told_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = assemble(compose(IMAGES).config)
    monkeypatch.delattr(type(session.task), "predictions")
    with pytest.raises(ConfigError, match="task=classification has no `predictions`"):
        predictions(session)
