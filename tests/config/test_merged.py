"""What the shipped files say, merged without Hydra, is what compose says."""

from __future__ import annotations

from typing import Any

import pytest

from nodebench.commands.artefacts import ARTEFACTS
from nodebench.config.compose import compose
from nodebench.config.files import options, shipped_folder
from nodebench.config.merged import merge, sweep_of
from nodebench.config.overrides import parse

EXPERIMENTS = list(options("experiment", (shipped_folder(),)))
OF_ARTEFACTS = {
    tuple(override for override in overrides if not override.startswith("seed="))
    for artefact in ARTEFACTS.values()
    for recipe in artefact.recipes.values()
    for overrides in recipe
}


def merged(overrides: tuple[str, ...]) -> dict[str, Any]:
    return merge({override.key_or_group: override.value() for override in parse(overrides)})


def without_reference(config: dict[str, Any]) -> dict[str, Any]:
    """The place of the data is a reference to the environment in one, and what it refers to in the other."""
    config["data"].pop("root", None)
    return config


@pytest.mark.parametrize(
    "overrides",
    [
        ("experiment=table1_odenet", "model.stem=res", "optimizer.lr=1e-2"),
        ("experiment=fig4_nf", "data=u3", "training=nf_paper", "training.num_steps=7"),
        ("task=density", "data=two_moons", "model=cnf", "solver=rk4", "solver.dt=0.25"),
        ("training=smoke",),
        ("model=mlp", "training=paper", "training.epochs=3"),
        ("model=odenet", "solver.rtol=1e-3", "solver.atol=1e-4", "data.limit_test=null"),
    ],
)
def test_merging_agrees_with_composing(overrides: tuple[str, ...]) -> None:
    assert without_reference(merged(overrides)) == without_reference(compose(overrides).config)


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides", sorted(OF_ARTEFACTS | {(f"experiment={name}",) for name in EXPERIMENTS}), ids=" ".join
)
def test_merging_agrees_with_composing_for_every_experiment(overrides: tuple[str, ...]) -> None:
    assert without_reference(merged(overrides)) == without_reference(compose(overrides).config)


def test_an_experiments_own_sweep_is_the_composed_one() -> None:
    assert sweep_of("fig4_cnf") == compose(["experiment=fig4_cnf"]).sweep
    assert sweep_of("table1_mlp") == {}


def test_a_choice_that_is_not_shipped_has_no_file() -> None:
    with pytest.raises(KeyError):
        merge({"model": "mine"})
