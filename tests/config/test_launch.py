"""Sweeps: expansion into members, and Hydra's launcher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra.core.plugins import Plugins

from nodebench.config import launch as launch_module
from nodebench.config.errors import ConfigError, FailedError
from nodebench.config.launch import check_launcher, combinations, expand, launch, override_text
from nodebench.config.overrides import parse


def test_a_sweep_is_every_combination_with_the_last_key_fastest() -> None:
    members, launcher = expand(["model=odenet,rknet", "solver.tol=1e-1,1e-2", "seed=3"])
    assert members == [
        ["model=odenet", "solver.tol=0.1", "seed=3"],
        ["model=odenet", "solver.tol=0.01", "seed=3"],
        ["model=rknet", "solver.tol=0.1", "seed=3"],
        ["model=rknet", "solver.tol=0.01", "seed=3"],
    ]
    assert launcher == []


def test_ranges_are_expanded() -> None:
    assert expand(["seed=range(0,3)"])[0] == [["seed=0"], ["seed=1"], ["seed=2"]]


def test_the_launchers_settings_are_kept_apart() -> None:
    members, launcher = expand(["seed=0,1", "hydra/launcher=basic"])
    assert members == [["seed=0"], ["seed=1"]]
    assert launcher == ["hydra/launcher=basic"]


@pytest.mark.parametrize("override", ["hydra.sweep.dir=x", "hydra/sweeper=optuna", "hydra.nonsense=1"])
def test_other_settings_of_hydra_are_refused(override: str) -> None:
    with pytest.raises(ConfigError, match="of Hydra's own settings, sweeps take hydra/launcher alone"):
        expand([override])


def test_an_interval_is_no_list_of_values() -> None:
    with pytest.raises(ConfigError, match=r"write key=a,b"):
        expand(["optimizer.lr=interval(0,1)"])


def test_an_experiments_sweep_is_every_combination_with_the_last_key_fastest() -> None:
    assert combinations({"data": ["u1", "u3"], "model.width": [2, 4], "seed": [0]}) == [
        ["data=u1", "model.width=2", "seed=0"],
        ["data=u1", "model.width=4", "seed=0"],
        ["data=u3", "model.width=2", "seed=0"],
        ["data=u3", "model.width=4", "seed=0"],
    ]
    assert combinations({}) == [[]]


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, False, 3, -1, 0.5, 1e-5, float("inf")),
        *("u1", "docs/results/fig4/runs", "/tmp/x-1.y", "~/runs", "some runs", "a,b", "it's", "a=b", "[1]"),
        *("3", "1e-3", "true", "null", "inf", "", " x", "x(y", "range(1,3)", '"quoted"', "back\\slash\\"),
    ],
)
def test_a_value_is_spelled_as_hydra_reads_it_back(value: Any) -> None:
    (override,) = parse([override_text("data.root", value)])
    assert not override.is_sweep_override()
    assert (type(override.value()), override.value()) == (type(value), value)


def test_only_what_must_be_quoted_is_quoted() -> None:
    assert override_text("data", "u1") == "data=u1"
    assert override_text("output_dir", "docs/results") == "output_dir=docs/results"
    assert override_text("output_dir", "it's") == r"output_dir='it\'s'"


@pytest.mark.parametrize("settings", [[], ["hydra/launcher=basic"]])
def test_every_member_is_launched_in_order_and_its_result_returned(settings: list[str]) -> None:
    seen = []

    def run_member(overrides: list[str]) -> str:
        seen.append(overrides)
        return overrides[-1]

    members = [["training=smoke", "training.epochs=1", f"seed={seed}"] for seed in range(2)]
    assert launch([["optimizer=sgd", *member] for member in members], run_member, settings) == [
        "seed=0",
        "seed=1",
    ]
    assert [overrides[1:] for overrides in seen] == members


def test_a_member_that_raises_returns_its_error_and_the_others_run() -> None:
    def run_member(overrides: list[str]) -> int:
        return 1 // int(overrides[0].removeprefix("seed="))

    first, second = launch([["seed=0"], ["seed=1"]], run_member)
    assert isinstance(first, ZeroDivisionError)
    assert second == 1


def test_ctrl_c_stops_the_launch() -> None:
    def run_member(overrides: list[str]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        launch([["seed=0"], ["seed=1"]], run_member)


def test_a_launcher_that_is_not_installed_is_a_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert launch_module.INSTALLED_WITH["submitit_slurm"] == "nodebench[submitit]"
    monkeypatch.setitem(launch_module.INSTALLED_WITH, "none_such", "nodebench[submitit]")
    with pytest.raises(ConfigError) as caught:
        launch([["seed=0"]], len, ["hydra/launcher=none_such"])
    assert str(caught.value) == (
        "hydra/launcher=none_such is not installed; pip install 'nodebench[submitit]' installs it"
    )


def test_a_misspelt_launcher_is_named_with_the_nearest() -> None:
    with pytest.raises(
        ConfigError, match=r"unknown hydra/launcher `submitit_slrm`\. Did you mean `submitit_slurm`"
    ):
        launch([["seed=0"]], len, ["hydra/launcher=submitit_slrm"])


def test_a_key_given_twice_is_no_sweep_over_the_last() -> None:
    with pytest.raises(ConfigError, match="`seed=0,1` and `seed=2` give one key twice"):
        expand(["seed=0,1", "seed=2"])


def test_a_glob_stands_for_the_choices_that_it_matches(tmp_path: Path) -> None:
    (tmp_path / "solver").mkdir()
    (tmp_path / "solver" / "heun_mine.yaml").write_text("method: heun\ndt: 0.5\n")
    members, _ = expand(["solver=glob(heun*,exclude=heun3)", "seed=0"], tmp_path)
    assert members == [["solver=heun", "seed=0"], ["solver=heun_mine", "seed=0"]]


@pytest.mark.parametrize(
    "overrides", [["seed=range(0,1000000000000)"], ["seed=range(0,200)", "optimizer.lr=range(1,60)"]]
)
def test_a_sweep_that_would_take_for_ever_to_check_is_refused_at_once(overrides: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"^`seed=range.*` is a sweep of over 10,000 runs"):
        expand(overrides)


@pytest.mark.parametrize("override", ["optimizer=glob(zz*)", "seed=glob(*)", "seed=range(3,3)"])
def test_a_list_of_no_values_is_no_sweep(override: str) -> None:
    with pytest.raises(ConfigError) as caught:
        expand([override])
    assert str(caught.value).startswith(f"`{override}` lists no values")


def test_a_misspelt_setting_of_a_launcher_is_named_and_not_the_launcher() -> None:
    with pytest.raises(ConfigError, match=r"hydra/launcher=basic has no setting `hydra\.launcher\.tiemout`"):
        launch([["seed=0"]], len, ["hydra.launcher.tiemout=3"])


@pytest.mark.parametrize(("asked", "number"), [("2", "2"), ("-1", "N"), ("0", "N"), ("true", "N")])
def test_joblibs_number_of_jobs_without_joblib_is_answered_by_jobs(asked: str, number: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_launcher([f"hydra.launcher.n_jobs={asked}"])
    assert str(caught.value) == (
        "hydra/launcher=basic has no setting `hydra.launcher.n_jobs`; "
        f"--jobs {number} runs so many members at a time"
    )


def test_a_launcher_that_fails_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        def launch(self, members: object, initial_job_idx: int) -> None:
            raise RuntimeError("Could not detect srun,\nare you indeed on a slurm cluster?")

    monkeypatch.setattr(Plugins, "instantiate_launcher", lambda *_, **__: Failing())
    with pytest.raises(FailedError) as caught:
        launch([["seed=0"]], len)
    assert str(caught.value) == (
        "hydra/launcher=basic failed: Could not detect srun, are you indeed on a slurm cluster?"
    )
