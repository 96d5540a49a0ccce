"""Run folders as training leaves them, written by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
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


@pytest.fixture
def series_run(write_run: Callable[..., Path]) -> Callable[..., Path]:
    """series_run(model, num_observed, seed, ...) writes a run of time series with its pictures and returns it.

    shown: arrays of its pictures.npz in place of the usual ones; None in place of one leaves it out.
    """

    def write(
        model: str = "latent_ode",
        num_observed: int = 30,
        seed: int = 0,
        *,
        data: str = "spirals",
        hash8: str = "",
        config: dict[str, dict[str, Any]] | None = None,
        shown: dict[str, Any] | None = None,
        **summary: Any,
    ) -> Path:
        settings: dict[str, Any] = {
            "task": {"name": "time_series"},
            "data": {"name": data, "num_observed": num_observed, "num_points": 100, "batch_size": 256},
            "model": {"name": model},
            "training": {"name": "series", "num_steps": 2000},
            "optimizer": {"name": "adam", "lr": 0.01},
        }
        if model == "latent_ode":
            settings["solver"] = {"method": "dopri5", "tol": 1e-5}
        for node, values in (config or {}).items():
            settings[node] = {**settings.get(node, {}), **values}
        digest = hash8 or f"{len(model):02x}{num_observed:06x}"
        folder = write_run(
            f"{data}-{model}-{digest}",
            seed,
            config=settings,
            **{"error_test": None, "rmse": 0.25, "rmse_zero": 0.57, "rmse_frozen": 0.22, **summary},
        )
        arrays = {**series_pictures(model, num_observed), **(shown or {})}
        kept = {name: array for name, array in arrays.items() if array is not None}
        np.savez_compressed(folder / "pictures.npz", **kept)
        return folder

    return write


def series_pictures(model: str = "latent_ode", num_observed: int = 30, window: int = 20) -> dict[str, Any]:
    """Four spirals, clockwise and counter-clockwise in turn, predicted 10 % too far out.

    An RNN predicts what is observed, and its radius stays in the horizon. A latent ODE has three dimensions: the first
    carries the direction, which changes at its value 0, and the last one does nothing.
    """
    times = np.linspace(0.0, 4 * np.pi, 2 * window, dtype=np.float32)
    direction = np.array([1, -1, 1, -1], dtype=np.int8)
    is_horizon = np.broadcast_to(np.arange(2 * window) >= window, (4, 2 * window))
    observed = (
        np.broadcast_to(np.arange(2 * window) % (100 // num_observed) == 0, (4, 2 * window)) & ~is_horizon
    )
    clean = np.stack([_spiral(times, phase, turn, 0.1) for phase, turn in enumerate(direction)])
    prediction = 1.1 * clean
    if model != "latent_ode":
        prediction = np.where(observed[..., None] | is_horizon[..., None], prediction, np.nan)
        prediction[:, window:] /= np.linalg.norm(prediction[:, window:], axis=2, keepdims=True)
    shown = {
        "times": np.tile(times, (4, 1)),
        **{"clean": clean, "values": clean + 0.1, "prediction": prediction},
        **{"observed": observed, "is_horizon": is_horizon, "direction": direction},
    }
    if model == "latent_ode":
        values = np.linspace(-2.0, 2.0, 5, dtype=np.float32)
        turns = [np.sign(values), np.ones(5), 1e-4 * values]
        shown |= {
            "latent": np.stack([[turn, 0.0, 0.0] + 0.1 * _wave(times) for turn in direction]),
            "latent_direction": direction,
            "traversal": np.stack([[_spiral(times, 0.0, turn, 0.1) for turn in row] for row in turns]),
            "traversal_values": values,
            "traversal_times": times,
        }
    return shown


def _spiral(times: np.ndarray, phase: float, turn: float, decay: float) -> np.ndarray:
    angle = phase + turn * times
    return 2 * np.exp(-decay * times)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _wave(times: np.ndarray) -> np.ndarray:
    return np.stack([np.sin(times), np.cos(times), times], axis=1)
