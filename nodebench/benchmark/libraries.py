"""Who can solve a problem: nodebench, torchdiffeq, torchode. All by dopri5, rtol = atol = tol, from their front doors.

Each library's own defaults hold: torchdiffeq steps past the last time and interpolates, nodebench and
torchode end on it.
Evaluations of the others are counted by wrapping the field.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from nodebench.benchmark.contestants import (
    COMPILED,
    EAGER,
    Contestant,
    Measured,
    Solved,
    memory_of,
    run_forward,
    run_step,
)
from nodebench.benchmark.problems import OWN, Problem, behind_start
from nodebench.ode import Method, odeint

METHOD = "dopri5"
FORWARD = "forward"  # in place of a gradient mode where only the outputs are wanted
OWN_STEPS = "-per-sample"  # behind a mode: every sample with steps of its own
PER_SAMPLE = FORWARD + OWN_STEPS
_GRADIENTS_OF_OWN = ("direct", "checkpointed", "adjoint-full", "adjoint-seminorm", "adjoint-state")

Solve = Callable[[Problem, float, str], Solved]  # (problem, tol, gradient mode)


@dataclass(frozen=True)
class Library:
    """A library, its gradient modes, and its front door."""

    name: str
    gradients: tuple[str, ...]
    solve: Solve
    execution: str = EAGER


class CountedCalls:
    """A field that counts its calls; not a module, so that calling it costs next to nothing."""

    def __init__(self, field: Callable[..., Any]) -> None:
        self._field = field
        self.num = 0

    def __call__(self, t: Tensor, y: Any) -> Any:
        self.num += 1
        return self._field(t, y)

    def solved(self, outputs: Any) -> Solved:
        """A forward pass with its outputs; calls from now on are the backward pass's."""
        num_forward = self.num
        return Solved(outputs, num_forward, lambda: self.num - num_forward)


def solve_nodebench(
    problem: Problem, tol: float, gradient: str, compile: bool = False, method: str | Method = METHOD
) -> Solved:
    """`gradient`: forward, direct, checkpointed, or adjoint-NORM, each also with OWN_STEPS.

    `method`: also one of one's own.
    """
    shared = gradient.removesuffix(OWN_STEPS)
    mode, _, norm = ("direct", "", "") if shared == FORWARD else shared.partition("-")
    settings = {"adjoint_norm": norm} if norm else {}
    solution = odeint(
        problem.field,
        problem.y0,
        problem.ts,
        method=method,
        rtol=tol,
        atol=tol,
        gradient=mode,
        compile=compile,
        steps="shared" if shared == gradient else "per_sample",
        **settings,  # type: ignore[arg-type]
    )
    stats = solution.stats
    return Solved(behind_start(solution.ys), stats.forward.nfe, lambda: stats.backward.nfe)


def solve_torchdiffeq(problem: Problem, tol: float, gradient: str) -> Solved:
    """`gradient`: direct is odeint, adjoint-full odeint_adjoint as it comes, adjoint-seminorm with that norm."""
    torchdiffeq = importlib.import_module("torchdiffeq")
    field = CountedCalls(problem.field)
    ts = torch.tensor(problem.ts, device=problem.device)
    solve = partial(torchdiffeq.odeint, field, problem.y0, ts, rtol=tol, atol=tol, method=METHOD)
    if gradient.startswith("adjoint"):
        options = {"adjoint_options": {"norm": "seminorm"}} if gradient == "adjoint-seminorm" else {}
        params = tuple(problem.field.parameters())
        solve = partial(
            torchdiffeq.odeint_adjoint, *solve.args, **solve.keywords, adjoint_params=params, **options
        )
    return field.solved(behind_start(solve()))


def solve_torchode(problem: Problem, tol: float, gradient: str) -> Solved:
    """The whole batch is one sample to torchode, so that it takes one step size as the others do.

    With OWN_STEPS every sample, a row of the state, has its own, which needs a field without time. As in the other
    libraries no gradient flows through the choice of the steps. Raises ValueError for a tuple state.
    """
    torchode = importlib.import_module("torchode")
    if isinstance(problem.y0, tuple):
        raise ValueError("torchode solves one tensor; pack the state first")
    shape = problem.y0.shape
    if gradient.endswith(OWN_STEPS):
        field, start = CountedCalls(problem.field), problem.y0
    else:
        field = CountedCalls(lambda t, y: problem.field(t[0], y.view(shape)).view(1, -1))
        start = problem.y0.reshape(1, -1)
    term = torchode.ODETerm(field, with_stats=False)
    solver = torchode.AutoDiffAdjoint(
        torchode.Dopri5(term=term),
        torchode.IntegralController(atol=tol, rtol=tol, term=term),
        backprop_through_step_size_control=False,
    )
    t_start, t_end = (start.new_full((len(start),), t) for t in (problem.ts[0], problem.ts[-1]))
    t_eval = start.new_tensor(problem.ts).expand(len(start), -1) if len(problem.ts) > 2 else None
    initial = torchode.InitialValueProblem(y0=start, t_start=t_start, t_end=t_end, t_eval=t_eval)
    ys = solver.solve(initial).ys[:, 1 if t_eval is not None else -1 :]  # (samples, outputs, entries)
    return field.solved(ys.transpose(0, 1).reshape(-1, *shape))


NODEBENCH = Library(OWN, _GRADIENTS_OF_OWN, solve_nodebench)
NODEBENCH_COMPILED = Library(OWN, _GRADIENTS_OF_OWN, partial(solve_nodebench, compile=True), COMPILED)
TORCHDIFFEQ = Library("torchdiffeq", ("direct", "adjoint-full", "adjoint-seminorm"), solve_torchdiffeq)
TORCHODE = Library("torchode", ("direct",), solve_torchode)
DIFFRAX = "diffrax"  # in JAX, so that it has a module of its own: diffrax_baseline
BASELINES = (TORCHDIFFEQ.name, TORCHODE.name, DIFFRAX)


def missing_baselines() -> list[str]:
    """The names of the baselines that are not installed."""
    return [name for name in BASELINES if find_spec(name) is None]


def installed(*libraries: Library) -> list[Library]:
    """Those of `libraries` that can be raced here."""
    return [library for library in libraries if library.name not in missing_baselines()]


def make_contestant(library: Library, problem: Problem, gradient: str, tol: float) -> Contestant:
    """A contestant that solves `problem`, with its gradient where the problem has a loss."""

    def forward() -> Solved:
        return library.solve(problem, tol, gradient)

    loss = problem.loss

    def run() -> Measured:
        if loss is None:
            return run_forward(forward, problem.device)
        return run_step(forward, loss, problem.leaves, problem.device)

    return Contestant(
        name=f"{library.name} {gradient}, {library.execution}, on {problem.field_name}'s field at {tol:g}",
        library_name=library.name,
        field=problem.field_name,
        gradient=gradient,
        run=run,
        tol=tol,
        execution=library.execution,
        measure_memory=None
        if loss is None
        else lambda: memory_of(problem.field, forward, loss, problem.device),
    )
