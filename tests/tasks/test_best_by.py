"""What each task chooses its best weights by is a number of its validation split."""

from __future__ import annotations

import pytest

from nodebench.commands.session import assemble
from nodebench.config.compose import compose

SMALL = {
    "error_val": ("data=digits", "model=mlp"),
    "nll_val": ("task=density", "data=two_circles", "model=planar_nf", "model.num_layers=2"),
    "kl_val": ("task=density_matching", "data=u1", "model=planar_nf", "model.num_layers=2"),
    "rmse_val": ("task=time_series", "data=spirals", "model=rnn", "data.num_train=20", "data.num_test=20"),
    "nll_event_val": ("task=point_process", "data=event_toy", "model=latent_rate", "data.num_train=20"),
}


@pytest.mark.parametrize("column", SMALL)
def test_the_best_weights_are_told_by_a_column_of_the_validation_split(column: str) -> None:
    session = assemble(compose(SMALL[column]).config)
    assert getattr(session.task, "best_by", None) == column
    assert column in session.task.evaluate(session.model.eval(), "val")


def test_without_images_held_out_no_weights_are_the_best() -> None:
    session = assemble(compose((*SMALL["error_val"], "data.val_size=0")).config)
    assert getattr(session.task, "best_by", "") is None
