"""Training steps of an ODE-Net in float32 and bfloat16: their times, evaluations, and what rounding does to gradients.

    python scripts/bf16.py RUN [--out docs/results/bf16] [--threads 1] [--rounds 7] [--eager]

RUN is the folder of a trained ODE-Net, whose weights and first training batch are used. Steps are taken in turn, all
kinds in each round, so that other load falls on all of them. An error is that of the gradient of all weights, relative,
in the Euclidean norm, against float64 at a tolerance of 1e-8 through the steps (`exact`), and against the same solve in
float64 (`same solve`), which leaves rounding alone and how it moves the steps; the last column is that of the block's
weights alone. Writes steps.csv and README.md.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import statistics
import time
from copy import copy, deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from nodebench.commands.session import Session, load_trained
from nodebench.config.build import use_threads
from nodebench.config.saved import read_config
from nodebench.counted import counted
from nodebench.models.classifiers import ODENet
from nodebench.models.ode_block import recorded_solves
from nodebench.models.precision import missing_bf16
from nodebench.records.precision import FLOAT32, PRECISIONS
from nodebench.tasks.classification import Batch, Classification
from nodebench.training.environment import describe_environment

GRADIENTS, TOLS, EXACT = ("direct", "checkpointed", "adjoint"), (1e-2, 1e-3), 1e-8
INTRODUCTION = """# Training steps in bfloat16

The ODE-Net of Table 1 behind {steps} in float32, on one batch of {images} images: loss and backward pass with the
products of stem, field and head in float32 and in bfloat16 (`precision=bf16`), all else in float32.
{machine}, {threads}, torch {torch}.

- *Times* are the least of {rounds} steps, all kinds taken in turn, forward and backward; the median is of both.
- *Error, exact*: of the gradient of all weights, relative, against float64 at a tolerance of 1e-8 through the steps.
  *Same solve*: against the same gradient and tolerance in float64, so rounding alone and the steps that it moves;
  *of the block*: the same of the block's weights.

`scripts/bf16.py RUN` makes it.
"""
SAID = ("gradient", "tol", "execution", "precision")


@dataclass
class Kind:
    """One way to take a step, and what its steps took, in ms, forward and backward."""

    gradient: str
    tol: float
    execution: str
    precision: str
    net: ODENet
    nfe: tuple[int, int] = (0, 0)
    error: float = 0.0
    rounding: float = 0.0
    of_block: float = 0.0
    times: list[tuple[float, float]] = field(default_factory=list)

    def row(self) -> dict[str, str | int | float]:
        """For the table; of the times the least, and the median of both together."""
        forward, backward = (min(part) for part in zip(*self.times, strict=True))
        return {
            **{name: getattr(self, name) for name in SAID},
            **{"nfe forward": self.nfe[0], "nfe backward": self.nfe[1]},
            **{"forward (ms)": round(forward, 1), "backward (ms)": round(backward, 1)},
            "median (ms)": round(statistics.median(map(sum, self.times)), 1),
            **{"error, exact": f"{self.error:.2g}", "error, same solve": f"{self.rounding:.2g}"},
            "of the block": f"{self.of_block:.2g}",
        }


def solving(net: ODENet, gradient: str, tol: float, *, compile: bool = False) -> ODENet:
    """A copy of a net that solves so, to be trained."""
    other = deepcopy(net).train()
    block = other.ode_block
    block.gradient, block.solver = gradient, replace(block.solver, rtol=tol, atol=tol, compile=compile)
    return other


def step(task: Classification, net: nn.Module, batch: Batch) -> tuple[float, float]:
    """Milliseconds of a loss and of its backward pass; the gradients are left on the net."""
    net.zero_grad(set_to_none=True)
    began = time.perf_counter()
    loss = task.loss(net, batch).loss
    between = time.perf_counter()
    loss.backward()
    return 1000 * (between - began), 1000 * (time.perf_counter() - between)


def gradient_of(net: nn.Module) -> Tensor:
    """All weights' gradients as one vector of float64."""
    return torch.cat(
        [parameter.grad.double().flatten() for parameter in net.parameters() if parameter.grad is not None]
    )


def exactly(task: Classification, net: ODENet, gradient: str, tol: float, batch: Batch) -> ODENet:
    """The net in float64 with its gradient."""
    exact = solving(net, gradient, tol).double()
    step(task, exact, Batch(batch.images.double(), batch.labels))
    return exact


def off(gradient: Tensor, reference: Tensor) -> float:
    """How far a gradient is from another, relative."""
    return float((gradient - reference).norm() / reference.norm())


def measured(session: Session, rounds: int, executions: tuple[str, ...]) -> list[Kind]:
    """Every kind of step, taken `rounds` times."""
    task, net = session.task, session.model
    assert isinstance(task, Classification), "of a run of model=odenet"
    assert isinstance(net, ODENet), "of a run of model=odenet"
    tasks = {precision: copy(task) for precision in PRECISIONS}
    for precision in PRECISIONS:
        tasks[precision].precision = precision
    batch = task.batch(0)
    exact = exactly(tasks[FLOAT32], net, "direct", EXACT, batch)
    kinds = [
        Kind(
            gradient, tol, execution, precision, solving(net, gradient, tol, compile=execution == "compiled")
        )
        for gradient, tol, execution, precision in itertools.product(GRADIENTS, TOLS, executions, tasks)
    ]
    for kind in kinds:
        with recorded_solves(kind.net) as solves:
            step(tasks[kind.precision], kind.net, batch)
        kind.nfe = solves[0].forward.nfe, solves[0].backward.nfe
        same = exactly(tasks[FLOAT32], net, kind.gradient, kind.tol, batch)
        kind.error = off(gradient_of(kind.net), gradient_of(exact))
        kind.rounding = off(gradient_of(kind.net), gradient_of(same))
        kind.of_block = off(gradient_of(kind.net.ode_block), gradient_of(same.ode_block))
        print(
            *(getattr(kind, name) for name in SAID),
            kind.nfe,
            f"{kind.error:.2g} {kind.rounding:.2g}",
            flush=True,
        )
    for _ in range(rounds):
        for kind in kinds:
            kind.times.append(step(tasks[kind.precision], kind.net, batch))
    return kinds


def main() -> None:
    """Measure, and write what was measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/results/bf16"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--eager", action="store_true", help="compile nothing")
    args = parser.parse_args()
    session = load_trained(args.run, read_config(args.run))
    use_threads(args.threads)
    if reason := missing_bf16(session.device):
        print(f"note: {reason}; the times say nothing of bf16")
    kinds = measured(session, args.rounds, ("eager",) if args.eager else ("eager", "compiled"))
    rows = [kind.row() for kind in kinds]
    args.out.mkdir(parents=True, exist_ok=True)
    with (args.out / "steps.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([str(cell) for cell in row.values()] for row in rows)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    config, machine = session.builder.config, describe_environment(session.device)
    about = INTRODUCTION.format(
        steps=counted(session.step, "training step"),
        images=config["data"]["batch_size"],
        threads=counted(args.threads, "thread"),
        rounds=args.rounds,
        machine=machine["device_name"],
        torch=machine["packages"]["torch"],
    )
    (args.out / "README.md").write_text(f"{about}\n{table}\n")
    print(table)


if __name__ == "__main__":
    main()
