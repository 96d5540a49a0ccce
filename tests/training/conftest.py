"""The toy run as a fixture, because test folders are no packages and a child process runs the same file."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from tensorboard.summary.writer import event_file_writer


@pytest.fixture(autouse=True)
def with_signals(signals_arrive: None) -> None:
    """These tests send them to themselves."""


@pytest.fixture(autouse=True)
def with_event_files_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Event files of one second are told apart by a counter, and read in the order of their names: 10 before 9."""
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(1000))


@pytest.fixture(scope="session")
def toy() -> ModuleType:
    name = "nodebench_toy_run"
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("toy_run.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def unbroken(toy: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a toy run that was never stopped."""
    path = tmp_path_factory.mktemp("unbroken") / "run"
    assert toy.toy_run(path).status == "finished"
    return path


@pytest.fixture
def assert_same_numbers() -> Callable[[Path, Path], None]:
    """Two finished folders agree bit for bit in weights and in every column but time and memory."""

    def check(path: Path, other: Path) -> None:
        assert _numbers(path) == _numbers(other)
        state, other_state = _last_checkpoint(path), _last_checkpoint(other)
        for part in ("model", "averaged", "optimizer"):
            assert _bits(state[part]) == _bits(other_state[part])
        assert _bits(state["rng"]) == _bits(other_state["rng"])
        best, other_best = (
            torch.load(each / "checkpoints" / "best.pt", weights_only=True) for each in (path, other)
        )
        assert (best["step"], _bits(best["model"])) == (other_best["step"], _bits(other_best["model"]))

    return check


def _numbers(path: Path) -> list[dict[str, Any]]:
    lines = (path / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in [*lines, (path / "summary.json").read_text()]]
    # Somebody may commit to the checkout between two runs.
    not_numbers = ("time_", "memory_", "git_", "mixed_versions")
    return [
        {name: value for name, value in record.items() if not name.startswith(not_numbers)}
        for record in records
    ]


def _last_checkpoint(path: Path) -> dict[str, Any]:
    return torch.load(max((path / "checkpoints").iterdir()), weights_only=True)


def _bits(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return (value.shape, value.dtype, value.numpy().tobytes())
    if isinstance(value, dict):
        return {name: _bits(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_bits(entry) for entry in value]
    return value
