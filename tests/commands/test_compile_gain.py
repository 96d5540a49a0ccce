"""A long run says what compile=true would gain it, and trains on as if nobody had measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from nodebench import cli
from nodebench.commands import compile_gain
from nodebench.commands.compile_gain import compile_advice
from nodebench.config.compose import compose
from nodebench.config.identity import run_folder
from nodebench.models.classifiers import MLP, ODENet
from nodebench.records.jobs import JOBS
from nodebench.training import TrainingSettings, loop

HOUR = 3600.0
ODE_NET = ("experiment=table1_odenet",)


@pytest.fixture(autouse=True)
def with_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine may have none, and compiling takes long: nothing is compiled here."""
    monkeypatch.setattr(compile_gain, "why_eager", lambda *_: None)
    monkeypatch.setattr(compile_gain, "compile_net", lambda net: None)


@pytest.fixture
def races(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many steps of each net were timed; an eager one takes 0.4 s then, a compiled one 0.2 s."""
    return stub_races(monkeypatch, (0.4, 0.2))


def stub_races(monkeypatch: pytest.MonkeyPatch, times: tuple[float, float]) -> list[int]:
    raced: list[int] = []

    def stub(task: Any, nets: Sequence[nn.Module], make: Any, settings: Any, num_steps: int) -> list[float]:
        raced.append(num_steps)
        return list(times)

    monkeypatch.setattr(compile_gain, "raced_steps", stub)
    return raced


def asked(
    overrides: Sequence[str] = ODE_NET,
    *,
    hours: float = 2,
    seconds: float = 0.3,
    net: type[nn.Module] = ODENet,
) -> str | None:
    shown: list[str] = []
    pace: dict[str, Any] = {
        "seconds_a_step": lambda: seconds,
        "seconds_left": lambda: hours * HOUR,
        "pause": shown.append,
    }
    untouched: Any = None  # the race is a stub
    settings = TrainingSettings(num_steps=10)
    advise = compile_advice(compose(overrides), None, untouched, untouched, settings)
    if advise is None:
        return None
    words = advise(net(), SimpleNamespace(**pace))
    assert words is None or shown == ["timing steps with compile=true"]
    return words


def test_the_line_has_the_gain_the_time_and_the_command(races: list[int]) -> None:
    assert asked() == (
        "note      compile=true would make a step 2.0 times as fast (0.2 s instead of 0.4, the least of 5 steps each) "
        "and save about 1:00:00 of the 2:00:00 left: nodebench train optimizer=adamw "
        "experiment=table1_odenet compile=true"
    )
    assert races == [5]


def test_a_short_run_and_a_net_without_an_ode_are_not_measured(races: list[int]) -> None:
    assert asked(hours=0.4) is None
    assert asked(["experiment=table1_mlp"], net=MLP) is None
    assert races == []


def test_measuring_takes_a_hundredth_of_a_run_of_slow_steps(races: list[int]) -> None:
    assert asked(hours=1, seconds=9) is not None
    assert races == [2]


@pytest.mark.parametrize("given", ["compile=true", "compile=false"])
def test_who_says_how_steps_are_taken_is_not_asked_again(given: str, races: list[int]) -> None:
    assert asked([*ODE_NET, given]) is None
    assert races == []


def test_a_run_that_shares_its_machine_is_not_measured(
    monkeypatch: pytest.MonkeyPatch, races: list[int]
) -> None:
    monkeypatch.setenv(JOBS, "2")
    assert asked() is None
    assert races == []


def test_a_gain_that_other_load_explains_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    stub_races(monkeypatch, (0.4, 0.39))
    assert asked() is None


def test_without_a_compiler_or_with_a_broken_one_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch, races: list[int]
) -> None:
    def broken(*_: Any) -> list[float]:
        raise RuntimeError("C++ compile error")

    with monkeypatch.context() as once:
        once.setattr(compile_gain, "why_eager", lambda *_: "no C++ compiler was found")
        assert asked() is None
    assert races == []
    monkeypatch.setattr(compile_gain, "raced_steps", broken)
    assert asked() is None


def test_a_run_that_was_measured_ends_in_the_same_bits(
    smoke: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def weights(*overrides: str) -> list[bytes]:
        assert cli.main(["train", *overrides]) == 0
        checkpoints = run_folder(compose(overrides).config) / "checkpoints"
        last = torch.load(max(checkpoints.glob("step-*.pt")), weights_only=True)
        return [tensor.numpy().tobytes() for tensor in last["model"].values()]

    monkeypatch.setattr(loop, "STEPS_BEFORE_ESTIMATE", 1)
    monkeypatch.setattr(compile_gain, "LEAST_GAIN", 0)
    overrides = (*smoke, "data.augment=affine")
    plain = weights(*overrides, "output_dir=plain")
    assert "would make a step" not in capsys.readouterr().err
    monkeypatch.setattr(compile_gain, "LONG_S", 0)
    assert weights(*overrides, "output_dir=measured") == plain
    assert "compile=true would make a step" in " ".join(capsys.readouterr().err.split())
    assert "compile=true would make a step" in next(Path("measured").glob("**/log.txt")).read_text()
