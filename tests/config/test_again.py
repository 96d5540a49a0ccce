"""The command that makes a run again composes to the run: the same hash, whatever it was asked for with."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from nodebench.config.again import overrides_of
from nodebench.config.compose import compose
from nodebench.config.errors import ConfigError
from nodebench.config.identity import hash8
from nodebench.reporting import find_runs

RESULTS = Path(__file__).parents[2] / "docs" / "results"


@pytest.mark.parametrize(
    "overrides",
    [
        ("seed=0",),
        ("experiment=table1_odenet", "seed=2"),
        ("experiment=table1_odenet", "model.stem=res", "compile=true", "seed=0"),
        ("experiment=table2_rnn_dt", "data.num_observed=50", "seed=1"),
        ("model=rknet", "solver=rk4", "solver.dt=0.25", "seed=0"),
        ("model=mlp", "training=smoke", "seed=0"),
        ("data=digits", "optimizer=sgd", "optimizer.lr=0.2", "seed=0"),
        ("training.epochs=3", "training.milestones=[1, 2]", "training.schedule=multistep", "seed=0"),
        ("task=density", "data=two_moons", "model=cnf", "training.num_steps=30", "seed=0"),
        ("solver.rtol=0.001", "solver.atol=0.01", "seed=0"),
        ("device=cpu", "num_threads=1", "seed=0"),
        ("solver.max_nfe=500", "solver.max_steps=50", "seed=0"),
    ],
    ids=" ".join,
)
def test_what_a_run_was_asked_for_with_is_found_in_its_config(overrides: tuple[str, ...]) -> None:
    again = overrides_of(compose(overrides).config)
    assert sorted(again.overrides) == sorted(overrides)
    assert again.differences == ()


@pytest.mark.parametrize(
    "overrides",
    [
        ("training=flow", "task=density", "data=two_circles", "model=cnf", "optimizer=adamw"),
        ("training=smoke", "training.epochs=2"),
        ("solver=implicit_adams", "solver.dt=0.05", "solver.tol=null"),
        ("experiment=fig4_nf", "data=u3", "task.anneal_steps=100", "solver=dopri5"),
        ("experiment=digits", "model.gradient=direct", "solver.max_step=0.5", "solver.adjoint.norm=full"),
    ],
    ids=" ".join,
)
def test_the_command_has_the_hash_of_the_run(overrides: tuple[str, ...]) -> None:
    config = compose(overrides).config
    again = overrides_of(config)
    assert hash8(compose(again.overrides).config) == hash8(config)
    assert again.differences == ()


def test_a_key_that_is_no_longer_known_is_named_as_a_difference() -> None:
    config = compose(["model=mlp"]).config
    config["optimizer"]["amsgrad_of_old"] = True
    assert overrides_of(config).differences == ("another key",)


def test_a_choice_of_ones_own_needs_the_folder_that_it_is_in(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    shipped = OmegaConf.create({"_target_": "nodebench.models.classifiers.MLP"})
    (tmp_path / "model" / "mine.yaml").write_text(OmegaConf.to_yaml(shipped))
    config = compose(["model=mine"], tmp_path).config
    with pytest.raises(ConfigError, match=r"model=mine is not among the configs here.* --config-dir"):
        overrides_of(config)
    assert overrides_of(config, tmp_path).overrides == ("model=mine", "seed=0")


def test_every_committed_run_is_made_again_by_its_command() -> None:
    distinct = {run.group: run for run in find_runs(RESULTS)}
    assert len(distinct) > 60
    assert [run.folder for run in distinct.values() if overrides_of(run.config).differences] == []


def test_a_file_of_ones_own_is_named_and_its_content_is_the_runs(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text("x,y\n" + "1,2\n" * 10)
    config = compose(["task=density", "data=points", f"data.path={path}", "model=cnf"]).config
    config["data"]["path"] = path.name  # which is what a run keeps of it
    again = overrides_of(config)
    assert "data.path=points.csv" in again.overrides
    assert again.differences == ()
