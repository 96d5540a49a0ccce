"""`nodebench measure --per-sample`: what each test image needs where its steps are its own, in pieces."""

from __future__ import annotations

import argparse
import shlex
import statistics
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
from nodebench.counted import counted
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
    kept = {key: value for key, value in origin["solver"].items() if key not in ("adjoint", "steps")}
    files = ImageFiles(args.run, {**origin, "solver": {"method": method, **kept}}, commit_of(trained))
    todo = order(cases, {case.key(batch) for case in cases for batch in files.done(case.solver.rtol)})
    print(f"run        {args.run}, step {trained.step:,}")
    tols = ", ".join(f"{case.solver.rtol:g}" for case in cases)
    tell(f"solver     {method} at tol {tols}: forward, a step size an image and one a batch", _INDENT)
    errors = f"errors of the first {min(NUM_WITH_ERRORS, num_batches) * BATCH_SIZE:,} images"
    tell(f"reference  {reference.method} at {reference.tol:g} in float64, for {errors}", _INDENT)
    num_pieces = num_batches * len(cases)
    tell(f"pieces     {num_pieces:,}, {num_pieces - len(todo):,} of them done", _INDENT)
    if todo:
        _add_pieces(measurement, files, todo)
    _print_table(args.run)
    return 0


def _add_pieces(measurement: ImageMeasurement, files: ImageFiles, todo: Sequence[tuple[Case, int]]) -> None:
    """Measure what is left to do, a batch at one tolerance after the other, and append each at once."""
    from tqdm import tqdm

    clock = _Clock(todo)
    try:
        with tqdm(
            total=len(todo), unit="piece", file=sys.stderr, dynamic_ncols=True, leave=False, disable=None
        ) as bar:
            for (_, batch), rows in zip(todo, measurement.rows(todo), strict=True):
                files.append(rows)
                clock.tick()
                bar.set_postfix_str(f"batch {batch}, {duration(clock.left)} left", refresh=False)
                bar.update()
                if clock.is_to_be_told:
                    progress = f"{clock.done:,} of {counted(len(todo), 'piece')}"
                    say(f"batch {batch + 1}: {progress}, {duration(clock.left)} left")
    except (KeyboardInterrupt, SystemExit):
        say(
            f"{clock.done:,} of {counted(len(todo), 'piece')} are in {files.table}; the same command continues"
        )
        raise


class _Clock:
    """How long the pieces that are left take: those that begin with a reference solve, and the others."""

    def __init__(self, todo: Sequence[tuple[Case, int]]) -> None:
        batches = [None, *(batch for _, batch in todo)]
        self._has_reference = [
            batch < NUM_WITH_ERRORS and batch != before
            for before, (_, batch) in zip(batches, todo, strict=False)
        ]
        self._seconds: list[float] = []
        self._last = self._told = time.perf_counter()

    def tick(self) -> None:
        """One more piece is done."""
        now = time.perf_counter()
        self._seconds.append(now - self._last)
        self._last = now

    @property
    def done(self) -> int:
        return len(self._seconds)

    @property
    def left(self) -> float:
        """Seconds; before a piece of its kind was done, one takes as long as the mean."""
        total = 0.0
        for kind in (True, False):
            known = [
                each for each, has in zip(self._seconds, self._has_reference, strict=False) if has == kind
            ]
            total += self._has_reference[self.done :].count(kind) * statistics.fmean(known or self._seconds)
        return total

    @property
    def is_to_be_told(self) -> bool:
        """Once a minute, as long as something is left to do."""
        is_due = self._last - self._told > _SECONDS_A_LINE and self.done < len(self._has_reference)
        if is_due:
            self._told = self._last
        return is_due


def _print_table(run: Path) -> None:
    table = render(named_table("per_image", find_runs(run), run), SCREEN, terminal_width(sys.stdout))
    plot = shlex.join(["nodebench", "plot", "per_image", "--runs", str(run)])
    print(f"\n{table}\n\nnext       {plot}")
