"""Stiff systems by kvaerno5 and kvaerno3 beside SciPy's Radau and BDF: errors, steps, evaluations and times.

Writes stiff.csv, batch.csv and README.md to docs/results/stiff, or to the folder given: scripts/stiff.py [FOLDER]
(PYTHONPATH=tests/stubs, where the systems are). An error is the largest over the entries of y(t1), in units of
atol + rtol |y|. The reference is SciPy's Radau at rtol 1e-12. A minute or two on one core.
"""

from __future__ import annotations

import csv
import platform
import statistics
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import torch
from scipy.integrate import solve_ivp
from stiff_systems import SYSTEMS, StiffSystem

from nodebench.ode import SolveStats, odeint

RTOLS = (1e-4, 1e-6, 1e-8)
OURS, SCIPY = ("kvaerno5", "kvaerno3"), ("Radau", "BDF")
BATCH, BATCH_RTOL, SPREAD, REPEATS = 256, 1e-4, 0.05, 5
Row = dict[str, Any]


def ours(
    system: StiffSystem, method: str, rtol: float, batch: int = 1, spread: float = 0.0
) -> tuple[np.ndarray, SolveStats]:
    """y(t1) of so many samples, (batch, d), and what the solve did.

    They start at y0 times numbers spread evenly over 1 - spread to 1 + spread. The error of each meets the tolerance.
    """
    factors = 1 + spread * torch.linspace(-1, 1, batch, dtype=torch.float64)
    y0, stats = factors[:, None] * torch.tensor(system.y0, dtype=torch.float64), SolveStats()
    settings = {"rtol": rtol, "atol": rtol * system.atol, "norm": "max_sample"}
    with torch.no_grad():
        ys = odeint(system.f, y0, [0.0, system.t1], method=method, stats=stats, **settings).ys
    return ys[-1].numpy(), stats


def scipys(system: StiffSystem, method: str, rtol: float) -> tuple[np.ndarray, int, int]:
    """y(t1), accepted steps and evaluations; f is computed in torch, as ours is."""

    def f(t: float, y: np.ndarray) -> np.ndarray:
        slopes: np.ndarray = system.f(torch.tensor(t), torch.as_tensor(y)).numpy()
        return slopes

    solution = solve_ivp(f, (0, system.t1), system.y0, method=method, rtol=rtol, atol=rtol * system.atol)
    return solution.y[:, -1], len(solution.t) - 1, solution.nfev


def row_of(name: str, method: str, rtol: float) -> Row:
    """A line of stiff.csv."""
    system = SYSTEMS[name]
    start = time.perf_counter()
    if method in OURS:
        (y1,), stats = ours(system, method, rtol)
        counts = stats.forward
        done = (
            counts.num_accepted,
            counts.num_rejected,
            counts.num_unsolved,
            counts.nfe,
            counts.num_jacobians,
        )
    else:
        y1, accepted, nfe = scipys(system, method, rtol)
        done = (accepted, "", "", nfe, "")
    seconds = time.perf_counter() - start
    expected = np.array(system.y1)
    error = float(np.max(np.abs(y1 - expected) / (rtol * system.atol + rtol * np.abs(expected))))
    names = ("accepted", "rejected", "unsolved", "nfe", "jacobians")
    counted = dict(zip(names, done, strict=True))
    return {"system": name, "rtol": f"{rtol:g}", "method": method, "error": f"{error:.3g}", **counted} | {
        "seconds": f"{seconds:.3g}"
    }


