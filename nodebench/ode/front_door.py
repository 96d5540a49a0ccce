"""The front door: check the call, pack the state, put the parts together, and hand them to a gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Unpack, cast

import torch
from torch import Tensor

from nodebench.ode.assembly import Assembly, check_call, choose_backend, parameters
from nodebench.ode.clock import Times, make_clock, time_dtype
from nodebench.ode.counts import Counts, SolveStats
from nodebench.ode.drive.dense import DenseOutput
from nodebench.ode.drive.watch import EventWatch
from nodebench.ode.events import AnyEvent, check_events
from nodebench.ode.field import CountedField
from nodebench.ode.gradients.adjoint import solve_adjoint
from nodebench.ode.gradients.checkpointed import solve_checkpointed
from nodebench.ode.gradients.direct import solve_direct
from nodebench.ode.gradients.event_times import crossings
from nodebench.ode.gradients.problem import Outputs, Problem
from nodebench.ode.methods.registry import AnyMethod, find_method
from nodebench.ode.norms import Norm
from nodebench.ode.options import OptionKeywords, SolverOptions
from nodebench.ode.packing import S, check_state
from nodebench.ode.per_sample.assembly import (
    SampleAdjoint,
    SampleCall,
    SampleSettings,
    check_alone,
    solve_samples,
)
from nodebench.ode.solution import Solution
from nodebench.ode.status import Status
from nodebench.ode.together import Together

GRADIENTS: dict[str, Callable[[Problem], Outputs]] = {
    "direct": solve_direct,
    "checkpointed": solve_checkpointed,
    "adjoint": solve_adjoint,
}


def odeint(
    f: Callable[..., S],
    y0: S,
    ts: Times,
    args: tuple[Any, ...] = (),
    *,
    method: AnyMethod = "dopri5",
    rtol: float | Sequence[float] = 1e-3,
    atol: float | Sequence[float] = 1e-3,
    gradient: str = "adjoint",
    params: Iterable[Tensor] | None = None,
    adjoint_method: AnyMethod | None = None,
    adjoint_rtol: float | None = None,
    adjoint_atol: float | None = None,
    adjoint_norm: str | None = None,
    norm: str | Norm | None = None,
    dense_output: bool = False,
    record_steps: bool = False,
    stats: SolveStats | None = None,
    raise_on_failure: bool = True,
    compile: bool | str = False,
    event: AnyEvent | Sequence[AnyEvent] | None = None,
    together: Together | None = None,
    **options: Unpack[OptionKeywords],
) -> Solution[S]:
    """Solve dy/dt = f(t, y, *args), y(ts[0]) = y0, and return y at every entry of ts.

    f: called with a 0-d time tensor of y's real dtype on y's device and a state shaped like y0; what it returns is cast
        to y's precision. Gradients flow to y0, ts, tensor args and the parameters: those of an nn.Module, or `params`.
    y0: tensor of any shape, or a tuple of tensors of one dtype, in single or double precision; half precision is
        refused as a state and welcome inside f (torch.autocast).
    ts: strictly monotonic times, up or down, of shape (num_times,). One time, or equal times, return y0 unevaluated.
    method: see `list_methods()`; or a ButcherTableau, or a Method. With `dt` the steps are fixed (at most dt long,
        dividing each gap between outputs evenly); without, their estimated error is held to rtol and atol.
    rtol, atol: a step is accepted if norm(error / (atol + rtol max(|y0|, |y1|))) <= 1; one an entry if sequences.
    gradient: `direct` (autograd through the steps), `checkpointed` (the same, steps recomputed), or `adjoint`
        (the continuous one, solved backwards with the adjoint_*, None as forward; it may warn: AdjointDriftWarning).
    adjoint_norm: `full`, `joint`, `seminorm` or `state`: what of y, a and the integrals counts in the backward error.
    norm: `rms` (over the whole state, batch included), `max_sample` (largest RMS of a sample), or a function of the
        packed error to a 0-d tensor; for a tuple state the default is the largest of its entries' RMS.
    dense_output: keep interpolants for `solution.evaluate(t)`; gradients flow through it with `direct` alone.
    stats: where to count, fresh ones; record_steps: keep (t, dt) of every accepted step there too.
    raise_on_failure: raise a SolverError that says what happened; or else return it as `solution.status`.
    compile: take the steps of a Runge-Kutta method whole, under torch.compile (True, or a backend's name). The same f
        must come again, not a new lambda. Where torch.compile cannot, a CompileWarning says why; steps are eager then.
    event: a function (t, y) -> number that ends the solve where it crosses zero; or an `Event` that says more; or a
        sequence of these. Crossings are in `solution.events`; outputs behind the end of the solve are NaN.
    together: the processes that solve other rows of one batch, for all to take the steps of the whole; see Together.
    options: dt, controller (`integral`, `pi`, `pid`), first_step, min_step (taken whatever its error, and counted as
        forced), max_step, max_steps, max_nfe, step_ts, jump_ts (where f jumps), steps (`shared`, or `per_sample`:
        f is told times (b,) beside states of b samples, ts may be (B, num_times), and each may fail by itself).

    Raises TypeError or ValueError for a call that makes no sense, SolverError for a solve that fails.
    """
    packing = check_state(y0)
    check_call(f, args, params, gradient, GRADIENTS, adjoint_norm)
    settings, counts = SolverOptions.from_keywords(options), _counting(stats, record_steps)
    chosen, backward = find_method(method), (adjoint_method, adjoint_rtol, adjoint_atol, adjoint_norm)
    if settings.steps == "per_sample":
        how = SampleSettings(chosen, rtol, atol, norm, settings, gradient, compile, SampleAdjoint(*backward))
        call = SampleCall(f, y0, ts, tuple(args), parameters(f, params), how, raise_on_failure)
        check_alone(dense_output, record_steps, event)
        return cast(Solution[S], solve_samples(call, counts))
    packed, events = packing.pack(y0), check_events(event, packing)
    assembly = Assembly(f, packing, packed, settings, chosen, rtol, atol, dense_output, events, together)
    backend, clock = choose_backend(compile, assembly, norm), make_clock(ts, packed)
    solver, known = assembly.forward(norm, gradient, backend), parameters(f, params)
    adjoint = assembly.backward(*backward, backend) if gradient == "adjoint" else None
    problem = assembly.problem(solver, clock, tuple(args), known, counts, raise_on_failure, adjoint)
    return cast(Solution[S], _solution(problem, gradient, assembly, ts))


def _counting(stats: SolveStats | None, record_steps: bool) -> SolveStats:
    """Where to count."""
    stats = SolveStats() if stats is None else stats
    if record_steps:
        stats.forward.steps, stats.backward.steps = [], []
    return stats


def _solution(problem: Problem, gradient: str, assembly: Assembly, ts: Times) -> Solution[Any]:
    """What a call returns."""
    events, packing, clock, dense = assembly.events, assembly.packing, problem.clock, None
    if assembly.dense:
        dense = DenseOutput(clock if gradient == "direct" else clock.as_constants())
        problem = replace(problem, observers=(dense,))
    watch = (
        EventWatch(events, wants_slopes=torch.is_grad_enabled() and gradient != "adjoint") if events else None
    )
    if watch is not None:
        problem = replace(problem, watch=watch)
    outputs, counts = solve(problem, gradient), problem.stats.forward
    if dense is not None:
        with torch.set_grad_enabled(torch.is_grad_enabled() and gradient == "direct"):
            dense.close(CountedField(problem.f, problem.args, counts), None if watch is None else watch.end)
    solution = Solution(
        ts=ts if isinstance(ts, Tensor) else torch.tensor(clock.ts, dtype=time_dtype(problem.y0)),
        ys=packing.unpack(outputs.ys, (len(clock.ts),)),
        stats=problem.stats,
        status=Status.SUCCESS if outputs.error is None else outputs.error.status,
        message=_message(outputs, counts),
        packing=packing,
        dense=dense,
    )
    return solution if watch is None else _with_events(solution, watch, problem)


def _with_events(solution: Solution[Any], watch: EventWatch, problem: Problem) -> Solution[Any]:
    """The solution with what the watch has found."""
    status, message = solution.status, ""
    if watch.ended_by is not None:
        status = Status.EVENT if status is Status.SUCCESS else status
    elif any(event.last is not None for event in watch.events):
        message = f"no event ended the solve, which came to ts[-1]={problem.clock.ts[-1]:g}"
    return replace(
        solution,
        status=status,
        message=solution.message or message,
        events=crossings(problem, watch, solution.packing),
        ended_by=watch.ended_by,
    )


def solve(problem: Problem, gradient: str) -> Outputs:
    """Solve a problem whose parts are in place; the door for compat.py and for parts of one's own."""
    ts = problem.clock.ts
    if all(t == ts[0] for t in ts):
        return _outputs_at_once(problem)
    # Where autograd does not record, nothing need be kept for it, nor anything refused that it would miss.
    return GRADIENTS[gradient if torch.is_grad_enabled() else "direct"](problem)


def _outputs_at_once(problem: Problem) -> Outputs:
    """Outputs where no time passes: y0, evaluating f only for dL/dts, which is +-a.f all the same."""
    y0, ts = problem.y0, problem.clock.tensor
    if ts is None or len(ts) == 1:
        return Outputs(torch.stack([y0] * len(problem.clock.ts)), None)
    f = CountedField(problem.f, problem.args, problem.stats.forward)
    slope = f(problem.clock.ts[0], y0).detach()
    return Outputs(torch.stack([y0 + ((t - ts[0]) * slope).to(y0.dtype) for t in ts]), None)


def _message(outputs: Outputs, counts: Counts) -> str:
    """What a solve has to say for itself: why it failed, or what casts doubt on its success."""
    if outputs.error is not None:
        return str(outputs.error)
    if counts.is_stiff:
        return "stability, not the tolerance, limited the last steps: the system is stiff there; try method=`kvaerno5`"
    if not counts.num_unconverged:
        return ""
    return f"the corrector did not converge in {counts.num_unconverged} of {counts.num_accepted} steps"
