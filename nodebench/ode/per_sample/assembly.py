"""From the arguments of a call whose samples have steps of their own to its solution."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from nodebench.ode.assembly import adjoint_tolerance, usable_backend
from nodebench.ode.clock import Times, time_dtype
from nodebench.ode.compiled import CompileWarning
from nodebench.ode.compiled.per_sample import RowCompiler
from nodebench.ode.counts import SolveStats
from nodebench.ode.drive.control import StepControl
from nodebench.ode.methods.explicit import ExplicitRungeKutta
from nodebench.ode.methods.method import Method, SelfDriven
from nodebench.ode.methods.registry import AnyMethod, find_method
from nodebench.ode.norms import Accuracy, Norm, SampleNorm
from nodebench.ode.options import SolverOptions
from nodebench.ode.packing import Packing, State
from nodebench.ode.per_sample.adjoint import solve_adjoint
from nodebench.ode.per_sample.checkpointed import solve_checkpointed
from nodebench.ode.per_sample.outputs import SampleResult
from nodebench.ode.per_sample.problem import AdjointControl, SampleProblem, solve_direct
from nodebench.ode.per_sample.rows import RowField, RowFunction, Rows, rows_of
from nodebench.ode.per_sample.step import RowSteps, to_device
from nodebench.ode.per_sample.times import SampleTimes, in_rows, sample_times
from nodebench.ode.solution import Solution
from nodebench.ode.solvers import step_control
from nodebench.ode.status import Status

OWN = 'with steps="per_sample"'
GRADIENTS: dict[str, Callable[[SampleProblem], SampleResult]] = {
    "direct": solve_direct,
    "checkpointed": solve_checkpointed,
    "adjoint": solve_adjoint,
}


@dataclass(frozen=True)
class SampleAdjoint:
    """How odeint was asked to solve backwards; None means as forward."""

    method: AnyMethod | None
    rtol: float | None
    atol: float | None
    norm: str | None


@dataclass(frozen=True)
class SampleSettings:
    """How odeint was asked to solve."""

    method: Method | SelfDriven
    rtol: float | Sequence[float]
    atol: float | Sequence[float]
    norm: str | Norm | None
    options: SolverOptions
    gradient: str
    compile: bool | str
    adjoint: SampleAdjoint


@dataclass(frozen=True)
class SampleCall:
    """What odeint was asked to solve, and how; y0 has been checked as a state."""

    f: Callable[..., Any]
    y0: State
    ts: Times
    args: tuple[Any, ...]
    params: tuple[Tensor, ...]
    how: SampleSettings
    raise_on_failure: bool


def solve_samples(call: SampleCall, stats: SolveStats) -> Solution[Any]:
    """Solve with steps of their own; raises ValueError for what does not go with them."""
    rows = rows_of(call.y0)
    y0 = rows.pack(call.y0)
    ts = in_rows(call.ts)
    times = sample_times(ts, y0)
    problem = _problem(call, rows, y0, times, stats)
    gradient = call.how.gradient if torch.is_grad_enabled() else "direct"
    result = _solved(problem, GRADIENTS[gradient], times)
    errors = [result.failures[sample] for sample in sorted(result.failures)]
    return Solution(
        ts=ts if isinstance(ts, Tensor) else torch.tensor(ts, dtype=time_dtype(y0)),
        ys=rows.unpack(result.ys),
        stats=stats,
        status=errors[0].status if errors else Status.SUCCESS,
        message="; ".join(str(error) for error in errors),
        failures=result.failures,
    )


def _solved(
    problem: SampleProblem, solve: Callable[[SampleProblem], SampleResult], times: SampleTimes
) -> SampleResult:
    """Solve; where times require grad, they get a.f at the outputs and -a.f at the start, as the ODE has it.

    An output follows its time by its slope, and the start moves back by its own as its time moves on.
    """
    if times.tensor is None:
        return solve(problem)
    y0, f = problem.y0, RowField(problem.f, problem.args, problem.stats.forward)
    by_output = times.tensor.to(y0.device, time_dtype(y0)).expand(len(y0), -1).t()

    def moved(y: Tensor, k: int, sign: float) -> Tensor:
        t = by_output[k]
        with torch.no_grad():
            slope = f(t.detach(), y.detach())
            slope = torch.where(slope.isfinite(), slope, 0)  # an output not reached is a constant
        return y + (sign * (t - t.detach())).unsqueeze(1) * slope

    result = solve(replace(problem, y0=moved(y0, 0, -1.0)))
    result.ys = torch.stack([y0, *(moved(result.ys[k], k, 1.0) for k in range(1, len(by_output)))])
    return result


def _problem(
    call: SampleCall, rows: Rows, y0: Tensor, times: SampleTimes, stats: SolveStats
) -> SampleProblem:
    """The parts of the call, put together."""
    how, tableau = call.how, explicit(call.how.method, call.how.options).tableau
    control = _control(how, rows, y0)
    f, is_whole = RowFunction(call.f, rows, len(y0)), not all(_is_for_all(arg) for arg in call.args)
    _check_broadcast(lambda t: f(t, y0, *call.args), rows, y0, times)
    problem = SampleProblem(
        f,
        y0,
        times.as_constants(),
        tableau,
        control,
        partial(RowSteps, tableau),
        call.args,
        call.params,
        stats,
        is_whole=is_whole,
        raises=call.raise_on_failure,
        adjoint=_adjoint(how, rows) if how.gradient == "adjoint" else None,
    )
    return problem if how.compile is False else _compiled(problem, call, rows)


@torch.no_grad()
def _check_broadcast(f: Callable[[Tensor], Tensor], rows: Rows, y0: Tensor, times: SampleTimes) -> None:
    """Where t (B,) broadcasts against an axis of the state that is none of samples, two calls tell whether f lets it.

    Without this a field that multiplies y by t would be solved with each sample's time on the wrong axis, in silence.
    """
    if not any(len(y0) in shape for shape in rows.shapes):
        return
    mover = int(times.spans.argmax())
    start = times.ts[:, 0].copy()
    moved = start.copy()
    moved[mover] = times.ts[mover, -1]
    others = [sample for sample in range(len(y0)) if sample != mover]
    before, after = (f(to_device(t, y0))[others] for t in (start, moved))
    eps = torch.finfo(time_dtype(y0)).eps ** 0.5
    if not torch.allclose(
        before, after, rtol=eps, atol=eps * float(before.abs().max()) if others else 0, equal_nan=True
    ):
        raise ValueError(
            f"the vector field lets the time of sample {mover} change the slopes of other samples; {OWN} t has one "
            "entry a sample, so give it the state's axes: t.view(-1, *[1] * (y.dim() - 1))"
        )


def _compiled(problem: SampleProblem, call: SampleCall, rows: Rows) -> SampleProblem:
    """The problem with compiled steps, where they can be: of all rows, as other numbers of them are compiled anew."""
    norm, device = problem.control.accuracy.norm, problem.y0.device
    backend = usable_backend(call.how.compile, call.how.method.traits, call.f, device, norm)
    if backend is None:
        return problem
    if call.how.gradient == "adjoint" and torch.is_grad_enabled():
        what = f"the backward solve of the adjoint runs eagerly {OWN}, which has to keep the graphs of its stages"
        warnings.warn(what, CompileWarning, stacklevel=5)
    compiler = RowCompiler(call.f, rows, backend, keeps_stages=problem.times.ts.shape[1] > 2)
    steps = partial(compiler.steps, problem.tableau, problem.control)
    return replace(problem, make_steps=steps, is_whole=True)


def check_alone(dense_output: bool, record_steps: bool, event: object) -> None:
    """Raises ValueError for what hears of single steps, which here are those of many samples at once."""
    if dense_output:
        raise ValueError(
            f"dense_output keeps no interpolants {OWN}; name the times in `ts`, which may be own ones"
        )
    if record_steps:
        raise ValueError(
            f"record_steps keeps one list of steps, and {OWN} there is one a sample; drop one of the two"
        )
    if event is not None:
        raise ValueError(f"`event` is not looked for {OWN}; drop one of the two")


def explicit(method: Method | SelfDriven, options: SolverOptions) -> ExplicitRungeKutta:
    """The method, if its steps can differ from sample to sample; ValueError if not."""
    options.check_effect(method.traits)
    if options.dt is not None:
        raise ValueError(
            f"{OWN} each sample's error chooses its steps, which dt={options.dt:g} fixes; drop one of the two"
        )
    if not (isinstance(method, ExplicitRungeKutta) and method.traits.has_own_steps):
        raise ValueError(
            f"`{method.traits.name}` takes no steps of their own a sample; {OWN} use an explicit Runge-Kutta method "
            "with an error estimate, such as dopri5"
        )
    return method


def _control(how: SampleSettings, rows: Rows, y0: Tensor) -> StepControl:
    """How the steps are chosen; a tolerance may be one an entry of a tuple."""
    options, norm = how.options, how.norm
    if options.jump_ts:
        raise ValueError(f"`jump_ts` are not kept {OWN}; solve from jump to jump, or name them in step_ts")
    if norm not in (None, "rms"):
        raise ValueError(f"`norm` is {norm!r}; {OWN} a sample's error is the RMS over its own entries (rms)")
    sample = Packing(rows.shapes if rows.is_tuple else None)
    rtol, atol = (
        sample.tolerance(name, value, y0[0]) for name, value in (("rtol", how.rtol), ("atol", how.atol))
    )
    control = step_control(Accuracy(rtol, atol, SampleNorm(rows.sizes)), options)
    if not control.controller.takes_tensors:
        raise ValueError(
            f"`controller` does not say takes_tensors; {OWN} it is told the errors of all samples at once"
        )
    return control


def _adjoint(how: SampleSettings, rows: Rows) -> AdjointControl:
    """How the adjoint is solved backwards: by default as forward, in `seminorm`."""
    asked = how.adjoint
    if asked.norm in ("full", "joint"):
        raise ValueError(
            f"adjoint_norm=`{asked.norm}` counts the parameters' integrals, which {OWN} belong to no one sample; "
            "use `seminorm`, or `state`"
        )
    sizes = (2 * sum(rows.sizes),) if asked.norm == "state" else (*rows.sizes, *rows.sizes)
    method = how.method if asked.method is None else find_method(asked.method)
    tolerances = (("rtol", how.rtol, asked.rtol), ("atol", how.atol, asked.atol))
    rtol, atol = (adjoint_tolerance(*tolerance) for tolerance in tolerances)
    tableau = explicit(method, how.options).tableau
    return AdjointControl(tableau, step_control(Accuracy(rtol, atol, SampleNorm(sizes)), how.options))


def _is_for_all(arg: Any) -> bool:
    """Whether an argument of f cannot have a row a sample."""
    if isinstance(arg, Tensor):
        return arg.dim() == 0
    return arg is None or isinstance(arg, (bool, int, float, complex, str))
