"""Settings without effect: each is named with what makes it void, and nothing that has an effect is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodebench.config.check import check, check_solver
from nodebench.config.compose import compose
from nodebench.config.effect import OF_ADJOINTS, OF_RUNS, OF_SOLVES
from nodebench.config.errors import ConfigError
from nodebench.config.files import NODES, config_folders, flatten, load, options
from nodebench.config.identity import hash8

CNF = ["task=density", "data=two_moons", "model=cnf"]
FFJORD = [*CNF[:2], "model=ffjord"]
RATES = ["task=point_process", "data=event_toy", "model=latent_rate"]
WITHOUT_EFFECT = [
    (
        ["solver=rk4", "solver.tol=1e-3"],
        "solver.tol=0.001 has no effect with solver.method=rk4, solver.dt=0.1",
    ),
    (["solver.dt=0.1", "solver.rtol=1e-3"], "solver.rtol"),
    (["solver=rk4", "solver.atol=1e-3"], "solver.atol"),
    (["solver=rk4", "solver.max_step=0.1"], "solver.max_step"),
    (["solver=rk4", "solver.min_step=0.1"], "solver.min_step"),
    (["solver=rk4", "solver.norm=max_sample"], "solver.norm"),
    (["solver=explicit_adams", "solver.tol=1e-3"], "solver.tol"),
    (["solver=implicit_adams", "solver.first_step=0.1"], "solver.first_step"),
    (["solver=implicit_adams", "solver.controller=pi"], "solver.controller"),
    (
        ["solver=rk4", "solver.steps=per_sample"],
        "solver.steps=per_sample has no effect with solver.method=rk4, solver.dt=0.1; drop it, or choose dopri5",
    ),
    (["solver=vode_adams", "solver.steps=per_sample"], "solver.steps=per_sample has no effect"),
    (["solver=vode_adams", "solver.dt=0.1"], "solver.dt=0.1 has no effect with solver.method=vode_adams"),
    (["solver=vode_adams", "solver.norm=max_sample"], "solver.norm"),
    (["solver=vode_adams", "solver.controller=pid"], "solver.controller"),
    ([*CNF, "solver=lsoda", "model.gradient=adjoint", "solver.min_step=1e-3"], "solver.min_step"),
    (["solver.tol=1e-3", "solver.rtol=1e-4", "solver.atol=1e-5"], "solver.tol"),
    (
        ["model=rknet", "solver.adjoint.method=bosh3"],
        "solver.adjoint.method=bosh3 has no effect with model.gradient=direct",
    ),
    (["model=rknet", "solver.adjoint.rtol=1e-3"], "solver.adjoint.rtol"),
    (["model=rknet", "solver.adjoint.atol=1e-3"], "solver.adjoint.atol"),
    (["model=rknet", "solver.adjoint.norm=full"], "solver.adjoint.norm"),
    (["solver=rk4", "solver.adjoint.norm=full"], "solver.adjoint.norm"),
    (["solver=rk4", "solver.adjoint.atol=1e-3"], "solver.adjoint.atol"),
    (["solver=rk4", "solver.adjoint.rtol=1e-3"], "solver.adjoint.rtol"),
    (["solver=vode_adams", "solver.adjoint.norm=full"], "solver.adjoint.norm"),
    (
        [
            "task=time_series",
            "model=latent_ode",
            "data=spirals",
            "model.encoder=ode_rnn",
            "model.time_input=false",
        ],
        "model.time_input=false has no effect with model.encoder=ode_rnn; drop it, or choose model.encoder=gru",
    ),
    (
        [*RATES, "model.hidden_dim=9"],
        "model.hidden_dim=9 has no effect with model.encoder=none; drop it, or choose model.encoder=rnn",
    ),
    (
        [*RATES, "data.variant=spiral", "data.depth=0.5"],
        "data.depth=0.5 has no effect with data.variant=spiral",
    ),
    ([*RATES, "data.variant=spiral", "data.phase=1.0"], "data.phase"),
    ([*RATES, "data.rho=0.2"], "data.rho=0.2 has no effect with data.variant=sine"),
    ([*RATES, "data.min_radius=0.2"], "data.min_radius"),
    ([*RATES, "data.max_radius=2.0"], "data.max_radius"),
    (["training.milestones=[3]"], "training.milestones=[3] has no effect with training.schedule=one_cycle"),
    (["training.gamma=0.5"], "training.gamma"),
    (
        ["training.schedule=multistep"],
        "training.schedule=multistep has no effect with training.milestones=[]",
    ),
    (
        ["training.schedule=multistep", "training.milestones=[3,8]"],
        "training.milestones=[3, 8] has no effect with training.epochs=8",
    ),
    (["training.schedule=constant", "training.warmup_share=0.5"], "training.warmup_share"),
    (["training.ema_decay=0"], "training.ema_decay=0 has no effect; drop it, or give one above 0"),
    ([*FFJORD, "model.noise=gaussian"], "model.noise=gaussian has no effect with model.divergence=exact"),
    (
        ["optimizer=sgd", "optimizer.nesterov=true", "optimizer.momentum=0"],
        "optimizer.nesterov=true has no effect",
    ),
]


@pytest.mark.parametrize(
    ("overrides", "words"),
    WITHOUT_EFFECT,
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_setting_that_changes_nothing_is_named(overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match="has no effect") as caught:
        check(compose(overrides).config)
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)


def test_every_row_of_the_table_is_tried_above() -> None:
    keys = {key for effect in (*OF_SOLVES, *OF_ADJOINTS, *OF_RUNS) for key in effect.keys}
    tried = {words.split("=")[0].split(" ")[0] for _, words in WITHOUT_EFFECT}
    assert tried == keys


@pytest.mark.parametrize(
    "overrides",
    [
        ["solver=implicit_adams", "solver.tol=1e-2", "solver.norm=max_sample", "solver.adjoint.rtol=1e-2"],
        ["solver=rk4", "solver.adjoint.method=implicit_adams", "solver.adjoint.rtol=1e-2"],
        ["solver=vode_adams", "solver.max_step=0.5", "solver.min_step=1e-3", "solver.adjoint.rtol=1e-2"],
        ["solver.controller=pi", "solver.first_step=0.1", "solver.adjoint.norm=full", "solver.max_steps=50"],
        ["training.schedule=multistep", "training.milestones=[3]", "training.gamma=0.5"],
        ["training.warmup_share=0.1", "training.ema_decay=0.9", "compile=true", "model=resnet"],
        ["training=paper", "training.gamma=0.5", "optimizer.nesterov=true"],
        [*FFJORD, "model.divergence=hutchinson", "model.noise=gaussian", "compile=true"],
        # What a shipped preset brings and another choice makes void was given by nobody.
        ["training=paper", "training.schedule=constant"],
        ["training=paper", "training.epochs=20"],
        # As good as not given: the folder is the same.
        ["training.gamma=0.1", "training.warmup_share=0.25", "solver=rk4", "solver.controller=integral"],
        ["model=rknet", "solver.adjoint.norm=state"],
    ],
    ids=" ".join,
)
def test_what_has_an_effect_or_was_not_given_passes(overrides: list[str]) -> None:
    check(compose(overrides).config)


def test_a_value_as_if_not_given_makes_no_other_run() -> None:
    assert hash8(compose(["training.gamma=0.1"]).config) == hash8(compose().config)


@pytest.mark.parametrize("group", ["experiment", "training"])
def test_settings_of_ones_own_files_are_checked_too(tmp_path: Path, group: str) -> None:
    (tmp_path / group).mkdir()
    text = "# @package _global_\ntraining: {epochs: 2, schedule: constant, milestones: [1]}\n"
    (tmp_path / group / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"training\.milestones=\[1\] has no effect"):
        check(compose([f"{group}=mine"], tmp_path).config)


def test_a_trained_net_is_evaluated_with_settings_of_the_solver_that_have_an_effect() -> None:
    solver = compose(["solver=rk4"]).config["solver"]
    check_solver(solver, gradient=None)
    with pytest.raises(ConfigError, match=r"solver\.first_step=0\.1 has no effect"):
        check_solver({**solver, "first_step": 0.1}, gradient=None)


def test_every_row_names_keys_that_there_are() -> None:
    folders = config_folders()
    known = {key for key, _ in flatten(load(folders[0] / "train.yaml"))} | {
        f"{key}"
        for group in NODES
        for path in options(group, folders).values()
        for key, _ in flatten(load(path), f"{group}.")
    }
    for effect in (*OF_SOLVES, *OF_ADJOINTS, *OF_RUNS):
        assert {*effect.keys, *effect.beside} <= known