def timed(system: StiffSystem, batch: int, spread: float, repeats: int) -> tuple[float, int]:
    """The median seconds of so many solves, and the steps that were accepted."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        _, stats = ours(system, "kvaerno5", BATCH_RTOL, batch, spread)
        times.append(time.perf_counter() - start)
    return statistics.median(times), stats.forward.num_accepted or 0


def batch_rows(name: str) -> list[Row]:
    """Lines of batch.csv: one sample, a batch of that one, and a batch of samples that differ."""
    system = SYSTEMS[name]
    one, rows = timed(system, 1, 0.0, 1)[0], []  # once, for what is done once in a process
    for starts, batch, spread, repeats in (
        ("one", 1, 0.0, REPEATS),
        ("the same", BATCH, 0.0, REPEATS),
        (f"within {SPREAD:.0%}", BATCH, SPREAD, 1),
    ):
        seconds, accepted = timed(system, batch, spread, repeats)
        one = seconds if batch == 1 else one
        row = {"system": name, "samples": batch, "starts": starts, "accepted": accepted}
        rows.append(row | {"seconds": f"{seconds:.3g}", "times one": f"{seconds / one:.2f}"})
    return rows


def table(rows: list[Row]) -> str:
    """Rows as a table of Markdown."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write(folder: Path, name: str, rows: list[Row]) -> None:
    """Rows as a file of comma-separated values."""
    with (folder / name).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def findings(rows: list[Row], batches: list[Row]) -> str:
    """What the rows say, in sentences."""
    worst = {
        method: max(float(row["error"]) for row in rows if row["method"] == method)
        for method in (*OURS, *SCIPY)
    }
    steps = {(row["system"], row["rtol"], row["method"]): row["accepted"] for row in rows}
    ratios = {
        method: [
            steps[system, rtol, method] / steps[system, rtol, "Radau"]
            for system, rtol, each in steps
            if each == method
        ]
        for method in OURS
    }
    unsolved = sum(row["unsolved"] for row in rows if row["method"] == OURS[0])
    tries = sum(row["accepted"] + row["rejected"] for row in rows if row["method"] == OURS[0])
    same = [float(row["times one"]) for row in batches if row["starts"] == "the same"]
    spread = {row["system"]: row["times one"] for row in batches if row["starts"].startswith("within")}
    sentences = [
        f"- **Error.** At most {worst['kvaerno5']:.2g} tolerances by kvaerno5 and {worst['kvaerno3']:.2g} by kvaerno3; "
        f"Radau's are at most {worst['Radau']:.2g}, BDF's {worst['BDF']:.3g}.",
        f"- **Steps.** kvaerno5 accepts {min(ratios['kvaerno5']):.2f} to {max(ratios['kvaerno5']):.2f} of Radau's "
        f"steps; kvaerno3, of order 3, {min(ratios['kvaerno3']):.2f} to {max(ratios['kvaerno3']):.2f} times as many: "
        f"it is for coarse tolerances. Newton's iteration did not solve {unsolved} of kvaerno5's {tries:,} steps.",
        f"- **Batches.** {BATCH} samples that start alike take at most {max(same):.2f} times as long as one. Those "
        f"that start within {SPREAD:.0%} of one another share their steps, so a fast phase of one is one of all, "
        "in times of one sample: "
        + ", ".join(f"{system} {times}" for system, times in spread.items())
        + ". Oscillators out of phase are not worth a large batch.",
    ]
    return "\n".join(textwrap.fill(each, 120, subsequent_indent="  ") for each in sentences)


def main() -> None:
    """Measure, print, and write."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/results/stiff")
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    start = time.perf_counter()
    batches = [row for name in SYSTEMS for row in batch_rows(name)]
    rows = [row_of(name, method, rtol) for name in SYSTEMS for rtol in RTOLS for method in (*OURS, *SCIPY)]
    write(folder, "stiff.csv", rows)
    write(folder, "batch.csv", batches)
    seconds = time.perf_counter() - start
    text = f"""# Stiff systems

Robertson's reaction, Van der Pol's oscillator with mu = 1000, HIRES and the Oregonator (Hairer & Wanner II, IV.10) by
kvaerno5 and kvaerno3, beside SciPy's Radau and BDF on the same field. An error is the largest over the entries of y at
the end, in units of the tolerance (atol + rtol |y|), against Radau at 1e-12.

{findings(rows, batches)}

A Jacobian by autograd counts as one evaluation here; SciPy's are made of differences, which are among its evaluations.
Seconds are of one solve each.

{table(rows)}

Batches, at {BATCH_RTOL:g} by kvaerno5, the error of each sample held to the tolerance (`norm="max_sample"`); medians of
{REPEATS} solves, of one where the starts differ:

{table(batches)}

```sh
PYTHONPATH=tests/stubs python scripts/stiff.py    # all of it: {seconds:.0f} seconds
```

**Machine.** {processor()}, torch {torch.__version__.split("+")[0]}, SciPy {scipy.__version__}, one thread,
float64. The numbers are in `stiff.csv` and `batch.csv`.
"""
    (folder / "README.md").write_text(text, encoding="utf-8")
    print(text)


def processor() -> str:
    """What the processor is called."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    main()
