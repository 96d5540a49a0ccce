"""Run folders as thousands of trainings would leave them, without training: what tables of many runs are tried on.

scripts/many_runs.py FOLDER NUMBER [MAX_SEEDS] writes them below FOLDER. Configs, folder names and environment are
nodebench's own, numbers are drawn. Three experiments with nets, solvers, tolerances, rates of learning and seeds; of
twenty runs one failed, for one of four reasons, one was interrupted, and one has no summary yet; of two hundred one is
damaged. docs/results/many has what tables over them cost.
"""

from __future__ import annotations

import itertools
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml

from nodebench.config.compose import compose
from nodebench.config.identity import run_folder
from nodebench.records.metrics import FILE as METRICS
from nodebench.records.summary import FILE as SUMMARY
from nodebench.training.environment import describe_environment

EXPERIMENTS = (
    ["data=digits", "model=odenet", "solver=dopri5"],
    ["data=digits", "model=rknet", "solver=bosh3"],
    ["data=digits", "model=resnet"],
    ["task=density", "data=two_moons", "model=cnf"],
    ["task=time_series", "data=spirals", "model=latent_ode"],
)
SCORES = {"classification": "error_test", "density": "nll", "time_series": "rmse"}
REASONS = (
    "EvaluationBudgetError: solver.max_nfe=100000 reached at t = 0.{} of [0, 1], dt = 1e-0{}",
    "StepSizeError: the step size fell below what t = 0.{} can resolve, dt = 1e-1{}",
    "OutOfMemoryError: the batch of {} images does not fit (full traceback in log.txt)",
    "ConfigError: data.root holds no such file",
)


def configs(num_runs: int, max_seeds: int) -> Iterator[dict[str, Any]]:
    """Configs of as many runs: every experiment with every tolerance and rate, as many of these as it takes."""
    bases = [compose([*overrides, "training=smoke"]).config for overrides in EXPERIMENTS]
    num_rates = -(-num_runs // (max_seeds * len(bases) * 3)) or 1
    rates = [round(1e-4 * 1.02**step, 9) for step in range(num_rates)]
    combined = itertools.product(bases, (1e-1, 1e-2, 1e-3), rates, range(max_seeds))
    for base, tol, rate, seed in itertools.islice(combined, num_runs):
        config = {**base, "seed": seed, "optimizer": {**base["optimizer"], "lr": rate}}
        if "solver" in config:
            config["solver"] = {**base["solver"], "tol": tol}
        else:
            config["training"] = {**base["training"], "clip_norm": tol}
        yield config


def leave(config: dict[str, Any], folder: Path, environment: str, draw: random.Random) -> None:
    """Write one run folder."""
    run = folder / run_folder({**config, "output_dir": "."})
    run.mkdir(parents=True)
    text = yaml.dump(config, Dumper=yaml.CSafeDumper, sort_keys=False)
    chance = draw.random()
    if chance < 0.005:
        text = text[: len(text) // 2]
    (run / "config.yaml").write_text(text)
    (run / "environment.json").write_text(environment)
    records = [_record(config, step, draw) for step in range(1, 11)]
    (run / METRICS).write_text("".join(f"{json.dumps({'kind': 'epoch', **record})}\n" for record in records))
    if 0.05 < chance < 0.10:
        return
    summary: dict[str, Any] = {"status": "finished", "reason": None, "seed": config["seed"], **records[-1]}
    if 0.10 < chance < 0.15:
        reason = draw.choice(REASONS).format(draw.randrange(100, 999), draw.randrange(1, 9))
        summary |= {"status": "failed", "reason": reason}
    elif 0.15 < chance < 0.20:
        summary |= {"status": "interrupted", "reason": f"SIGTERM at step {draw.randrange(1, 900)} of 1000"}
    elif chance >= 0.20:
        summary[SCORES[config["task"]["name"]]] = draw.uniform(0.3, 3.0)
    (run / SUMMARY).write_text(f"{json.dumps(summary, indent=2)}\n")


def _record(config: dict[str, Any], epoch: int, draw: random.Random) -> dict[str, Any]:
    times = {f"time_{name}_ms": draw.uniform(1, 20) for name in ("forward", "backward", "step")}
    return {
        **{"epoch": epoch, "step": 100 * epoch, "loss_train": draw.uniform(0.1, 2.0), "num_params": 208266},
        **{"nfe_forward": 6 * draw.randrange(3, 9) + 2, "nfe_backward": 6 * draw.randrange(2, 9)},
        **{"num_accepted_forward": 4.0, "num_rejected_forward": 0.5, "memory_saved_mib": 12.25},
        **times,
        **{f"{name}_iqr": value / 5 for name, value in times.items()},
        **{"memory_peak_mib": draw.uniform(20, 90), "recon_error": draw.uniform(0, 1e-3), "recon_ok": True},
        **{"num_steps": 1000, "device": "cpu", "num_threads": 1},
    }


def main(folder: str, num_runs: str, max_seeds: str = "5") -> None:
    environment = json.dumps(describe_environment(torch.device("cpu")), indent=2)
    draw = random.Random(0)
    for config in configs(int(num_runs), int(max_seeds)):
        leave(config, Path(folder), environment, draw)


if __name__ == "__main__":
    main(*sys.argv[1:])
