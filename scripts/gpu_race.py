"""One workload of `nodebench bench` in one execution, at its own tolerance alone: a part of scripts/gpu.sh.

    python scripts/gpu_race.py WORKLOAD EXECUTION DEVICE FILE.csv [--quick]

WORKLOAD is odenet, cnf or latent; EXECUTION eager, compiled, or graphs: torch.compile with its backend of CUDA graphs.
Each is a process of its own, so that one that fails takes nothing with it. Adds its rows to FILE.csv.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import torch

from nodebench.benchmark.bare import BARE, bare_contestants
from nodebench.benchmark.contestants import COMPILED, EAGER
from nodebench.benchmark.libraries import (
    NODEBENCH,
    NODEBENCH_COMPILED,
    TORCHDIFFEQ,
    Library,
    installed,
    make_contestant,
    solve_nodebench,
)
from nodebench.benchmark.problems import OWN, Problem
from nodebench.benchmark.race import race
from nodebench.benchmark.rows import COLUMNS, make_rows, to_markdown
from nodebench.benchmark.workloads import cnf, latent, odenet

GRAPHS = "CUDA graphs"
GRADIENTS = ("direct", "adjoint-seminorm")  # each compiles for up to a minute
NUM_ROUNDS = 5


def library(execution: str) -> Library:
    """nodebench in an execution."""
    if execution == "graphs":
        solve = partial(solve_nodebench, compile="cudagraphs")  # type: ignore[arg-type]
        return Library(OWN, GRADIENTS, solve, GRAPHS)
    return NODEBENCH if execution == EAGER else NODEBENCH_COMPILED


def problem_of(workload: str, device: torch.device, quick: bool) -> tuple[Problem, float]:
    """The workload's problem and tolerance; `quick`: of few samples, with a cheap reference."""
    if workload == "odenet":
        reference_tol = 1e-5 if quick else 1e-7
        return odenet.problems(64, 4 if quick else 128, device, reference_tol)[0], odenet.TOL
    if workload == "cnf":
        return cnf.problems(64, 64 if quick else 512, device)[0], cnf.TOL
    return latent.problem(*((16, 20) if quick else (256, 100)), device), latent.TOL


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", choices=("odenet", "cnf", "latent"))
    parser.add_argument("execution", choices=(EAGER, COMPILED, "graphs"))
    parser.add_argument("device", type=torch.device)
    parser.add_argument("file", type=Path)
    parser.add_argument("--quick", action="store_true", help="few samples, to rehearse")
    args = parser.parse_args()
    own, tol = problem_of(args.workload, args.device, args.quick)
    raced = [(library(args.execution), gradient) for gradient in GRADIENTS]
    if args.execution == EAGER:
        raced += [(other, gradient) for other in installed(TORCHDIFFEQ) for gradient in GRADIENTS]
    is_bare = args.execution != "graphs"
    bare = race(bare_contestants(own, args.execution), NUM_ROUNDS, tell) if is_bare else []
    for one, gradient in raced:  # one after the other, so that what is found is kept
        results = race([make_contestant(one, own, gradient, tol)], NUM_ROUNDS, tell)
        rows = make_rows([*bare, *results], [own])
        rows = rows[rows["library"] != BARE]
        print(to_markdown(rows, COLUMNS), flush=True)
        rows.insert(0, "workload", args.workload)
        rows.to_csv(args.file, mode="a", header=not args.file.exists(), index=False, lineterminator="\n")


def tell(line: str) -> None:
    """A line of progress."""
    print(line, flush=True)


if __name__ == "__main__":
    main()
