"""`nodebench measure`: counts, errors, times and memory of a trained classifier's ODE block, batch by batch."""

from __future__ import annotations

import argparse
import hashlib
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodebench.commands.evaluate import with_changes
from nodebench.config.check import GRADIENTS, check_device, check_solver, check_state_size
from nodebench.config.errors import ConfigError
from nodebench.config.saved import read_config

if TYPE_CHECKING:
    from torch import nn

    from nodebench.commands.measure_files import MeasureFiles
    from nodebench.commands.trained import Trained
    from nodebench.measurement import Case, Measurement

EPILOG = """examples:
  nodebench measure outputs/classification/RUN/seed0
  nodebench measure outputs/classification/RUN/seed0 solver=dopri8,tsit5,bosh3

The run's own solver is measured forward and backward on the whole test set, every other one forward on 5 batches.
Further settings are solver.tol=LIST, solver.controller and so on, solver.adjoint.*, data.root and device.
The same command again continues. Writes RUN/measure.csv, and RUN/measure.json with what it was made with."""
_BATCHES_A_LINE = 10


def run(argv: Sequence[str]) -> int:
    """Measure a run and print the medians. Returns the exit code: 0, or 1 if the reference solve failed."""
    args = _parser().parse_intermixed_args(argv)
    if args.batches is not None and args.batches < 1:
        raise ConfigError(f"--batches {args.batches} is not possible; it must be a whole number, 1 or above")
    if not 0 < args.reference_tol < math.inf:
        raise ConfigError(f"--reference-tol {args.reference_tol:g} is not possible; it must be above 0")
    methods, tols, others = _take_lists(args.overrides)
    own = read_config(args.run)

    from nodebench.commands.trained import check_has_solve, load_trained

    check_has_solve(own, "measure")
    config = with_changes(own, others, args.config_dir)
    check_device(config["device"])
    solvers = _check_solvers(config, methods, tols)
    trained = load_trained(args.run, config, args.config_dir)

    from nodebench.ode import SolverError
    from nodebench.training import RunFolderError

    try:
        return _measure(args, config, solvers, trained)
    except SolverError as error:
        print(f"nodebench: the reference solve failed: {error}", file=sys.stderr)
        return 1
    except RunFolderError as error:
        raise ConfigError(str(error)) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nodebench measure",
        description="Measure a trained ODE-Net's solves on the test set in batches of 100, at tolerances 1 to 1e-5.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="a run folder: .../seed<k>")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="other solvers, or a setting")
    parser.add_argument(
        "--batches", type=int, metavar="N", help="the first N batches (default: all; 5 of another solver)"
    )
    parser.add_argument(
        "--reference-tol",
        type=float,
        default=1e-8,
        metavar="TOL",
        help="of the float64 solve (default: 1e-8)",
    )
    parser.add_argument("--config-dir", help="a folder of your own, searched beside the shipped configs")
    return parser


def _take_lists(overrides: Sequence[str]) -> tuple[list[str], list[float], list[str]]:
    """The methods of `solver=A,B`, the tolerances of `solver.tol=A,B`, and every other override."""
    methods: list[str] = []
    tols: list[float] = []
    others = []
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


def _check_solvers(
    config: dict[str, Any], methods: list[str], tols: list[float]
) -> list[tuple[dict[str, Any], tuple[str, ...]]]:
    """A solver node for each (method, tol), and the gradient modes that it is measured with: none for others.

    Raises ConfigError for a method that does not exist or has no tolerance to vary.
    """
    from nodebench.measurement import TOLERANCES

    own = config["solver"]
    if own["dt"] is not None and not methods:
        raise ConfigError(
            f"the run was trained with {own['method']} at fixed steps of {own['dt']:g}, which have no tolerance to "
            "vary; name solvers that choose their steps, such as solver=dopri5,bosh3"
        )
    solvers = []
    for method in methods or [own["method"]]:
        is_own = method == own["method"] and own["dt"] is None
        for tol in tols or TOLERANCES:
            node = {**own, "method": method, "tol": tol, "rtol": None, "atol": None, "dt": None}
            check_solver(node, gradient=None)
            check_state_size({**config, "solver": node})
            solvers.append((node, tuple(_possible_gradients(node)) if is_own else ()))
    return solvers


def _possible_gradients(node: dict[str, Any]) -> Iterator[str]:
    """The adjoint, and the modes that go through the solver's own steps where it shows them."""
    without_adjoint = {**node, "adjoint": dict.fromkeys(node["adjoint"])}
    for gradient in GRADIENTS:
        try:
            check_solver(node if gradient == "adjoint" else without_adjoint, gradient)
        except ConfigError:
            if gradient == "adjoint":
                raise
        else:
            yield gradient


