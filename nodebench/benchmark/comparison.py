"""What the workloads that solve one problem share: who is raced, at which tolerances, and the page about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pandas as pd
import torch
from matplotlib.figure import Figure

from nodebench.benchmark.bare import BARE, bare_contestants
from nodebench.benchmark.contestants import COMPILED, Contestant
from nodebench.benchmark.curves import describe_curves, draw_curves
from nodebench.benchmark.diffrax_baseline import diffrax_contestants, diffrax_notes
from nodebench.benchmark.libraries import (
    FORWARD,
    NODEBENCH,
    NODEBENCH_COMPILED,
    PER_SAMPLE,
    TORCHDIFFEQ,
    TORCHODE,
    Library,
    installed,
    make_contestant,
)
from nodebench.benchmark.problems import Problem
from nodebench.benchmark.race import race
from nodebench.benchmark.ratios import COLUMNS as RATIO_COLUMNS
from nodebench.benchmark.ratios import LEGEND as RATIO_LEGEND
from nodebench.benchmark.ratios import make_ratios
from nodebench.benchmark.report import Report, left_out, machine
from nodebench.benchmark.rows import COLUMNS, LEGEND, make_rows, to_markdown
from nodebench.ode import missing_compiler


@dataclass(frozen=True)
class Setup:
    """How a workload is run. `quick`: smaller sizes, fewer rounds, nothing compiled; `tell` hears of progress."""

    device: torch.device
    quick: bool = False
    tell: Callable[[str], object] | None = None

    def tells(self, what: str) -> Callable[[str], object]:
        """A function that tells of progress in `what`; one that does nothing where nobody hears it."""
        tell = self.tell
        return (lambda line: None) if tell is None else (lambda line: tell(f"{what}: {line}"))

    @property
    def compiles(self) -> bool:
        """Whether compiled variants are raced."""
        return not self.quick and missing_compiler(self.device) is None


@dataclass(frozen=True)
class Effort:
    """Rounds at the workload's tolerance, and at each of the others that its curve is made of.

    `fine_tols` are further points of the curves, without the adjoint under the full norm, which takes minutes there.
    """

    num_rounds: int
    curve_tols: tuple[float, ...] = ()
    num_curve_rounds: int = 1
    fine_tols: tuple[float, ...] = ()


def compare(
    name: str, what: str, own: Problem, published: Problem | None, tol: float, effort: Effort, setup: Setup
) -> Report:
    """Race nodebench against the baselines that are installed, on our field and on the published one.

    `what` says in one sentence what the work is. Memory is measured at `tol` alone.
    """
    contestants = contestants_for(own, published, tol, setup.compiles)
    results = race(contestants, effort.num_rounds, setup.tells(f"{name}, tolerance {tol:g}"))
    for curve_tol in (*effort.curve_tols, *effort.fine_tols):
        contestants = contestants_for(own, published, curve_tol, setup.compiles)
        others = [replace(c, measure_memory=None) for c in contestants if c.library_name != BARE]
        if curve_tol in effort.fine_tols:
            others = [c for c in others if c.gradient != "adjoint-full"]
        results += race(others, effort.num_curve_rounds, setup.tells(f"{name}, tolerance {curve_tol:g}"))
    setup.tells(name)("gradient errors and memory")
    rows = make_rows(results, [problem for problem in (own, published) if problem is not None])
    ratios = make_ratios(rows, tol)
    figure = draw_curves(rows) if own.loss is not None else None
    quick = " Quick: smaller than the real workload, and few rounds; the numbers say little."
    about = f"{what}{quick * setup.quick} {effort.num_rounds} rounds, every contestant in turn."
    head = [f"# bench {name}", about, machine(setup.device), *left_out(), *diffrax_notes(own)]
    page = _page(name, head, rows, ratios, tol, figure)
    return Report(name, page, {name: rows, "ratios": ratios}, figure)


def contestants_for(
    own: Problem, published: Problem | None, tol: float, compiles: bool = False
) -> list[Contestant]:
    """The bare evaluations, every library on our field, and torchdiffeq on the field of its example.

    `compiles`: nodebench takes part a second time, with its steps compiled.
    """
    contestants = bare_contestants(own)
    if compiles:
        contestants += bare_contestants(own, COMPILED)
    compiled = (NODEBENCH_COMPILED,) if compiles else ()
    for library in installed(NODEBENCH, *compiled, TORCHDIFFEQ, TORCHODE):
        contestants += [make_contestant(library, own, mode, tol) for mode in _modes(library, own)]
    contestants += diffrax_contestants(own, tol)
    if published is not None and installed(TORCHDIFFEQ):
        contestants += bare_contestants(published)
        contestants += [make_contestant(TORCHDIFFEQ, published, mode, tol) for mode in TORCHDIFFEQ.gradients]
    return contestants


def _modes(library: Library, problem: Problem) -> Sequence[str]:
    if problem.loss is not None:
        return library.gradients
    return (FORWARD,) if library is TORCHDIFFEQ else (FORWARD, PER_SAMPLE)


def _page(
    name: str, head: list[str], rows: pd.DataFrame, ratios: pd.DataFrame, tol: float, figure: Figure | None
) -> str:
    paragraphs = [*head]
    if len(ratios):
        paragraphs += ["## Ratios", to_markdown(ratios, RATIO_COLUMNS), RATIO_LEGEND]
    if figure is not None:
        paragraphs += describe_curves(rows, tol)
        paragraphs += [f"![gradient error against time]({name}.png)"]
    return "\n\n".join([*paragraphs, "## Times", to_markdown(rows, COLUMNS), LEGEND]) + "\n"
