"""A kind of data, a task and a net that nodebench has not heard of are a module and three configs of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nodebench import cli

MODULE = """
from contextlib import nullcontext
from dataclasses import dataclass
import torch
from torch import nn
from nodebench.training import StepOutput
from nodebench.training.protocols import show_nothing

@dataclass(frozen=True)
class Series:
    values: torch.Tensor
    batch_size: int = 4
    name = "ramps"
    kind = "series of numbers"
    example = "ramps"
    dim = 1
    notes = ("a ramp is a line",)

    def describe(self): return f"{len(self.values)} series"
    def check(self): pass
    def test_columns(self): return {"num_series": len(self.values)}

@dataclass(frozen=True)
class Nameless(Series):
    def __getattribute__(self, key):
        if key == "notes": raise AttributeError(key)
        return super().__getattribute__(key)

def ramps(num: int = 8) -> Series:
    return Series(torch.arange(num)[:, None] * torch.linspace(0, 1, 5))

def without_notes() -> Nameless:
    return Nameless(torch.zeros(8, 5))

class Predictor(nn.Module):
    net_kind = "predictor"
    def __init__(self, dim):
        super().__init__()
        self.next = nn.Linear(dim, dim)
    def forward(self, values): return self.next(values[..., None])[..., 0]

class Forecast:
    name = "forecast"
    data_type = Series
    model_type = Predictor
    net_kind = "predictor"
    has_epochs = False
    sample_unit = "series"
    steps_per_epoch = 1

    def __init__(self, data, seed, device): self.data = data
    @classmethod
    def misfit(cls, data, net): return ("nothing in it", "something") if not len(data.values) else None
    def batch(self, step): return self.data.values[: self.data.batch_size]
    def loss(self, module, batch):
        loss = (module(batch[:, :-1]) - batch[:, 1:]).square().mean()
        return StepOutput(loss, len(batch))
    def counting(self, module): return nullcontext(lambda: None)
    def evaluate(self, module, split, progress=show_nothing):
        with torch.no_grad():
            return {f"error_{split}": float(self.loss(module, self.data.values).loss)}
    def final_metrics(self, module): return {"num_params": 2}
    def pictures(self, module, is_final): return {}

class Unfinished:
    data_type, model_type, net_kind, has_epochs = Series, nn.Module, "predictor", False
"""
CONFIGS = {
    "data/ramps.yaml": "# lines\n_target_: series_of_the_test.ramps\nnum: 8\n",
    "data/without_notes.yaml": "# lines\n_target_: series_of_the_test.without_notes\n",
    "model/predictor.yaml": "# a line\n_target_: series_of_the_test.Predictor\n",
    **{
        f"task/{name}.yaml": f"# what comes next\n_target_: series_of_the_test.{target}\n"
        "recommended: {training: flow, optimizer: adam, solver: {tol: 1e-3}}\n"
        for name, target in {"forecast": "Forecast", "unfinished": "Unfinished"}.items()
    },
}
CHOICES = {"task": "forecast", "data": "ramps", "model": "predictor", "training.num_steps": "2"}


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "series_of_the_test.py").write_text(MODULE)
    for name, content in CONFIGS.items():
        path = tmp_path / "own" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    monkeypatch.syspath_prepend(tmp_path)


def train(**changes: str) -> int:
    choices = CHOICES | {key.replace("__", "."): value for key, value in changes.items()}
    overrides = (f"{key}={value}" for key, value in choices.items())
    return cli.main(["train", *overrides, "--config-dir", "own"])


def test_they_are_trained_and_evaluated(capsys: pytest.CaptureFixture[str]) -> None:
    assert train() == 0
    printed = capsys.readouterr().out
    assert "data      ramps: 8 series\nnote      a ramp is a line\n" in printed
    assert "2 steps of 4 series" in printed
    (config,) = Path("outputs/forecast").rglob("config.yaml")
    assert json.loads((config.parent / "summary.json").read_text())["step"] == 2

    assert cli.main(["evaluate", str(config.parent), "--config-dir", "own"]) == 0
    assert json.loads((config.parent / "evaluations.jsonl").read_text())["num_series"] == 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"data": "digits"},
            "task=forecast learns from series of numbers (such as data=ramps), not from images, which data=digits",
        ),
        (
            {"task": "classification", "model": "mlp", "training": "smoke"},
            "task=classification learns from images (such as data=mnist), not from series of numbers",
        ),
        ({"model": "mlp"}, "task=forecast trains a predictor, and model=mlp is no predictor"),
        (
            {"task": "classification", "data": "digits", "training": "smoke"},
            "task=classification trains a classifier, and model=predictor is a predictor",
        ),
        ({"training__milestones": "[1]", "training__schedule": "multistep"}, "training.milestones means nothing"),
        ({"data__num": "0"}, "data=ramps has nothing in it, and model=predictor has something"),
        ({"data": "without_notes"}, "it returned a Nameless without notes"),
        ({"task": "unfinished"}, "is no task (a class with data_type, model_type, net_kind, has_epochs, misfit, ba"),
    ],
)  # fmt: skip
def test_what_does_not_fit_them_is_said_in_their_own_words(
    changes: dict[str, str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(**changes) == 2
    assert message in capsys.readouterr().err
