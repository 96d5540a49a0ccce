"""Solves and training steps of two checkouts in turn, A B A B: what a refactoring costs, as ratios of medians.

    python scripts/bench_checkouts.py BEFORE AFTER [--rounds 15]

One process a checkout, each with its own package on one thread; both do the same work of `nodebench bench`, one after
the other, so that what the machine does meanwhile falls on both.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile

CASES = tuple(
    (workload, gradient, execution)
    for workload, gradients in {
        "odenet": ("direct", "checkpointed", "adjoint-full", "adjoint-seminorm"),
        "cnf": ("direct", "checkpointed", "adjoint-full", "adjoint-seminorm"),
        "vdp": ("forward",),
        "mlp": ("forward",),
    }.items()
    for execution in ("eager", "compiled")
    for gradient in gradients
)


def work() -> None:
    """Run the case of each line of stdin once, and print its milliseconds and evaluations."""
    import torch

    from nodebench.benchmark.libraries import NODEBENCH, NODEBENCH_COMPILED, make_contestant
    from nodebench.benchmark.workloads import cnf, mlp, odenet, vdp

    torch.set_num_threads(1)
    device = torch.device("cpu")
    problems = {
        "odenet": lambda: (odenet.problems(64, 16, device, 1e-5)[0], odenet.TOL),
        "cnf": lambda: (cnf.problems(64, 512, device)[0], cnf.TOL),
        "vdp": lambda: (vdp.problem(256, 2.0, device), vdp.TOL),
        "mlp": lambda: (mlp.problem(256, 10.0, device), mlp.TOL),
    }
    contestants = {}
    print("ready", flush=True)
    for line in sys.stdin:
        workload, gradient, execution = case = tuple(line.split())
        if case not in contestants:
            problem, tol = problems[workload]()
            library = NODEBENCH_COMPILED if execution == "compiled" else NODEBENCH
            contestants[case] = make_contestant(library, problem, gradient, tol)
            contestants[case].run()
        measured = contestants[case].run()
        print(measured.time_ms, measured.nfe_forward, measured.nfe_backward, flush=True)


def start(checkout: str) -> subprocess.Popen[str]:
    """A process that works in a checkout."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.path.abspath(checkout),
        "TORCHINDUCTOR_CACHE_DIR": tempfile.mkdtemp(prefix="bench-checkouts-"),
        "OMP_NUM_THREADS": "1",
    }
    process = subprocess.Popen(
        [sys.executable, os.path.abspath(__file__), "--work"],
        env=environment,
        cwd=checkout,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def ask(process: subprocess.Popen[str], case: tuple[str, ...]) -> tuple[float, str]:
    """Milliseconds of one run of a case, and its evaluations forward and backward."""
    assert process.stdin is not None
    assert process.stdout is not None
    print(*case, file=process.stdin, flush=True)
    time_ms, counts = process.stdout.readline().split(maxsplit=1)
    return float(time_ms), counts.strip()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    checkouts = [start(args.before), start(args.after)]
    print("| | before, ms | after, ms | after / before | evaluations |\n|---|---|---|---|---|")
    for case in CASES:
        times: list[list[float]] = [[], []]
        for number in range(args.rounds + 1):
            turns = (0, 1) if number % 2 else (1, 0)  # whoever comes second finds the caches of the other
            found = {turn: ask(checkouts[turn], case) for turn in turns}
            for turn in turns if number else ():
                times[turn].append(found[turn][0])
        before, after = (statistics.median(each) for each in times)
        ratio = statistics.median(b / a for a, b in zip(*times, strict=True))
        same = found[0][1] if found[0][1] == found[1][1] else f"{found[0][1]} -> {found[1][1]}"
        print(f"| {' '.join(case)} | {before:.2f} | {after:.2f} | {ratio:.3f} | {same} |", flush=True)


if __name__ == "__main__":
    work() if "--work" in sys.argv else main()
