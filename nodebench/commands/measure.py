"""`nodebench measure`: counts, errors, times and memory of a trained classifier's ODE block, batch by batch."""

from __future__ import annotations

import argparse
import math
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodebench.commands.arguments import Parser, count, number, place
from nodebench.commands.destinations import check_folder, writing_to
from nodebench.commands.evaluate import KEYS, with_changes
from nodebench.commands.measure_plan import (
    Solvers,
    baseline_versions,
    check_images,
    check_solvers,
    make_baseline_cases,
    make_cases,
    print_plan,
)
from nodebench.config.check import check_device
from nodebench.config.errors import ConfigError
from nodebench.config.files import CONFIG_DIR_HELP
from nodebench.config.overrides import parse
from nodebench.config.saved import read_config
from nodebench.counted import counted
from nodebench.records import measures, per_image
from nodebench.records.measures import OWN, TOLERANCES
from nodebench.terminal import terminal_width

if TYPE_CHECKING:
    from nodebench.commands.measure_files import MeasureFiles
    from nodebench.commands.session import Session
    from nodebench.measurement import Case, Measurement

EPILOG = """examples:
  nodebench measure outputs/classification/RUN/seed0
  nodebench measure outputs/classification/RUN/seed0 solver=dopri8,tsit5,bosh3
  nodebench measure outputs/classification/RUN/seed0 solver=bosh3 --baselines
  nodebench measure outputs/classification/RUN/seed0 --per-sample

The run's own solver is measured forward and backward on the whole test set, every other one forward on 5 batches.
Times compare best where all solvers are named at once: they are then measured in turns, batch by batch. With
--baselines so are torchdiffeq's dopri5, bosh3, dopri8, adaptive_heun and fehlberg2, made to end on the last time as
ours do; the last two begin a step with a slope from a stage at another point, which ours evaluate anew.
Further settings are solver.tol=LIST, solver.controller and so on, solver.adjoint.*, data.root and device.
With --per-sample every image has a step size of its own, beside the one that its batch shares, for one solver, and
the first 10 batches have errors too.
The same command again continues. Writes RUN/measure.csv, and RUN/measure.json with what it was made with; with
--per-sample RUN/per_image.csv and RUN/per_image.json."""
REFERENCE_TOLERANCE = number(1e-12, 0.1)  # below, a decade tighter is beyond float64
_BATCHES_A_LINE = 10


def run(argv: Sequence[str]) -> int:
    """Measure a run and print the medians; returns 0.

    Raises ConfigError for what cannot be measured, FailedError if the reference solve failed.
    """
    args = _parser().parse_intermixed_args(argv)
    methods, tols, others = _take_lists(args.overrides)
    own = read_config(args.run)

    from nodebench.commands.session import load_trained
    from nodebench.commands.trained import check_has_solve, failures_told

    check_has_solve(own, "measure")
    config = with_changes(own, others, args.config_dir)
    check_device(config["device"])
    solvers = check_solvers(config, methods, tols, args.config_dir)
    _check_reference(args.reference_tol, tols)
    if args.per_sample:
        check_images(solvers, args.baselines)
    file = per_image.FILE if args.per_sample else measures.FILE
    with writing_to(args.run, f"{file} belongs there; measure a copy of the run"):
        check_folder(args.run)
    versions = baseline_versions() if args.baselines else {}
    trained = load_trained(args.run, config, args.config_dir)

    from nodebench.training import RunFolderError

    try:
        with failures_told("the reference solve"):
            if args.per_sample:
                from nodebench.commands.measure_images import measure_images

                return measure_images(args, config, solvers, trained)
            return _measure(args, config, solvers, tols, versions, trained)
    except RunFolderError as error:
        raise ConfigError(str(error)) from error


def _check_reference(reference_tol: float, tols: Sequence[float]) -> None:
    tightest = min(tols or TOLERANCES)
    if reference_tol >= tightest:
        raise ConfigError(
            f"--reference-tol {reference_tol:g} is no tighter than the solves that are measured against it, down to "
            f"solver.tol={tightest:g}; give it below"
        )


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="nodebench measure",
        description="Measure a trained ODE-Net's solves on the test set in batches of 100, at tolerances 1 to 1e-5.",
        epilog=EPILOG,
    )
    parser.add_argument("run", metavar="RUN", type=place, help="a run folder: .../seed<k>")
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", words=KEYS, help="other solvers, or a setting"
    )
    parser.add_argument(
        "--batches", type=count, metavar="N", help="the first N batches (default: all; 5 of another solver)"
    )
    parser.add_argument(
        "--reference-tol",
        type=REFERENCE_TOLERANCE,
        default=1e-8,
        metavar="TOL",
        help="of the float64 solve (default: 1e-8)",
    )
    parser.add_argument(
        "--baselines",
        action="store_true",
        help="torchdiffeq's solvers too, forward on 5 batches (extra `baselines`; takes some minutes more)",
    )
    parser.add_argument(
        "--per-sample",
        action="store_true",
        help="what each image needs where its steps are its own, forward, in per_image.csv",
    )
    parser.add_argument("--config-dir", help=CONFIG_DIR_HELP)
    return parser


