"""`nodebench measure --per-sample`: what each test image needs where its steps are its own, in pieces."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nodebench.commands.measure_image_files import ImageFiles
from nodebench.commands.measure_origin import commit_of, made_with
from nodebench.commands.measure_plan import Solvers
from nodebench.commands.session import Session
from nodebench.commands.trained import classifier_with_ode
from nodebench.config.build import solver_settings
from nodebench.measurement import Case, ImageMeasurement, ReferenceSettings, order
from nodebench.measurement.cases import BATCH_SIZE
from nodebench.records.per_image import NUM_WITH_ERRORS
from nodebench.reporting.named_tables import named_table
from nodebench.reporting.rendering import SCREEN, render
from nodebench.reporting.runs import find_runs
from nodebench.terminal import tell, terminal_width
from nodebench.training.progress import duration, say

_INDENT = len("reference  ")
_SECONDS_A_LINE = 60


def measure_images(
    args: argparse.Namespace, config: dict[str, Any], solvers: Solvers, trained: Session
) -> int:
    """Measure what is left to do and print what each class needs; returns 0.

    Raises ConfigError for rows that were made with something else, SolverError if a reference solve fails.
    """
    net, _, data = classifier_with_ode(trained)
    reference = ReferenceSettings(tol=args.reference_tol)
    measurement = ImageMeasurement(net, data.test, reference)
    num_batches = min(measurement.num_batches, args.batches or measurement.num_batches)
    cases = [Case(solver_settings(node), "adjoint", num_batches, has_backward=False) for node, _ in solvers]
    method = cases[0].solver.method
    origin = made_with(trained, net, len(data.test), config, reference)
    shared = {key: value for key, value in origin["solver"].items() if key != "adjoint"}  # forwards alone
    files = ImageFiles(args.run, {**origin, "solver": {"method": method, **shared}}, commit_of(trained))
    todo = order(cases, {case.key(batch) for case in cases for batch in files.done(case.solver.rtol)})
    print(f"run        {args.run}, step {trained.step:,}")
    tols = ", ".join(f"{case.solver.rtol:g}" for case in cases)
    tell(f"solver     {method} at tol {tols}: forward, a step size an image and one a batch", _INDENT)
    errors = f"errors of the first {min(NUM_WITH_ERRORS, num_batches) * BATCH_SIZE:,} images"
    tell(f"reference  {reference.method} at {reference.tol:g} in float64, for {errors}", _INDENT)
    num_pieces = num_batches * len(cases)
    tell(
        f"pieces     {num_pieces:,} of {BATCH_SIZE} images, {num_pieces - len(todo):,} of them done", _INDENT
    )
    if todo:
        _add_pieces(measurement, files, todo)
    _print_table(args.run)
    return 0


def _add_pieces(measurement: ImageMeasurement, files: ImageFiles, todo: Sequence[tuple[Case, int]]) -> None:
    """Measure what is left to do, a batch at one tolerance after the other, and append each at once.

    Pieces with a reference take longer and come first, so the time that is left is less than the mean says.
    """
    from tqdm import tqdm

    start = told = time.perf_counter()
    done = 0
    try:
        with tqdm(
            total=len(todo), unit="piece", file=sys.stderr, dynamic_ncols=True, leave=False, disable=None
        ) as bar:
            for (_, batch), rows in zip(todo, measurement.rows(todo), strict=True):
                files.append(rows)
                done += 1
                bar.update()
                now = time.perf_counter()
                is_last_of_batch = done == len(todo) or todo[done][1] != batch
                if is_last_of_batch and now - told > _SECONDS_A_LINE and done < len(todo):
                    told, left = now, (now - start) / done * (len(todo) - done)
                    say(f"batch {batch + 1}: {done:,} of {len(todo):,} pieces, at most {duration(left)} left")
    except (KeyboardInterrupt, SystemExit):
        say(f"{done:,} of {len(todo):,} pieces are in {files.table}; the same command continues")
        raise


def _print_table(run: Path) -> None:
    table = render(named_table("per_image", find_runs(run), run), SCREEN, terminal_width(sys.stdout))
    plot = shlex.join(["nodebench", "plot", "per_image", "--runs", str(run)])
    print(f"\n{table}\n\nnext       {plot}")
