"""The front door: validate the call, pack the state, choose the parts, dispatch to a gradient mode."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from nodebench.ode.clock import Clock
from nodebench.ode.compiled import (
    DEFAULT_BACKEND,
    CompiledSteps,
    CompileWarning,
    check_backend,
    forgotten,
    missing_compiler,
)
from nodebench.ode.counting import CountedField, Counts, SolveStats
from nodebench.ode.gradients.adjoint import solve_adjoint
from nodebench.ode.gradients.checkpointed import solve_checkpointed
from nodebench.ode.gradients.direct import solve_direct
from nodebench.ode.gradients.problem import AdjointNorm, AdjointSolve, Outputs, Problem
from nodebench.ode.methods import SolverOptions, make_solver, nearest
from nodebench.ode.norms import NORMS, LeadingNorm, MaxBlockNorm, Norm, rms_norm
from nodebench.ode.packing import Packing, State, check_state
from nodebench.ode.solution import DenseOutput, Solution
from nodebench.ode.solvers import Solver
from nodebench.ode.status import Status
from nodebench.ode.steppers import EagerStepper

GRADIENTS: dict[str, Callable[[Problem], Outputs]] = {
    "direct": solve_direct,
    "checkpointed": solve_checkpointed,
    "adjoint": solve_adjoint,
}

# Norms of the augmented state [y, a, theta-integral], from the sizes of y's blocks and of the parameters. A method
# without a tableau hands over the integrals even to a norm that leaves them out. seminorm: Kidger et al. 2021
# (arXiv 2009.09457).
ADJOINT_NORMS: dict[str, AdjointNorm] = {
    "full": lambda y, params: MaxBlockNorm((*y, *y, *params)),  # torchdiffeq's default
    "joint": lambda y, params: rms_norm,  # one RMS over everything: VODE's, the paper's
    "seminorm": lambda y, params: LeadingNorm(MaxBlockNorm((*y, *y)), 2 * sum(y)),
    "state": lambda y, params: LeadingNorm(rms_norm, 2 * sum(y)),  # one RMS over (y, a)
}
_NORMS_WITH_PARAMS = ("full", "joint")


def odeint(
    f: Callable[..., Any],
    y0: State,
    ts: Tensor | Sequence[float],
    args: tuple[Any, ...] = (),
    *,
    method: str = "dopri5",
    rtol: float | Sequence[float] = 1e-3,
    atol: float | Sequence[float] = 1e-3,
    gradient: str = "adjoint",
    params: Iterable[Tensor] | None = None,
    adjoint_method: str | None = None,
    adjoint_rtol: float | None = None,
    adjoint_atol: float | None = None,
    adjoint_norm: str = "full",
    norm: str | Norm | None = None,
    dense_output: bool = False,
    record_steps: bool = False,
    stats: SolveStats | None = None,
    raise_on_failure: bool = True,
    compile: bool | str = False,
    **options: Any,
) -> Solution:
    """Solve dy/dt = f(t, y, *args), y(ts[0]) = y0, and return y at every entry of ts.

    f: called with a 0-d time tensor of y's real dtype on y's device and a state shaped like y0. Gradients flow to
        y0, ts, tensor args and the parameters: those of an nn.Module, or `params`.
    y0: tensor of any shape, or a tuple of tensors of one dtype, in single or double precision; half is for inside f.
    ts: strictly monotonic times, increasing or decreasing, of shape (num_times,). One time, or equal times, return
        y0 without an evaluation.
    method: see `list_methods()`. With `dt` the steps are fixed (at most dt long, dividing each gap between outputs
        evenly); without, their error is held to rtol and atol by the method's embedded estimate.
    rtol, atol: a step is accepted if norm(error / (atol + rtol max(|y0|, |y1|))) <= 1; one an entry of a tuple state
        if sequences.
    gradient: `direct` (autograd through the steps), `checkpointed` (the same, steps recomputed), or `adjoint`
        (the continuous adjoint, solved backwards with the adjoint_* settings; None means as forward).
    adjoint_norm: `full`, `joint`, `seminorm` or `state`: which of y, a and the parameters' integrals the error of
        the backward solve is measured over.
    norm: `rms` (over the whole state, batch included), `max_sample` (largest RMS of a sample), or a function of the
        packed error to a 0-d tensor; for a tuple state the default is the largest of its entries' RMS.
    dense_output: keep interpolants for `solution.evaluate(t)`; gradients flow through it with `direct` alone.
    record_steps: keep (t, dt) of every accepted step in `solution.stats`.
    stats: where to count, fresh ones: what holds them too can watch a long solve. None makes some.
    raise_on_failure: raise a SolverError that says what happened; or else return it as `solution.status`.
    compile: take the steps of a Runge-Kutta method whole, under torch.compile (True, or the name of a backend); the
        first solve of a kind takes a while. The same f must come again, not a new lambda. Where torch.compile cannot,
        a CompileWarning says why and the steps are eager.
    options: dt, controller (`integral`, `pi`, `pid`), first_step, min_step, max_step, max_steps, max_nfe, step_ts
        (times to step on), jump_ts (times where f jumps). A step at min_step is taken even if its error is too
        large, and counted as forced. One step size serves the whole batch.

    Raises TypeError or ValueError for a call that makes no sense, SolverError for a solve that fails.
    """
    packing = check_state(y0)
    _check_call(f, args, params, gradient, adjoint_norm)
    solver_options = SolverOptions.from_keywords(options)
    packed = packing.pack(y0)
    clock = make_clock(ts, packed)
    state_norm = _state_norm(norm, packing)
    solver = make_solver(
        method,
        packing.tolerance("rtol", rtol, packed),
        packing.tolerance("atol", atol, packed),
        state_norm,
        solver_options,
        keep_stages=dense_output,
    )
    _check_mode(method, gradient, solver, dense_output)
    stats = SolveStats() if stats is None else stats
    if record_steps:
        stats.forward.steps, stats.backward.steps = [], []
    compiled = _compiled_steps(compile, f, packing, method, solver, packed, dense_output, state_norm)
    dense = None
    if dense_output and solver.tableau is not None:
        dense = DenseOutput(solver.tableau, clock if gradient == "direct" else clock.as_constants())
    problem = Problem(
        f=packing.wrap(f),
        y0=packed,
        clock=clock,
        solver=solver,
        args=tuple(args),
        params=tuple(f.parameters() if params is None and isinstance(f, nn.Module) else params or ()),
        block_sizes=packing.sizes or (packed.numel(),),
        stats=stats,
        observers=() if dense is None else (dense,),
        adjoint=None
        if gradient != "adjoint"
        else AdjointSolve(
            make_solver=_adjoint_solver(
                adjoint_method or method,
                _adjoint_tolerance("rtol", rtol, adjoint_rtol),
                _adjoint_tolerance("atol", atol, adjoint_atol),
                solver_options,
            ),
            make_norm=ADJOINT_NORMS[adjoint_norm],
            params_in_norm=adjoint_norm in _NORMS_WITH_PARAMS,
            make_stepper=EagerStepper if compiled is None else compiled.augmented_stepper,
        ),
        raise_on_failure=raise_on_failure,
        make_stepper=EagerStepper if compiled is None else compiled.stepper,
    )
    outputs = solve(problem, gradient)
    if dense is not None:
        with torch.set_grad_enabled(torch.is_grad_enabled() and gradient == "direct"):
            dense.close(CountedField(problem.f, problem.args, stats.forward))
    return Solution(
        ts=ts if isinstance(ts, Tensor) else torch.tensor(clock.ts, dtype=_time_dtype(packed)),
        ys=packing.unpack(outputs.ys, (len(clock.ts),)),
        stats=stats,
        status=Status.SUCCESS if outputs.error is None else outputs.error.status,
        message=_message(outputs, stats.forward),
        packing=packing,
        dense=dense,
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


def check_times(ts: Tensor | Sequence[float]) -> tuple[float, ...]:
    """Output times as floats; one wait for the device if they live there.

    Raises TypeError unless they are a tensor or a sequence, ValueError unless they are finite and strictly monotonic,
    or all equal.
    """
    if isinstance(ts, Tensor):
        if ts.dim() != 1 or not ts.is_floating_point():
            raise ValueError(
                f"`ts` is {ts.dtype} of shape {tuple(ts.shape)}; it must be 1-D and floating-point"
            )
        times = tuple(ts.tolist())
    else:
        if not isinstance(ts, Iterable):
            raise TypeError(
                f"`ts` is {ts!r}; it must be a tensor or sequence of times, of which y0 is at the first"
            )
        if torch.is_grad_enabled() and any(isinstance(t, Tensor) and t.requires_grad for t in ts):
            raise ValueError(
                "`ts` is a sequence with a time that requires grad, which would get none; "
                "pass one tensor: torch.stack(ts)"
            )
        times = tuple(float(t) for t in ts)
    if not times:
        raise ValueError("`ts` is empty; it needs at least the initial time")
    bad = [t for t in times if not math.isfinite(t)]
    if bad:
        raise ValueError(f"`ts` contains {bad[0]}; times must be finite")
    gaps = [end - start for start, end in pairwise(times)]
    if any(gaps) and not (all(gap > 0 for gap in gaps) or all(gap < 0 for gap in gaps)):
        direction = next(gap for gap in gaps if gap)
        i = next(i for i, gap in enumerate(gaps) if gap * direction <= 0)
        raise ValueError(
            f"`ts` is not strictly monotonic: ts[{i}]={times[i]:g} is followed by {times[i + 1]:g}; "
            "sort the times and drop repeated ones"
        )
    return times


def make_clock(ts: Tensor | Sequence[float], y0: Tensor) -> Clock:
    """Output times as a solve from y0 keeps them.

    Raises TypeError and ValueError as `check_times`, and ValueError for times beyond the range of y0's dtype, in which
    f is told them.
    """
    times, dtype = check_times(ts), _time_dtype(y0)
    farthest = max(times[0], times[-1], key=abs)
    if max(abs(farthest), abs(times[-1] - times[0])) > torch.finfo(dtype).max:
        raise ValueError(f"`ts` reaches to {farthest:g}, beyond the range of y0's {dtype}; scale time")
    eps = max(_time_eps(t) for t in ([ts] if isinstance(ts, Tensor) else ts))
    # Both ends of a gap are rounded, and so was what made them, such as linspace's step: to 3 spacings in all.
    return Clock(times, _travelling_times(ts, y0), 4 * eps * abs(farthest))


def _time_eps(t: Any) -> float:
    """The spacing at 1 of the dtype of a time: float64's for a number of Python's, or an integer."""
    dtype = torch.as_tensor(t).dtype if hasattr(t, "dtype") else torch.float64
    return torch.finfo(dtype if dtype.is_floating_point else torch.float64).eps


def _travelling_times(ts: Tensor | Sequence[float], y0: Tensor) -> Tensor | None:
    """ts where gradients are to flow to it: on y0's device and, where there is one, in float64 as all times are."""
    if not (isinstance(ts, Tensor) and ts.requires_grad and torch.is_grad_enabled()):
        return None
    return ts.to(y0.device) if y0.device.type == "mps" else ts.to(y0.device, torch.float64)


