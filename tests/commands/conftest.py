"""Runs of two batches on the embedded digits, each test in a folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

SMOKE = ("data=digits", "training=smoke", "data.batch_size=8", "data.limit_train=64", "solver.tol=1")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def smoke() -> tuple[str, ...]:
    return SMOKE
