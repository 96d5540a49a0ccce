"""What compiled steps gain in evaluation: seconds of a processor, eager and compiled, and what compiling takes.

    python scripts/evaluation.py experiment=fig5_cnf [--steps 150] [--rounds 5] [--threads 1]
    python scripts/evaluation.py RUN

Trains what is named for so many steps, or takes up a run's folder, and evaluates as a record of training does (the
validation split and the pictures), then the split alone and, of a flow, 10,000 samples. Where nothing is held out for
validation it is the test split, which `data.limit_test=500` makes one batch of a classifier's. Eager and compiled in
turns, the least of all rounds; seconds are of this process and of the compilers that it starts. Nothing has been
compiled before; `again`: compiled once more for another net, as the next run of a sweep does. `even at`: after how many
evaluations the compiling has been gained back.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import torch
from torch import nn
from torch._inductor.utils import fresh_cache

from nodebench.allocation import keep_freed_memory
from nodebench.commands.session import Session, assemble, how_to_train, load_trained
from nodebench.config.build import compile_evaluation, use_threads
from nodebench.config.compose import compose
from nodebench.config.saved import read_config
from nodebench.models.flows import Flow
from nodebench.models.ode_block import EAGER_EVALUATIONS
from nodebench.tasks.measuring import counting, evaluating
from nodebench.training.trial import raced_steps

NUM_SAMPLES = 10_000


def seconds() -> float:
    """Of a processor, of this process and those that it has waited for."""
    spent = os.times()
    return time.process_time() + spent.children_user + spent.children_system


def cost(work: Callable[[nn.Module], object], net: nn.Module) -> tuple[float, int]:
    """Seconds of some work, and its evaluations of the field."""
    with evaluating(net), counting(net) as counts:
        began = seconds()
        work(net)
        taken, solves = seconds() - began, counts()
    return taken, 0 if solves is None else solves.nfe_forward


def works(session: Session) -> dict[str, Callable[[nn.Module], object]]:
    """What is evaluated, by name."""
    task = session.task
    split = "test" if getattr(task, "best_by", None) is None else "val"
    found: dict[str, Callable[[nn.Module], object]] = {
        "record": lambda net: (task.evaluate(net, split), task.pictures(net, False)),
        split: lambda net: task.evaluate(net, split),
    }
    if isinstance(session.model, Flow):
        found["samples"] = lambda net: net.sample(NUM_SAMPLES, torch.Generator().manual_seed(0))
    return found


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="+", metavar="RUN|KEY=VALUE")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    keep_freed_memory()  # as in a run
    if Path(args.what[0]).is_dir():
        session = load_trained(Path(args.what[0]), read_config(Path(args.what[0])))
    else:
        session = assemble(compose(args.what).config)
        raced_steps(session.task, [session.model], *how_to_train(session), args.steps)
    use_threads(args.threads)
    print(
        "| work | nfe, eager and compiled | eager (s) | compiled (s) | compiling (s) | even at | again (s) | even at |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, work in works(session).items():
        eager = deepcopy(session.model).eval()
        with fresh_cache():
            first, compiled = compiled_for(work, session.model)
            second, _ = compiled_for(work, session.model)
        rounds = [(cost(work, eager), cost(work, compiled)) for _ in range(args.rounds)]
        (least, nfe), (least_compiled, nfe_compiled) = (min(times) for times in zip(*rounds, strict=True))
        cells = [name, f"{nfe}, {nfe_compiled}", f"{least:.3f}", f"{least_compiled:.3f}"]
        for spent in (first - least_compiled, second - least_compiled):
            gain = least - least_compiled
            cells += [f"{spent:.1f}", f"{math.ceil(spent / gain):,}" if gain > 0 else "never"]
        print(f"| {' | '.join(cells)} |", flush=True)


def compiled_for(work: Callable[[nn.Module], object], net: nn.Module) -> tuple[float, nn.Module]:
    """A copy of the net in which the work is compiled, and the seconds of the evaluation that compiled it."""
    compiled = deepcopy(net).eval()
    compile_evaluation(compiled)
    return max(cost(work, compiled)[0] for _ in range(EAGER_EVALUATIONS + 1)), compiled


if __name__ == "__main__":
    main()
