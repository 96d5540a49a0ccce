"""Stiff systems by kvaerno5 and kvaerno3 beside SciPy's Radau and BDF: errors, steps, evaluations and times.

Writes stiff.csv, batch.csv and README.md to docs/results/stiff, or to the folder given: scripts/stiff.py [FOLDER]
(PYTHONPATH=tests/stubs, where the systems are). An error is the largest over the entries of y(t1), in units of
atol + rtol |y|. The reference is SciPy's Radau at rtol 1e-12.
"""

from __future__ import annotations

import csv
import platform
import statistics
import sys
import time
from collections.abc import Callable
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
BATCH, REPEATS = 256, 5
Row = dict[str, Any]


def ours(system: StiffSystem, method: str, rtol: float, batch: int = 0) -> tuple[np.ndarray, SolveStats]:
    """y(t1) of one sample, or of as many as `batch` that start there, and what the solve did."""
    y0, stats = torch.tensor(system.y0, dtype=torch.float64), SolveStats()
    if batch:
        y0 = y0.repeat(batch, 1)
    with torch.no_grad():
        ys = odeint(
            system.f, y0, [0.0, system.t1], method=method, rtol=rtol, atol=rtol * system.atol, stats=stats
        ).ys
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
        y1, stats = ours(system, method, rtol)
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


def batch_row(name: str) -> Row:
    """A line of batch.csv: the time of a batch over that of one sample, medians of several."""
    system = SYSTEMS[name]

    def median(call: Callable[[], object]) -> float:
        call()  # what is done once in a process
        times = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    one = median(lambda: ours(system, "kvaerno5", 1e-6))
    many = median(lambda: ours(system, "kvaerno5", 1e-6, BATCH))
    return {
        "system": name,
        "one_s": f"{one:.3g}",
        f"batch_{BATCH}_s": f"{many:.3g}",
        "ratio": f"{many / one:.2f}",
    }


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


def main() -> None:
    """Measure, print, and write."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/results/stiff")
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    rows = [row_of(name, method, rtol) for name in SYSTEMS for rtol in RTOLS for method in (*OURS, *SCIPY)]
    batches = [batch_row(name) for name in SYSTEMS]
    write(folder, "stiff.csv", rows)
    write(folder, "batch.csv", batches)
    machine = (
        f"{platform.machine()}, one thread, float64; torch {torch.__version__}, SciPy {scipy.__version__}; "
        "`PYTHONPATH=tests/stubs python scripts/stiff.py` makes this anew."
    )
    text = f"""# Stiff systems

Errors at the end in units of the tolerance (atol + rtol |y|), accepted steps, evaluations (a Jacobian by autograd is
one; SciPy's are made of differences, which are among its evaluations) and seconds.
{machine}

{table(rows)}

A batch of {BATCH} samples from the same start, which take the same steps, at rtol 1e-6 by kvaerno5, beside one sample:

{table(batches)}
"""
    (folder / "README.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
