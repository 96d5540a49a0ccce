"""One training step by two processes of one thread each against one, and what passing numbers between them takes."""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
from typing import Any

import pandas as pd

from nodebench.benchmark.comparison import Setup
from nodebench.benchmark.report import Report, machine
from nodebench.benchmark.rows import to_markdown

NUM_PROCESSES = 2
FULL, QUICK = 12, 1  # rounds
COLUMNS = {
    "net": "",
    "gradient": "",
    "nfe": ".0f",
    "steps_per_s_1": ".3g",
    "steps_per_s_2": ".3g",
    "gain": ".2f",
    "least_ms_1": ".4g",
    "least_ms_2": ".4g",
    "meetings": ".0f",
    "exchange_ms": ".3g",
    "exchange_percent": ".0f",
}
LATENCY_COLUMNS = {"what": "", "median_us": ".0f", "least_us": ".0f"}


def ddp(setup: Setup) -> Report:
    """Steps a second of ODE-Net and CNF at one process and at two, in turns, and the time in exchanges."""
    num_rounds = QUICK if setup.quick else FULL
    setup.tells("ddp")("two processes")
    found = run_processes(num_rounds, setup.quick)
    rows = pd.DataFrame([_row(case) for case in found["cases"]], columns=list(COLUMNS))
    latencies = pd.DataFrame(
        [(name, statistics.median(times), min(times)) for name, times in found["latencies"].items()],
        columns=list(LATENCY_COLUMNS),
    )
    return Report("ddp", _page(rows, latencies, num_rounds, setup), {"ddp": rows, "latencies": latencies})


def run_processes(num_rounds: int, quick: bool) -> dict[str, Any]:
    """What the first of the processes prints. Raises RuntimeError with what one says that fails."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        **os.environ,
        **{"WORLD_SIZE": str(NUM_PROCESSES), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
        "OMP_NUM_THREADS": "1",
    }
    command = [
        *(sys.executable, "-m", "nodebench.benchmark.sharing"),
        *(str(num_rounds), "quick" if quick else "full"),
    ]
    running = [
        subprocess.Popen(
            command,
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(NUM_PROCESSES)
    ]
    said = [process.communicate() for process in running]
    for process, (_, errors) in zip(running, said, strict=True):
        if process.returncode:
            raise RuntimeError(f"a process of the bench failed: {errors.strip().splitlines()[-1]}")
    found: dict[str, Any] = json.loads(said[0][0])
    return found


def _row(case: dict[str, Any]) -> dict[str, object]:
    one, two = (statistics.median(case[name]) for name in ("alone_ms", "shared_ms"))
    return {
        "net": case["net"],
        "gradient": case["gradient"],
        "nfe": case["nfe"],
        "steps_per_s_1": 1000 / one,
        "steps_per_s_2": 1000 / two,
        "gain": one / two,
        "least_ms_1": min(case["alone_ms"]),
        "least_ms_2": min(case["shared_ms"]),
        "meetings": case["meetings"],
        "exchange_ms": case["exchange_ms"],
        "exchange_percent": 100 * case["exchange_ms"] / statistics.fmean(case["shared_ms"]),
    }


def _page(rows: pd.DataFrame, latencies: pd.DataFrame, num_rounds: int, setup: Setup) -> str:
    what = (
        f"Training steps of one batch by one process and by {NUM_PROCESSES}, one thread each, over gloo, "
        f"in turns, {num_rounds} rounds: the ODE-Net of Table 1 at 1e-3 on 128 images, and the CNF of Figure 5 at 1e-5 "
        "on 512 samples."
    )
    legend = (
        "`gain`: steps a second of two over those of one, medians; 2 would be all. `meetings`: what a step exchanges, "
        "one for each step that a solver tries, two for its first step, two for loss and gradient. `exchange_ms`: what "
        "these and the sum of the gradient take, waiting for the slower process included."
    )
    return "\n\n".join(
        [
            "# bench ddp",
            what,
            machine(setup.device),
            to_markdown(rows, COLUMNS),
            legend,
            "## An exchange",
            to_markdown(latencies, LATENCY_COLUMNS) + "\n",
        ]
    )
