"""Evaluations of a field without a solver around them: what a solve could cost at least."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from nodebench.benchmark.contestants import COMPILED, EAGER, Contestant, Measured, Stopwatch, flat
from nodebench.benchmark.problems import Problem
from nodebench.ode import hush_compiler
from nodebench.ode.compiled.inputs import OPTIONS

BARE = "bare"  # stands where a library's name does
WITHOUT_GRAPH, WITH_VJP = "one f", "one f, vjp"
_ENOUGH_MS = 5.0  # of evaluations in a row, so that the clock's own cost is lost in them
_MOST_CALLS = 200


def bare_contestants(problem: Problem, execution: str = EAGER) -> list[Contestant]:
    """One f that autograd does not see, and, where the problem has a loss, one that it records, with its
    vector-Jacobian product in y and the parameters. Times are means over evaluations in a row.
    """
    if execution == COMPILED:
        problem = replace(problem, field=_compiled(problem.field))
    runs = {WITHOUT_GRAPH: _without_graph}
    if problem.loss is not None:
        runs[WITH_VJP] = _with_vjp
    return [
        Contestant(
            name=f"{label} of {problem.field_name}'s field, {execution}",
            library_name=BARE,
            field=problem.field_name,
            gradient=label,
            execution=execution,
            run=lambda run=run: run(problem, _number_of_calls(problem)),  # type: ignore[misc]
        )
        for label, run in runs.items()
    ]


def _compiled(field: nn.Module) -> nn.Module:
    """The field under torch.compile as compiled steps have it, a graph of its own, with the field's parameters."""
    hush_compiler()
    compiled: nn.Module = torch.compile(field, fullgraph=True, dynamic=False, options=dict(OPTIONS))  # type: ignore[assignment]
    return compiled


def _without_graph(problem: Problem, num_calls: int) -> Measured:
    t = _start_time(problem)
    watch = Stopwatch(problem.device)
    with torch.no_grad():
        for _ in range(num_calls):
            dy = problem.field(t, problem.y0)
    return Measured(watch.lap() / num_calls, None, 1, None, flat(dy), None)


def _with_vjp(problem: Problem, num_calls: int) -> Measured:
    t = _start_time(problem)
    params = list(problem.field.parameters())
    starts = [tuple(part.detach().requires_grad_() for part in problem.parts) for _ in range(num_calls)]
    watch = Stopwatch(problem.device)
    slopes = [problem.field(t, parts if isinstance(problem.y0, tuple) else parts[0]) for parts in starts]
    forward_ms = watch.lap()
    for parts, dy in zip(starts, slopes, strict=True):
        outputs = dy if isinstance(dy, tuple) else (dy,)
        products = [torch.ones_like(output) for output in outputs]
        torch.autograd.grad(outputs, [*parts, *params], products, allow_unused=True)
    backward_ms = watch.lap()
    return Measured(forward_ms / num_calls, backward_ms / num_calls, 1, 1, flat(slopes[-1]), None)


def enough_calls(pilot_ms: float) -> int:
    """How many calls in a row to time together, where one has taken `pilot_ms`: 2 to 200."""
    return min(_MOST_CALLS, max(2, round(_ENOUGH_MS / pilot_ms)))


def _number_of_calls(problem: Problem) -> int:
    return enough_calls(_without_graph(problem, 1).time_forward_ms)


def _start_time(problem: Problem) -> Tensor:
    return torch.full((), problem.ts[0], dtype=problem.parts[0].dtype, device=problem.device)
