"""Run folders as thousands of trainings would leave them, without training: what tables of many runs are tried on.

scripts/many_runs.py FOLDER NUMBER writes them below FOLDER. scripts/many_runs.py FOLDER measures what commands take on
100, 1,000 and 10,000 of them, which it makes below FOLDER, and prints docs/results/many/README.md.

Configs, folder names and environment are nodebench's own, numbers are drawn. Five experiments with nets, solvers,
tolerances, rates of learning and seeds. Of twenty runs one failed, for one of four reasons, one was interrupted, and
one has no summary yet; of two hundred one is damaged.
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import time
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

NUMBERS = (100, 1_000, 10_000)
PAGE_BEGINS = """# Ten thousand runs

What commands take on folders of many runs, made by a script and not by training, five seeds an experiment; of twenty
runs one failed, one was interrupted and one is without a summary. The second time, the table finds what the files of
250 runs or more say in [an index beside them](../../decisions/0024-an-index-of-many-runs.md). Each is a command as it
is typed, from its start to its end: seconds, seconds of a processor, and the peak of its memory; but for the first, the
least of three times.

```sh
python scripts/many_runs.py /tmp/many
```

| runs | table, first | table, again | status | plot fig5 | plot curves |
|---|---|---|---|---|---|"""


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


def write(folder: Path, num_runs: int) -> None:
    """So many runs below `folder`, five seeds an experiment."""
    environment = json.dumps(describe_environment(torch.device("cpu")), indent=2)
    draw = random.Random(0)
    for config in configs(num_runs, max_seeds=5):
        leave(config, folder, environment, draw)


def cost(command: str, runs: Path, times: int = 3) -> str:
    """`1.9 s, 1.6 s CPU, 160 MB` of a command on these runs: the least of so many times, each."""
    words = [sys.executable, "-m", "nodebench", *command.split(), "--runs", str(runs)]
    taken = []
    for _ in range(times):
        began = time.monotonic()
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        assert status == 0, words
        taken.append((time.monotonic() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1000))
    wall, processor, memory = (min(each) for each in zip(*taken, strict=True))
    return f"{wall:.1f} s, {processor:.1f} s CPU, {memory:.0f} MB"


def measure(folder: Path) -> None:
    """Print the page."""
    print(PAGE_BEGINS)
    figures = folder / "figures"
    for num_runs in NUMBERS:
        runs = folder / str(num_runs)
        if not runs.exists():
            write(runs, num_runs)
            time.sleep(3)  # what has just been written is not kept in an index
        shutil.rmtree(runs / ".nodebench", ignore_errors=True)
        first = cost("table", runs, times=1)
        drawing = (f"plot {words} --out {figures}" for words in ("fig5", "curves --columns loss_train"))
        again = [cost(command, runs) for command in ("table", "status", *drawing)]
        print(f"| {num_runs:,} | " + " | ".join([first, *again]) + " |")
    machine = platform.processor() or platform.machine()
    print(f"\nOn {machine}, {os.cpu_count()} cores, Python {platform.python_version()}.")


def main(folder: str, num_runs: str = "") -> None:
    if num_runs:
        write(Path(folder), int(num_runs))
    else:
        measure(Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
