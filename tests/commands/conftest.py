"""Runs of two batches on the embedded digits, each test in a folder of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nodebench.config.compose import compose
from nodebench.config.identity import run_folder
from nodebench.config.saved import config_text

SMOKE = ("data=digits", "training=smoke", "data.batch_size=8", "data.limit_train=64", "solver.tol=1")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def smoke() -> tuple[str, ...]:
    return SMOKE


@pytest.fixture
def leave_run() -> Callable[..., Path]:
    """leave_run(*overrides, epochs=[...], **summary) writes the folder that training would leave, and returns it.

    epochs: a record each, without its number and step. With a status of None there is no summary.
    """

    def leave(*overrides: str, epochs: list[dict[str, Any]] | None = None, **summary: Any) -> Path:
        config = compose(overrides).config
        folder = run_folder(config)
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(config_text(config))
        records = [
            {"kind": "epoch", "epoch": number, "step": 100 * number, "time_epoch_s": 120.0, **record}
            for number, record in enumerate(epochs or [], start=1)
        ]
        (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records))
        if summary.get("status", "") is not None:
            (folder / "summary.json").write_text(json.dumps({"status": "finished", **summary}))
        return folder

    return leave