def _check_call(f: Any, args: Any, params: Any, gradient: str, adjoint_norm: str) -> None:
    if not callable(f):
        raise TypeError(f"`f` is a {type(f).__name__}; it must be callable as f(t, y)")
    for name, tensors in (("args", args), ("params", params)):
        if isinstance(tensors, Tensor):
            raise TypeError(f"`{name}` is a Tensor; it must be a tuple, so pass {name}=(tensor,)")
    if gradient not in GRADIENTS:
        raise ValueError(f"unknown gradient `{gradient}`; {nearest(gradient, GRADIENTS)}")
    if adjoint_norm not in ADJOINT_NORMS:
        raise ValueError(f"unknown adjoint_norm `{adjoint_norm}`; {nearest(adjoint_norm, ADJOINT_NORMS)}")


def _check_mode(method: str, gradient: str, solver: Solver, dense_output: bool) -> None:
    if gradient == "checkpointed" and solver.tableau is None:
        raise ValueError(
            f"gradient=`checkpointed` takes single steps again, which `{method}` cannot; "
            "use gradient=`adjoint`, or a Runge-Kutta method"
        )
    if dense_output and solver.tableau is None:
        raise ValueError(f"`{method}` has no interpolant for dense_output; name the times in `ts`")


def _compiled_steps(
    compile: bool | str,
    f: Callable[..., Any],
    packing: Packing,
    method: str,
    solver: Solver,
    y0: Tensor,
    dense_output: bool,
    norm: Norm,
) -> CompiledSteps | None:
    if compile is False:
        return None
    backend = DEFAULT_BACKEND if compile is True else compile
    check_backend(backend)
    if solver.tableau is None:
        raise ValueError(f"`{method}` takes no Runge-Kutta steps, which alone are compiled; drop compile")
    if dense_output:
        raise ValueError("compile and dense_output exclude each other; name the times in `ts`")
    reason = missing_compiler(y0.device) if backend == DEFAULT_BACKEND else None
    reason = reason or forgotten(f, norm)
    if reason is not None:
        warnings.warn(f"steps run eagerly: {reason}", CompileWarning, stacklevel=3)
        return None
    return CompiledSteps(f, packing, backend)