def _measure(
    args: argparse.Namespace,
    config: dict[str, Any],
    solvers: list[tuple[dict[str, Any], tuple[str, ...]]],
    trained: Trained,
) -> int:
    from nodebench.commands.measure_files import MeasureFiles
    from nodebench.commands.trained import classifier_with_ode
    from nodebench.measurement import Measurement, ReferenceSettings, order
    from nodebench.training.environment import describe_environment
    from nodebench.training.memory import measure_memory
    from nodebench.training.progress import say

    net, task, data = classifier_with_ode(trained)
    settings = ReferenceSettings(tol=args.reference_tol)
    environment = describe_environment(trained.device)
    made_with = {
        "step": trained.step,
        "weights": _digest(net),
        "data": config["data"]["name"],
        "num_images": len(data.test),
        "solver": _shared(config["solver"]),
        "reference": {**asdict(settings), "dtype": "float64"},
        **{key: environment[key] for key in ("version", "device", "device_name", "num_threads")},
    }
    files = MeasureFiles(args.run, made_with, environment["git_commit"])
    measurement = Measurement(net, task, data.test, settings, measure_memory, say, files.errors)
    cases = _cases(solvers, measurement.num_batches, args.batches)
    todo = order(cases, files.done)
    _print_plan(args.run, trained.step, cases, todo, made_with)
    if todo:
        files.begin()
        _add_rows(measurement, files, todo)
    _print_summary(files.rows, args.run)
    return 0


def _cases(
    solvers: list[tuple[dict[str, Any], tuple[str, ...]]], num_batches: int, asked: int | None
) -> list[Case]:
    """The adjoint of the run's own solver on all batches, the other gradient modes and solvers on the first few."""
    from nodebench.config.build import solver_settings
    from nodebench.measurement import Case
    from nodebench.measurement.cases import NUM_TIMED

    most = min(num_batches, asked or num_batches)
    cases = []
    for node, gradients in solvers:
        settings = solver_settings(node)
        for gradient in gradients:
            few = most if gradient == "adjoint" else min(most, NUM_TIMED)
            cases.append(Case(settings, gradient, few))
        if not gradients:  # forwards, which every gradient mode does alike
            few = min(num_batches, asked or NUM_TIMED)
            cases.append(Case(settings, "adjoint", few, has_backward=False))
    return cases


def _add_rows(measurement: Measurement, files: MeasureFiles, todo: list[tuple[Case, int]]) -> None:
    """Measure what is left to do, say how long it takes, and append every row at once."""
    from tqdm import tqdm

    from nodebench.training.progress import say

    say("timing the first batch ...")
    seconds = measurement.estimate(todo)
    total, passed = sum(seconds.values()), 0.0
    say(f"about {_duration(total)} for {len(todo):,} rows")
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
                bar.set_postfix_str(f"batch {batch}, {_duration(left)} left", refresh=False)
                bar.update()
                is_last_of_batch = done == len(todo) or todo[done][1] != batch
                if is_last_of_batch and (batch + 1) % _BATCHES_A_LINE == 0 and done < len(todo):
                    say(f"batch {batch + 1}: {done:,} of {len(todo):,} rows, {_duration(left)} left")
    except (KeyboardInterrupt, SystemExit):
        say(f"{done:,} of {len(todo):,} rows are in {files.table}; the same command continues")
        raise


def _digest(model: nn.Module) -> str:
    """Eight hexadecimal digits that differ when a weight does: a run trained anew may end at the same step."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:8]


def _shared(solver: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that all rows share; what is null in `adjoint` is as in the row."""
    own = ("name", "method", "tol", "rtol", "atol", "dt")
    shared = {key: value for key, value in solver.items() if key not in own}
    return {**shared, "max_step": None if math.isinf(solver["max_step"]) else solver["max_step"]}


def _print_plan(
    run: Path, step: int, cases: list[Case], todo: list[tuple[Case, int]], made_with: dict[str, Any]
) -> None:
    print(f"run        {run}, step {step:,}")
    methods = dict.fromkeys(case.solver.method for case in cases)
    for method in methods:
        own = [case for case in cases if case.solver.method == method]
        tols = ", ".join(dict.fromkeys(f"{case.solver.rtol:g}" for case in own))
        modes = dict.fromkeys(
            f"{case.gradient if case.has_backward else 'forward'} on {case.num_batches}" for case in own
        )
        print(f"solver     {method} at tol {tols}: {', '.join(modes)} batches of 100")
    adjoint = made_with["solver"]["adjoint"]
    if any(case.has_backward for case in cases):
        tol = "the row's" if adjoint["rtol"] is None else f"{adjoint['rtol']:g}"
        print(f"adjoint    tolerance {tol}, norm {adjoint['norm']}")
    reference = made_with["reference"]
    print(
        f"reference  {reference['method']} at {reference['tol']:g} in float64, its gradient {reference['gradient']}"
    )
    num_rows = sum(case.num_batches for case in cases)
    print(f"rows       {num_rows:,}, {num_rows - len(todo):,} of them done", flush=True)


def _print_summary(rows: Sequence[Mapping[str, Any]], run: Path) -> None:
    from nodebench.commands.measure_summary import summary

    print(f"\n{summary(rows)}\n\nnext       nodebench plot fig3 --runs {run}")


def _duration(seconds: float) -> str:
    from tqdm import tqdm

    return str(tqdm.format_interval(seconds))