def _take_lists(overrides: Sequence[str]) -> tuple[list[str], list[float], list[str]]:
    """The methods of `solver=A,B`, the tolerances of `solver.tol=A,B`, and every other override."""
    methods: list[str] = []
    tols: list[float] = []
    others = []
    parse(overrides)  # for the words on what cannot be read, or is given twice
    for text in overrides:
        key, _, value = text.partition("=")
        if key == "solver":
            methods = [name.strip() for name in value.strip("[]").split(",")]
        elif key == "solver.tol":
            tols = [_tolerance(part) for part in value.strip("[]").split(",")]
        elif key in ("solver.rtol", "solver.atol", "solver.dt"):
            raise ConfigError(f"`{text}`: measure varies the tolerance; give solver.tol=A,B,... or drop it")
        else:
            others.append(text)
    return list(dict.fromkeys(methods)), list(dict.fromkeys(tols)), others


def _tolerance(text: str) -> float:
    try:
        tol = float(text)
    except ValueError:
        tol = math.nan
    if not 0 < tol < math.inf:
        raise ConfigError(f"solver.tol={text} is not possible; it must be a finite number above 0")
    return tol


def _measure(
    args: argparse.Namespace,
    config: dict[str, Any],
    solvers: Solvers,
    tols: Sequence[float],
    versions: Mapping[str, str],
    trained: Session,
) -> int:
    from nodebench.commands.measure_files import MeasureFiles
    from nodebench.commands.measure_origin import commit_of, made_with
    from nodebench.commands.trained import classifier_with_ode
    from nodebench.measurement import Measurement, ReferenceSettings, order
    from nodebench.training.memory import measure_memory
    from nodebench.training.progress import say

    net, task, data = classifier_with_ode(trained)
    settings = ReferenceSettings(tol=args.reference_tol)
    origin = made_with(trained, net, len(data.test), config, settings)
    files = MeasureFiles(args.run, origin, commit_of(trained), versions)
    measurement = Measurement(net, task, data.test, settings, measure_memory, say, files.errors)
    cases = make_cases(solvers, measurement.num_batches, args.batches)
    if versions:
        cases += make_baseline_cases(config, tols, measurement.num_batches, args.batches)
    todo = order(cases, files.done)
    print_plan(args.run, trained.step, cases, todo, origin)
    if todo:
        _add_rows(measurement, files, todo)
    _print_summary(files, args.run)
    return 0


def _add_rows(measurement: Measurement, files: MeasureFiles, todo: list[tuple[Case, int]]) -> None:
    """Measure what is left to do, say how long it takes, and append every row at once."""
    from tqdm import tqdm

    from nodebench.training.progress import about, duration, say, shown

    say("timing the first batch ...")
    with shown("timing", unit="solver") as progress:
        seconds = measurement.estimate(todo, progress)
    total, passed = sum(seconds.values()), 0.0
    others = sum(left for key, left in seconds.items() if key.library != OWN)
    share = f", {about(others)} of it for torchdiffeq's" if others else ""
    say(f"{about(total)} for {counted(len(todo), 'row')}{share}")
    start = time.perf_counter()
    done = 0
    try:
        with tqdm(
            total=len(todo), unit="row", file=sys.stderr, dynamic_ncols=True, leave=False, disable=None
        ) as bar:
            for (case, batch), row in zip(todo, measurement.rows(todo), strict=True):
                files.append(row, measurement.errors)
                done += 1
                passed += seconds[case.key(batch)]
                left = (total - passed) * (time.perf_counter() - start) / max(passed, 1e-9)
                bar.set_postfix_str(f"batch {batch}, {duration(left)} left", refresh=False)
                bar.update()
                is_last_of_batch = done == len(todo) or todo[done][1] != batch
                if is_last_of_batch and (batch + 1) % _BATCHES_A_LINE == 0 and done < len(todo):
                    say(f"batch {batch + 1}: {done:,} of {counted(len(todo), 'row')}, {duration(left)} left")
    except (KeyboardInterrupt, SystemExit):
        say(f"{done:,} of {counted(len(todo), 'row')} are in {files.table}; the same command continues")
        raise


def _print_summary(files: MeasureFiles, run: Path) -> None:
    from nodebench.commands.measure_summary import summary

    plot = shlex.join(["nodebench", "plot", "fig3", "--runs", str(run)])
    print(f"\n{summary(files.rows, files.errors, terminal_width(sys.stdout))}\n\nnext       {plot}")