def _state_norm(norm: str | Norm | None, packing: Packing) -> Norm:
    if norm is None:
        return rms_norm if packing.shapes is None else MaxBlockNorm(packing.sizes)
    if not isinstance(norm, str):
        return norm
    if norm not in NORMS:
        raise ValueError(f"unknown norm `{norm}`; {nearest(norm, NORMS)}")
    if norm == "max_sample" and packing.shapes is not None:
        raise ValueError(
            "norm=`max_sample` needs a single tensor whose first axis counts samples, not a tuple"
        )
    return NORMS[norm]


def _adjoint_tolerance(name: str, forward: float | Sequence[float], adjoint: float | None) -> float:
    tolerance = forward if adjoint is None else adjoint
    if not isinstance(tolerance, (int, float)):
        raise ValueError(
            f"`{name}` has one entry for each tensor of the state, which does not say what the adjoint's is; "
            f"pass adjoint_{name} as one number"
        )
    if not 0 < tolerance < math.inf:
        raise ValueError(f"`adjoint_{name}` is {tolerance}; tolerances must be positive and finite")
    return float(tolerance)


def _adjoint_solver(
    method: str, rtol: float, atol: float, options: SolverOptions
) -> Callable[[Norm], Solver]:
    def build(norm: Norm) -> Solver:
        return make_solver(method, rtol, atol, norm, options, keep_stages=False)

    build(rms_norm)  # what is wrong with these settings is said now rather than in backward()
    return build


def _message(outputs: Outputs, counts: Counts) -> str:
    """What a solve has to say for itself: why it failed, or what casts doubt on its success."""
    if outputs.error is not None:
        return str(outputs.error)
    if not counts.num_unconverged:
        return ""
    return f"the corrector did not converge in {counts.num_unconverged} of {counts.num_accepted} steps"


def _time_dtype(y: Tensor) -> torch.dtype:
    return y.real.dtype if y.is_complex() else y.dtype
