"""Run folders as training leaves them, written by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ODENET = {
    "data": {"name": "mnist", "batch_size": 128},
    "model": {"name": "odenet", "stem": "conv", "gradient": "adjoint"},
    "solver": {"method": "dopri5", "tol": 0.001, "rtol": None, "atol": None, "dt": None},
    "training": {"epochs": 8},
}
MLP = {"data": {"name": "mnist"}, "model": {"name": "mlp"}, "training": {"epochs": 8}}
FINISHED = {
    "status": "finished",
    "error_test": 0.5,
    "num_params": 208266,
    "memory_saved_mib": 12.25,
    "memory_peak_mib": 99.5,
    "nfe_forward": 20.0,
    "nfe_backward": 14.0,
    "time_step_ms": 317.04,
    "recon_error": 2e-4,
    "recon_ok": True,
}


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[..., Path]:
    """write_run(name, seed, **summary) writes outputs/classification/<name>/seed<seed> and returns it."""

    def write(
        name: str = "mnist-odenet-dopri5-1e-3-adjoint-0a1b2c3d",
        seed: int = 0,
        *,
        config: dict[str, Any] | None = None,
        environment: dict[str, Any] | None = None,
        root: Path = tmp_path / "outputs" / "classification",
        **summary: Any,
    ) -> Path:
        folder = root / name / f"seed{seed}"
        folder.mkdir(parents=True)
        chosen = (MLP if "-mlp-" in name else ODENET) if config is None else config
        (folder / "config.yaml").write_text(yaml.safe_dump({**chosen, "seed": seed}))
        (folder / "summary.json").write_text(json.dumps({**FINISHED, **summary}))
        (folder / "environment.json").write_text(json.dumps(environment or {"version": "0.1.0"}))
        (folder / "checkpoints").mkdir()
        return folder

    return write
