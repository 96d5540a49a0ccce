"""Ranges and impossible combinations, each one sentence."""

from __future__ import annotations

import re

import pytest

from nodebench.config.check import check
from nodebench.config.compose import compose
from nodebench.config.errors import ConfigError
from nodebench.config.files import config_folders, description, options
from nodebench.ode.methods.tableau import ButcherTableau
from nodebench.ode.methods.tableaus import load_tableaus
from nodebench.ode.methods.traits import known_methods

SHIPPED = config_folders()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["solver.tol=0"], "solver.tol=0 is not possible; it must be a number from 1e-15 to 1e6"),
        (["solver.tol=-1e-3"], "solver.tol=-0.001 is not possible"),
        (["solver.tol=nan"], "solver.tol=nan is not possible"),
        (["solver.rtol=inf"], "solver.rtol=inf is not possible"),
        (["solver.tol=small"], "solver.tol=small is not possible"),
        (["solver.adjoint.atol=0"], "solver.adjoint.atol=0 is not possible"),
        (["solver.adjoint.norm=l2"], "must be one of full, joint, seminorm, state"),
        (["solver.max_steps=0"], "solver.max_steps=0 is not possible"),
        (["solver=rk4", "solver.dt=0"], "solver.dt=0 is not possible"),
        (["solver=rk4", "solver.dt=null"], "rk4 has no error estimate"),
        (["solver=explicit_adams", "solver.dt=null"], "explicit_adams steps on a grid and needs a step size"),
        (["solver.min_step=0.5", "solver.max_step=0.1"], "solver.min_step=0.5 is above solver.max_step=0.1"),
        (["solver=vode_adams", "model=rknet"], "model.gradient=direct needs the solver's own steps"),
        (
            ["solver=lsoda", "model.gradient=checkpointed"],
            "model.gradient=checkpointed needs the solver's own",
        ),
        (["solver=explicit_adams", "model.gradient=checkpointed"], "which explicit_adams cannot"),
        (["solver.adjoint.method=rk4"], "rk4 has no error estimate"),
        (["solver.adjoint.method=explicit_adams"], "explicit_adams has no error estimate"),
        (["solver.norm=l2"], "must be one of rms, max_sample"),
        (["solver.method=dopri6"], "unknown solver.method `dopri6`. Did you mean `dopri"),
        (["solver.adjoint.method=dorpi5"], "unknown solver.adjoint.method `dorpi5`. Did you mean `dopri5`?"),
        (["model.gradient=autograd"], "must be one of direct, checkpointed, adjoint"),
        (["training.epochs=0"], "training.epochs=0 is not possible"),
        (["training.num_steps=0"], "training.num_steps=0 is not possible"),
        (["training.epochs=1.5"], "training.epochs=1.5 is not possible"),
        (["training.epochs=null"], "both null"),
        (["training.ema_decay=1"], "training.ema_decay=1 is not possible"),
        (["training.force=1"], "training.force=1 is not possible; it must be true or false"),
        (["optimizer.lr=-1"], "optimizer.lr=-1 is not possible"),
        (
            ["optimizer.betas=0.9"],
            "optimizer.betas=0.9 is not possible; it must be a list of 2 to 10, each a number",
        ),
        (["optimizer.betas=[0.9]"], "optimizer.betas=[0.9] is not possible"),
        (["optimizer.betas=[0.9,1]"], "optimizer.betas=[0.9, 1] is not possible"),
        (["optimizer=sgd", "optimizer.nesterov=yes"], "optimizer.nesterov=yes is not possible"),
        (["training.milestones=5"], "training.milestones=5 is not possible; it must be a list"),
        (["training.milestones=[1.5]"], "training.milestones=[1.5] is not possible"),
        (["data.root=null"], "data.root=null is not possible; it must be the name of a folder"),
        (["data.root=5"], "data.root=5 is not possible; it must be the name of a folder"),
        (["data.batch_size=0"], "data.batch_size=0 is not possible"),
        (["data.val_size=-1"], "data.val_size=-1 is not possible"),
        (["data.deskew=1"], "data.deskew=1 is not possible; it must be true or false"),
        (["data.deskew=null"], "data.deskew=null is not possible; it must be true or false"),
        (["data.augment=flip"], "must be one of none, shift, affine"),
        (["seed=-1"], "seed=-1 is not possible"),
        (["seed=1.5"], "seed=1.5 is not possible"),
        (["seed=null"], "seed=null is not possible"),
        (["device=gpu"], "must be one of auto, cpu, cuda, mps"),
    ],
)
def test_an_impossible_value_or_combination_is_one_sentence(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(compose(overrides).config)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_cuda_without_a_device_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match="torch sees no CUDA device; use device=auto or device=cpu"):
        check(compose(["device=cuda"]).config)


def test_there_is_a_solver_file_for_every_method_and_a_method_for_every_file() -> None:
    assert set(options("solver", SHIPPED)) == set(known_methods())


def test_a_tableau_file_that_cannot_be_used_is_the_users_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> dict[str, ButcherTableau]:
        raise ValueError("the tableau file `mine` cannot be imported")

    monkeypatch.setattr("nodebench.ode.methods.traits.load_tableaus", refuse)
    with pytest.raises(ConfigError, match="the tableau file `mine` cannot be imported"):
        check(compose(["model=odenet"]).config)


def test_solver_files_describe_their_tableaus() -> None:
    for name, tableau in load_tableaus().items():
        text = description(options("solver", SHIPPED)[name])
        stages = f"{tableau.num_stages} stage{'s' if tableau.num_stages > 1 else ''}"
        steps = "adaptive" if tableau.has_error_estimate else "fixed step"
        assert text.endswith(f": order {tableau.order}, {stages}, {steps}"), name


def test_a_file_of_points_is_named_by_its_path() -> None:
    with pytest.raises(ConfigError, match=r"data\.path=5 is not possible"):
        check(compose(["task=density", "data=points", "data.path=5", "model=cnf"]).config)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["solver.norm=max_sample"], "solver.norm=max_sample is a norm of the batch"),
        (["solver.adjoint.norm=full"], "solver.adjoint.norm=full counts the parameters' integrals"),
    ],
)
def test_norms_of_a_batch_do_not_go_with_a_step_size_a_sample(overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        check(compose(["solver.steps=per_sample", *overrides]).config)
    check(compose(["solver.steps=per_sample"]).config)
