"""`nodebench train --dry-run` and `--print-config`: what would be trained, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from torchvision.datasets import utils

from nodebench.cli import main
from nodebench.config.compose import compose
from nodebench.config.identity import hash8, run_folder
from nodebench.training import RunFolder


@pytest.fixture
def tried(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, str]]:
    """tried(override, ...) is what a dry run prints, by the first word of each line; it leaves no file behind."""

    def dry_run(*arguments: str) -> dict[str, str]:
        before = sorted(Path().rglob("*"))
        capsys.readouterr()
        assert main(["train", *arguments, "--dry-run"]) == 0
        assert sorted(Path().rglob("*")) == before
        lines = capsys.readouterr().out.splitlines()
        return {line.split()[0]: " ".join(line.split()[1:]) for line in lines}

    return dry_run


def test_folder_plan_parameters_and_cost_are_told(
    smoke: tuple[str, ...], tried: Callable[..., dict[str, str]]
) -> None:
    told = tried(*smoke)
    assert told["run"] == str(run_folder(compose(smoke).config))
    assert told["status"] == "not trained yet"
    assert told["net"] == "odenet, 208,266 parameters, gradient adjoint"
    assert "2 steps of 8 images" in told["training"]
    assert "of training for 2 steps, at " in told["cost"]
    assert "(1 step tried, nothing kept)" in told["cost"]


def test_an_experiment_says_what_its_runs_cost_as_long_as_they_are_its_own(
    tried: Callable[..., dict[str, str]],
) -> None:
    mlp = ("experiment=digits", "seed=1", "model=mlp")
    assert tried(*mlp[:2])["stated"] == "under 3 minutes on 2 CPU cores"
    assert "stated" not in tried(*mlp)


def test_what_follows_is_said_of_a_run_that_is_there(
    smoke: tuple[str, ...], leave_run: Callable[..., Path], tried: Callable[..., dict[str, str]]
) -> None:
    folder = leave_run(*smoke, epochs=[{"step": 1}], status=None)
    told = tried(*smoke)
    assert told["status"].startswith("unfinished; step 1 of 2")
    assert told["next"] == "trained on, from its last checkpoint"
    assert "of training for 1 step, at " in told["cost"]
    with RunFolder(folder):
        assert "trains it now" in tried(*smoke)["status"]
    (folder / "summary.json").write_text('{"status": "finished"}')
    told = tried(*smoke)
    assert told["next"] == "shown, and not trained again"
    assert "cost" not in told
    assert tried(*smoke, "training.force=true")["next"].startswith("trained anew")


def test_data_that_are_not_here_are_not_downloaded(
    tried: Callable[..., dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(utils, "download_and_extract_archive", lambda *_, **__: pytest.fail("downloaded"))
    told = tried("experiment=table1_odenet", "data.root=nowhere")
    assert told["net"] == "odenet, 208,266 parameters, gradient adjoint"
    assert told["data"].startswith("MNIST is not in `")
    assert told["data"].endswith("training downloads it")
    assert told["cost"] == "not known before the data are here"


def test_steps_that_fail_are_told_now(
    smoke: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["train", *smoke, "solver.max_nfe=3", "--dry-run"]) == 1
    assert "nodebench: the first steps fail: " in capsys.readouterr().err
    assert not Path("outputs").exists()

    def exhausted(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("nodebench.commands.dry_run.seconds_a_step", exhausted)
    assert main(["train", *smoke, "--dry-run"]) == 1
    assert "the first steps fail: out of memory with data.batch_size=8" in capsys.readouterr().err


def test_steps_that_would_be_compiled_are_not_timed(
    smoke: tuple[str, ...], tried: Callable[..., dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodebench.commands.dry_run.seconds_a_step", lambda *_: pytest.fail("it is timed"))
    assert tried(*smoke, "compile=true")["cost"].startswith("not timed: ")


@pytest.mark.parametrize("sweeping", [[], ["-m"]])
def test_what_cannot_be_trained_is_refused_as_by_training(
    sweeping: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *sweeping, "data=digits", "model=cnf", "--dry-run"]) == 2
    assert "task=classification trains " in capsys.readouterr().err
    Path("file").touch()
    if not sweeping:
        assert main(["train", "data=digits", "output_dir=file", "--dry-run"]) == 2
        assert "cannot be written" in capsys.readouterr().err


def test_the_members_of_a_sweep_are_counted_by_how_far_they_are(
    smoke: tuple[str, ...], leave_run: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    leave_run(*smoke, epochs=[{}, {}])
    leave_run(*smoke, "seed=1", status=None)
    sweep = ["train", "-m", *smoke, "seed=0,1,2", "--dry-run"]
    assert main(sweep) == 0
    *members, counts, cost = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in members] == ["done", "unfinished", "missing"]
    assert members[2].split(maxsplit=1)[1] == " ".join(["nodebench train", *smoke, "seed=2"])
    assert counts == "3 runs: 1 done, 1 unfinished, 1 missing"
    assert cost == "cost      about 8 min of training for 2 runs, by the mean of the 1 run that is done"

    assert main([*sweep, "training.force=true"]) == 0
    assert "about 12 min of training for 3 runs" in capsys.readouterr().out
    assert main(["train", "-m", "experiment=fig5_cnf", "seed=0,1", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("experiment=fig5_cnf") == 4
    assert "on one CPU core for 4 runs that are not done" in printed


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("experiment=table1_odenet", "seed=3", "solver.tol=1e-4", "device=cpu"),
        ("model=mlp", "data=digits", "training=smoke", "output_dir='o ut'"),
        ("model=rknet", "solver=rk4", "solver.dt=0.25"),
        ("experiment=table2_rnn_dt", "data.num_observed=50"),
        ("task=density", "data=two_circles", "model=ffjord", "training.num_steps=7"),
    ],
    ids=" ".join,
)
def test_the_printed_config_is_an_experiment_that_composes_to_it(
    overrides: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *overrides, "--print-config"]) == 0
    printed = capsys.readouterr()
    assert yaml.safe_load(printed.out)["seed"] == compose(overrides).config["seed"]
    Path("own/experiment").mkdir(parents=True)
    Path("own/experiment/mine.yaml").write_text(printed.out)
    again = compose(["experiment=mine"], "own").config
    assert again == compose(overrides).config
    assert hash8(again) == hash8(compose(overrides).config)
    assert not Path("outputs").exists()


def test_another_solver_can_be_chosen_beside_a_printed_config(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "model=rknet", "--print-config"]) == 0
    Path("own/experiment").mkdir(parents=True)
    Path("own/experiment/mine.yaml").write_text(capsys.readouterr().out)
    solver = compose(["experiment=mine", "solver=tsit5"], "own").config["solver"]
    assert (solver["name"], solver["method"]) == ("tsit5", "tsit5")


def test_what_has_no_effect_is_said_beside_the_printed_config(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "model=mlp", "solver=rk4", "--print-config"]) == 0
    printed = capsys.readouterr()
    assert printed.err == "note: mlp has no ODE, so what was said about the solver is dropped\n"
    assert "note" not in printed.out


def test_the_config_of_a_sweep_is_not_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "-m", "seed=0,1", "--print-config"]) == 2
    assert "--print-config prints the config of one run; leave out -m" in capsys.readouterr().err
