"""Run folders as training leaves them, written by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from nodebench.records.measures import NAMES, TOLERANCES

OTHERS: dict[str, Any] = {
    "task": {"name": "classification"},
    "training": {"epochs": 8},
    "optimizer": {"name": "adamw", "lr": 0.004},
}
ODENET: dict[str, Any] = {
    "data": {"name": "mnist", "batch_size": 128},
    "model": {"name": "odenet", "stem": "conv", "gradient": "adjoint"},
    "solver": {"method": "dopri5", "tol": 0.001, "rtol": None, "atol": None, "dt": None},
}
MLP: dict[str, Any] = {"data": {"name": "mnist"}, "model": {"name": "mlp"}}
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
        (folder / "config.yaml").write_text(yaml.safe_dump({**OTHERS, **chosen, "seed": seed}))
        (folder / "summary.json").write_text(json.dumps({**FINISHED, **summary}))
        (folder / "environment.json").write_text(json.dumps(environment or {"version": "0.1.0"}))
        (folder / "checkpoints").mkdir()
        return folder

    return write


@pytest.fixture
def write_measures() -> Callable[..., Path]:
    """write_measures(run, ...) writes a run folder's measure.csv: dopri5 at six tolerances, all gradient modes.

    Another library's solver is called `torchdiffeq dopri5`.
    """

    def write(
        run: Path,
        *,
        batches: int = 3,
        solvers: tuple[str, ...] = ("dopri5",),
        gradients: tuple[str, ...] = ("adjoint", "direct", "checkpointed"),
        tolerances: tuple[float, ...] = TOLERANCES,
    ) -> Path:
        lines = [",".join(NAMES)]
        for solver in solvers:
            for gradient in gradients if solver == "dopri5" else ("adjoint",):
                for step, tol in enumerate(tolerances):
                    for batch in range(batches):
                        line = _measured(solver, gradient, step, tol, batch)
                        lines.append(",".join(str(line.get(column, "")) for column in NAMES))
        path = run / "measure.csv"
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


def _measured(name: str, gradient: str, step: int, tol: float, batch: int) -> dict[str, object]:
    *others, solver = name.split()
    library = others[0] if others else "nodebench"
    nfe = 14 + 6 * step + 6 * (batch % 2)
    backward = {"adjoint": nfe - 6, "direct": 0, "checkpointed": nfe - 2}[gradient]
    return {
        **{"library": library, "solver": solver, "tol": tol, "gradient": gradient, "batch": batch},
        **{"nfe_forward": nfe, "nfe_backward": backward if name == "dopri5" else ""},
        **{"error_endpoint": tol / 10, "error_reference": 1e-8, "recon_error": tol},
        **{"time_forward_ms": 2.0 * nfe, "time_backward_ms": 4.0 * nfe},
        "error_gradient": tol / 5 if name == "dopri5" else "",
        "memory_saved_mib": (3 * nfe if gradient == "direct" else 2) if batch == 0 else "",
        "tol_adjoint": tol if gradient == "adjoint" else "",
        "norm_adjoint": "state" if gradient == "adjoint" else "",
    }
