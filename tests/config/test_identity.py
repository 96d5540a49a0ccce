"""The run folder: the same numbers have the same name however they are asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodebench.config.compose import compose
from nodebench.config.identity import hash8, run_folder, what_makes_the_numbers


def hash_of(*overrides: str) -> str:
    return hash8(compose(overrides).config)


def test_the_folder_reads_task_data_model_solver_tolerance_gradient_and_seed() -> None:
    folder = run_folder(compose(["solver.tol=1e-2", "seed=7", "output_dir=there"]).config)
    group = folder.parent.name
    assert folder == Path("there/classification") / group / "seed7"
    assert group == f"mnist-odenet-dopri5-1e-2-adjoint-{hash_of('solver.tol=1e-2')}"


def test_a_net_without_an_ode_has_no_solver_in_its_name() -> None:
    assert run_folder(compose(["model=mlp"]).config).parent.name == f"mnist-mlp-{hash_of('model=mlp')}"


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        (["solver=rk4", "solver.dt=0.25"], "-rk4-dt0.25-adjoint-"),
        (["solver.tol=2.5e-4"], "-dopri5-2.5e-4-adjoint-"),
        (["solver.tol=1"], "-dopri5-1e0-adjoint-"),
        (["solver.atol=1e-6"], "-dopri5-1e-3_1e-6-adjoint-"),
        (["model=rknet"], "mnist-rknet-dopri5-1e-3-direct-"),
    ],
)
def test_the_solvers_precision_is_in_the_name(overrides: list[str], part: str) -> None:
    assert part in run_folder(compose(overrides).config).parent.name


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([], ["model=odenet", "solver=dopri5", "training=default", "optimizer=adamw"]),
        (["experiment=table1_rknet"], ["model=rknet", "data.val_size=0"]),
        (
            ["experiment=digits"],
            ["data=digits", "data.batch_size=32", "training.epochs=15"],
        ),
        (["solver.tol=1e-4"], ["solver.rtol=1e-4", "solver.atol=1e-4"]),
        (["solver.tol=1"], ["solver.tol=1.0"]),
        (["solver=rk4"], ["solver=dopri5", "solver.method=rk4", "solver.dt=0.1"]),
        (["model=noblock"], ["model=resnet", "model.num_blocks=0"]),
        (["model=resnet"], ["model=resnet", "solver.tol=1e-6"]),
        (["model=rknet"], ["model=odenet", "model.gradient=direct", "solver.adjoint.norm=full"]),
    ],
)
def test_the_same_numbers_asked_for_in_two_ways_have_one_hash(one: list[str], other: list[str]) -> None:
    assert hash_of(*one) == hash_of(*other)


@pytest.mark.parametrize(
    "override",
    [
        "seed=3",
        "device=cpu",
        "data.root=elsewhere",
        "output_dir=elsewhere",
        "training.force=true",
        "training.checkpoint_every_s=1",
    ],
)
def test_what_does_not_change_the_numbers_does_not_change_the_hash(override: str) -> None:
    assert hash_of(override) == hash_of()


@pytest.mark.parametrize(
    "override",
    [
        "model.stem=res",
        "model.gradient=checkpointed",
        "data=kmnist",
        "data.limit_train=1000",
        "data.limit_val=1000",
        "data.limit_test=1000",
        "data.batch_size=32",
        "data.deskew=true",
        "solver=tsit5",
        "solver.tol=1e-4",
        "solver.atol=1e-4",
        "solver.max_step=0.5",
        "solver.adjoint.norm=full",
        "optimizer.lr=1e-3",
        "training.epochs=9",
        "training.ema_decay=null",
        "deterministic=true",
    ],
)
def test_what_changes_the_numbers_changes_the_hash(override: str) -> None:
    assert hash_of(override) != hash_of()


def test_a_key_added_later_with_null_as_default_leaves_the_hash_alone() -> None:
    config = compose().config
    before = hash8(config)
    config["training"]["added_later"] = None
    assert hash8(config) == before


def test_a_run_that_is_not_deskewed_is_the_run_of_before_there_was_deskewing() -> None:
    config = compose(["experiment=table1_mlp"]).config
    assert config["data"]["deskew"] is False
    before = {**config, "data": {key: value for key, value in config["data"].items() if key != "deskew"}}
    assert hash8(before) == hash8(config) == hash_of("experiment=table1_mlp", "data.deskew=false")


@pytest.mark.parametrize("data", ["mnist", "kmnist", "fashion_mnist", "digits"])
def test_a_run_evaluated_on_all_images_is_the_run_of_before_there_were_limits(data: str) -> None:
    config = compose([f"data={data}"]).config
    limits = {key: config["data"].pop(key) for key in ("limit_val", "limit_test")}
    assert limits == {"limit_val": None, "limit_test": None}
    assert hash8(config) == hash_of(f"data={data}")


def test_a_run_with_one_step_size_a_batch_is_the_run_of_before_there_were_others() -> None:
    config = compose().config
    before = {**config, "solver": {key: value for key, value in config["solver"].items() if key != "steps"}}
    assert hash8(config) == hash8(before)
    assert what_makes_the_numbers(config) == what_makes_the_numbers(before)
    assert hash8(compose(["solver.steps=per_sample"]).config) != hash8(config)


def test_other_switches_count_when_they_are_off() -> None:
    config = compose().config
    assert hash8({key: value for key, value in config.items() if key != "deterministic"}) != hash8(config)


def test_a_file_of_points_counts_by_its_content_and_not_by_its_place(tmp_path: Path) -> None:
    def hash_of(name: str, content: str) -> str:
        (tmp_path / name).write_text(content)
        return hash8(
            compose(["task=density", "data=points", "model=cnf", f"data.path={tmp_path / name}"]).config
        )

    assert hash_of("a.csv", "1,2\n3,4\n") == hash_of("moved.csv", "1,2\n3,4\n")
    assert hash_of("a.csv", "1,2\n3,4\n") != hash_of("a.csv", "1,2\n3,5\n")


class TestBudgets:
    """What a solve may cost is not what it computes: docs/decisions/0023."""

    @pytest.mark.parametrize("budget", ["solver.max_nfe=1000", "solver.max_steps=50"])
    def test_a_run_with_another_budget_is_the_same_run(self, budget: str) -> None:
        asked, plain = compose([budget]).config, compose().config
        assert run_folder(asked) == run_folder(plain)
        assert what_makes_the_numbers(asked) == what_makes_the_numbers(plain)

    def test_a_folder_of_before_that_counts_the_budget_is_found_by_it(self, tmp_path: Path) -> None:
        def folder(*budget: str) -> Path:
            return run_folder(compose([f"output_dir={tmp_path}", "seed=3", *budget]).config)

        own = folder()
        # what `solver.max_nfe=1000` was called when budgets counted
        older = own.parent.with_name("mnist-odenet-dopri5-1e-3-adjoint-7858bbd9") / own.name
        older.mkdir(parents=True)
        assert folder("solver.max_nfe=1000") == older
        assert folder("solver.max_nfe=2000") == folder() == own
        own.mkdir(parents=True)
        assert folder("solver.max_nfe=1000") == own
