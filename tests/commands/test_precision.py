"""`precision=bf16` from the command line to the run folder, on machines with units for it and without."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from nodebench import cli
from nodebench.config.compose import compose
from nodebench.config.identity import hash8, run_folder, what_makes_the_numbers
from nodebench.config.saved import read_config
from nodebench.reporting import find_runs
from nodebench.reporting.circumstances import machine_words
from nodebench.reporting.recipes import differing_keys
from nodebench.reporting.rows import rows_over_seeds
from nodebench.tasks.classification import Batch, Classification

BF16 = "precision=bf16"


@pytest.fixture
def units(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """What this CPU can do, as torch tells it; computing in bfloat16 is possible without units too."""
    found = {"avx512_bf16": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
    return found


def train(*overrides: str) -> Path:
    assert cli.main(["train", *overrides]) == 0
    return run_folder(compose(overrides).config)


def numbers(folder: Path) -> dict[str, Any]:
    summary = json.loads((folder / "summary.json").read_text())
    return {
        name: value for name, value in summary.items() if not name.startswith(("time_", "memory_", "git_"))
    }


@contextmanager
def stopped_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Within, Ctrl-C is pressed in a step, counted from 0."""
    batch = Classification.batch

    def interrupted(self: Classification, current: int) -> Batch:
        if current == step:
            os.kill(os.getpid(), signal.SIGINT)
        return batch(self, current)

    with monkeypatch.context() as once:
        once.setattr(Classification, "batch", interrupted)
        yield


def weights(folder: Path) -> list[bytes]:
    last = torch.load(max((folder / "checkpoints").glob("step-*.pt")), weights_only=True)
    return [tensor.numpy().tobytes() for tensor in last["model"].values()]


def test_a_run_of_before_there_was_a_choice_is_the_run_in_float32(smoke: tuple[str, ...]) -> None:
    config = compose(smoke).config
    before = {key: value for key, value in config.items() if key != "precision"}
    assert hash8(before) == hash8(config) == hash8(compose([*smoke, "precision=float32"]).config)
    assert what_makes_the_numbers(before) == what_makes_the_numbers(config)
    assert hash8(compose([*smoke, BF16]).config) != hash8(config)


def test_the_config_of_a_run_of_before_is_read_and_compared_as_float32(
    tmp_path: Path, leave_run: Any
) -> None:
    old, new = leave_run("model=odenet"), leave_run("model=rknet")
    lines = (old / "config.yaml").read_text().splitlines()
    (old / "config.yaml").write_text("\n".join(line for line in lines if line != "precision: float32"))
    assert read_config(old)["precision"] == "float32"
    runs = [find_runs(folder)[0] for folder in (old, new)]
    assert [run.setting("precision") for run in runs] == ["float32", "float32"]
    assert "precision" not in differing_keys(runs)


def test_what_is_no_precision_and_where_there_is_no_choice_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["train", "data=digits", "precision=fp8"]) == 2
    assert "precision=fp8 is not possible; it must be one of float32, bf16" in capsys.readouterr().err
    for choices in (
        ["task=density", "data=two_moons", "model=cnf"],
        ["task=time_series", "data=spirals", "model=latent_ode"],
    ):
        assert cli.main(["train", *choices, BF16]) == 2
        said = capsys.readouterr().err
        assert f"precision=bf16 is for classifiers; {choices[0]} trains a" in said
        assert said.rstrip().endswith("in float32 alone; drop it")


def test_a_run_in_bf16_has_other_numbers_and_says_so_wherever_it_is_told_of(
    smoke: tuple[str, ...], units: dict[str, bool], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = train(*smoke, BF16)
    assert (
        "precision bf16: the net's convolutions and matrix products while it trains"
        in capsys.readouterr().out
    )
    assert weights(folder) != weights(train(*smoke))
    assert json.loads((folder / "environment.json").read_text())["precision"] == "bf16"
    (run,) = find_runs(folder)
    (row,) = rows_over_seeds([run])
    assert machine_words(row).endswith("precision=bf16")
    assert row.text("precision") == "bf16"
    assert cli.main(["evaluate", str(folder)]) == 0


def test_without_units_a_run_stays_in_float32_and_says_so_in_plan_and_record(
    smoke: tuple[str, ...], units: dict[str, bool], capsys: pytest.CaptureFixture[str]
) -> None:
    units.clear()
    folder = train(*smoke, BF16)
    assert (
        "precision float32: torch sees no bf16 units in this CPU, so the run is in float32"
        in capsys.readouterr().out
    )
    assert json.loads((folder / "environment.json").read_text())["precision"] == "float32"
    (row,) = rows_over_seeds(find_runs(folder))
    assert machine_words(row).endswith("precision=bf16, but float32 on this machine")
    assert weights(folder) == weights(train(*smoke))


@pytest.mark.usefixtures("signals_arrive")
def test_a_run_in_bf16_that_was_stopped_ends_in_the_same_bits(
    smoke: tuple[str, ...], units: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = (*smoke, BF16, "training.num_steps=3")
    unbroken = train(*overrides, "output_dir=unbroken")
    with stopped_at(1, monkeypatch):
        assert cli.main(["train", *overrides]) == 130
    stopped = train(*overrides)
    assert weights(stopped) == weights(unbroken)
    assert numbers(stopped) == numbers(unbroken)


@pytest.mark.usefixtures("signals_arrive")
def test_going_on_where_there_are_no_units_is_said(
    smoke: tuple[str, ...],
    units: dict[str, bool],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    overrides = (*smoke, BF16)
    with stopped_at(0, monkeypatch):
        assert cli.main(["train", *overrides]) == 130
    units.clear()
    train(*overrides)
    assert "precision was 'bf16' and is 'float32'" in capsys.readouterr().err
