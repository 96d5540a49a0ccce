"""`nodebench bench`: solvers against each other and against other libraries, on the same work."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from nodebench.benchmark.workloads import run_workload, with_parts, workload_names
from nodebench.commands import starting
from nodebench.commands.arguments import Parser, folder
from nodebench.commands.destinations import check_folder, writing_to
from nodebench.config.errors import ConfigError, did_you_mean
from nodebench.terminal import terminal_width


def run(argv: Sequence[str]) -> int:
    """Run the workloads one after the other, printing and writing each; returns 0.

    Raises ConfigError: unknown workload, a device that is not there, no way to write.
    """
    options = _parser().parse_args(argv)
    known = workload_names()
    for name in options.workloads:
        if name not in known:
            raise ConfigError(f"unknown workload `{name}`.{did_you_mean(name, known)}")
    names = list(dict.fromkeys(part for name in options.workloads for part in with_parts(name))) or known
    import torch

    if options.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda is not possible: torch sees no CUDA device here; leave it out")
    from nodebench.benchmark.comparison import Setup
    from nodebench.benchmark.report import write
    from nodebench.commands.bench_page import fitted

    for name in names:
        with writing_to(options.out):
            check_folder(options.out / name)
    setup = Setup(torch.device(options.device), options.quick, _teller())
    starting.over()
    for name in names:
        try:
            report = run_workload(name, setup)
        finally:
            if setup.tell is not None:
                setup.tell("")  # nothing of the last line stays
        with writing_to(options.out):
            written = write(report, options.out)
        page = fitted(report.page, terminal_width(sys.stdout))
        print("\n".join([page, *(f"wrote {path}" for path in written)]), flush=True)
    return 0


def _teller() -> Callable[[str], object] | None:
    """Progress on stderr, one line that is written over, where somebody looks at it."""
    if not sys.stderr.isatty():
        return None
    width = shutil.get_terminal_size().columns - 1  # a line that wraps could not be written over
    return lambda line: print(f"\r\x1b[K{line[:width]}", end="", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="nodebench bench",
        description="Race nodebench against torchdiffeq, torchode and diffrax (extra `baselines`): times, evaluations, "
        "gradient errors, memory; Markdown, CSV and a figure for each workload.",
    )
    parser.add_argument(
        "workloads",
        nargs="*",
        metavar="WORKLOAD",
        words=workload_names(),
        help=f"{', '.join(workload_names())} (default: all); scaling runs scaling_flows as well",
    )
    parser.add_argument(
        "--quick", action="store_true", help="within a minute, compiling apart: smaller batches, fewer rounds"
    )
    parser.add_argument(
        "--out", type=folder, default=Path("outputs/bench"), metavar="DIR", help="default: outputs/bench"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default: cpu")
    return parser
