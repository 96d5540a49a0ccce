"""What `nodebench measure` measures: solvers, tolerances, gradient modes and batches, and the plan it prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodebench.config.check import check_solver, takes_fixed_steps
from nodebench.config.errors import ConfigError
from nodebench.config.files import config_folders, shipped_targets
from nodebench.config.ranges import check_ranges
from nodebench.ode.methods.traits import GRADIENTS, known_methods
from nodebench.ode.settings import SolverSettings
from nodebench.records.measures import NUM_TIMED, TOLERANCES
from nodebench.terminal import tell

if TYPE_CHECKING:
    from nodebench.measurement import Case

Solvers = Sequence[tuple[dict[str, Any], tuple[str, ...]]]
_INDENT = len("reference  ")


def check_solvers(
    config: dict[str, Any],
    methods: Sequence[str],
    tols: Sequence[float],
    config_dir: str | Path | None = None,
) -> Solvers:
    """A solver node for each (method, tol), and the gradient modes that it is measured with: none for others.

    Raises ConfigError for a method that does not exist or has no tolerance to vary, and for a tolerance out of range.
    """
    from nodebench.config.build import Builder

    allowed = shipped_targets(config_folders(config_dir))
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
            if takes_fixed_steps(method):
                raise ConfigError(
                    f"{method} takes fixed steps, and measure varies the tolerance; name solvers that choose their "
                    "steps, such as solver=dopri5,bosh3 (`nodebench evaluate RUN solver.dt=...` has fixed steps)"
                )
            check_ranges({"solver": node})
            check_solver(node, gradient=None)
            Builder({**config, "solver": node}, allowed).check_fit()
            solvers.append((node, tuple(_possible_gradients(node)) if is_own else ()))
    return solvers


def check_images(solvers: Solvers, has_baselines: bool) -> None:
    """Raises ConfigError unless each image can have steps of its own by the one method that is asked for."""
    if has_baselines:
        raise ConfigError(
            "--per-sample measures steps of their own, which torchdiffeq's solvers do not have; drop --baselines"
        )
    first, *others = dict.fromkeys(node["method"] for node, _ in solvers)
    if others:
        raise ConfigError(
            f"--per-sample keeps the images of one solver, and {first}, {', '.join(others)} are several; name one"
        )
    if not known_methods()[first].has_own_steps:
        raise ConfigError(
            f"{first} has one step size for a whole batch, and --per-sample is about steps of their own; name an "
            "explicit Runge-Kutta method such as solver=dopri5"
        )


def _possible_gradients(node: dict[str, Any]) -> Iterator[str]:
    """The adjoint, and the modes that go through the solver's own steps where it shows them."""
    for gradient in GRADIENTS:
        try:
            check_solver(node, gradient)
        except ConfigError:
            if gradient == "adjoint":
                raise
        else:
            yield gradient


def baseline_versions() -> dict[str, str]:
    """torchdiffeq's version, which its rows must share. Raises ConfigError if it is not installed."""
    try:
        return {"torchdiffeq": version("torchdiffeq")}
    except PackageNotFoundError as error:
        raise ConfigError(
            "--baselines needs torchdiffeq, which is not installed: `pip install 'nodebench[baselines]'`, "
            "or leave --baselines out"
        ) from error


def make_cases(solvers: Solvers, num_batches: int, asked: int | None) -> list[Case]:
    """The adjoint of the run's own solver on all batches, the other gradient modes and solvers on the first few."""
    from nodebench.config.build import solver_settings
    from nodebench.measurement import Case

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


def make_baseline_cases(
    config: dict[str, Any], tols: Sequence[float], num_batches: int, asked: int | None
) -> list[Case]:
    """torchdiffeq's adaptive solvers at the same tolerances, forwards on the first few batches."""
    from nodebench.measurement import Case
    from nodebench.measurement.baselines import METHODS, TORCHDIFFEQ

    few = min(num_batches, asked or NUM_TIMED)
    budget = config["solver"]["max_steps"]
    return [
        Case(SolverSettings(method, tol, tol, max_steps=budget), "adjoint", few, False, TORCHDIFFEQ)
        for method in METHODS
        for tol in tols or TOLERANCES
    ]


def print_plan(
    run: Path, step: int, cases: Sequence[Case], todo: Sequence[tuple[Case, int]], made_with: dict[str, Any]
) -> None:
    """What is measured, against which reference, and how much of it is done."""
    print(f"run        {run}, step {step:,}")  # a folder is one word, to be copied, however long it is
    names = dict.fromkeys(case.name for case in cases)
    for name in names:
        own = [case for case in cases if case.name == name]
        tols = ", ".join(dict.fromkeys(f"{case.solver.rtol:g}" for case in own))
        modes = dict.fromkeys(
            f"{case.gradient if case.has_backward else 'forward'} on {case.num_batches}" for case in own
        )
        noun = "batch" if own[-1].num_batches == 1 else "batches"
        tell(f"solver     {name} at tol {tols}: {', '.join(modes)} {noun} of 100", _INDENT)
    adjoint = made_with["solver"]["adjoint"]
    if any(case.has_backward for case in cases):
        tol = "the row's" if adjoint["rtol"] is None else f"{adjoint['rtol']:g}"
        tell(f"adjoint    tolerance {tol}, norm {adjoint['norm']}", _INDENT)
    reference = made_with["reference"]
    tell(
        f"reference  {reference['method']} at {reference['tol']:g} in float64, its gradient {reference['gradient']}",
        _INDENT,
    )
    num_rows = sum(case.num_batches for case in cases)
    tell(f"rows       {num_rows:,}, {num_rows - len(todo):,} of them done", _INDENT)
