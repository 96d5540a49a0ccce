"""The front door: validate the call, pack the state, choose the parts, dispatch to a gradient mode."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nodebench.ode.clock import make_clock, time_dtype
from nodebench.ode.compiled import (
    DEFAULT_BACKEND,
    CompiledRungeKutta,
    CompileWarning,
    check_backend,
    forgotten,
    missing_compiler,
)
from nodebench.ode.counts import Counts, SolveStats
from nodebench.ode.drive.solver import Solver
from nodebench.ode.field import CountedField
from nodebench.ode.gradients.adjoint import solve_adjoint
from nodebench.ode.gradients.checkpointed import solve_checkpointed
from nodebench.ode.gradients.direct import solve_direct
from nodebench.ode.gradients.problem import AdjointNorm, AdjointSolve, Outputs, Problem
from nodebench.ode.methods.explicit import ExplicitRungeKutta
from nodebench.ode.methods.method import Method, SelfDriven
from nodebench.ode.methods.registry import find_method
from nodebench.ode.methods.tableau import ButcherTableau
from nodebench.ode.names import nearest
from nodebench.ode.norms import NORMS, Accuracy, LeadingNorm, MaxBlockNorm, Norm, rms_norm
from nodebench.ode.options import SolverOptions
from nodebench.ode.packing import Packing, State, check_state
from nodebench.ode.solution import DenseOutput, Solution
from nodebench.ode.solvers import make_solver, step_control
from nodebench.ode.status import Status

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
AnyMethod = str | ButcherTableau | Method | SelfDriven


def odeint(
    f: Callable[..., Any],
    y0: State,
    ts: Tensor | Sequence[float],
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
    accuracy = Accuracy(
        packing.tolerance("rtol", rtol, packed),
        packing.tolerance("atol", atol, packed),
        _state_norm(norm, packing),
    )
    forward = find_method(method)
    make = _Maker(f, packing, solver_options)
    solver = make.solver(forward, accuracy, dense_output)
    _check_mode(forward, gradient, dense_output)
    stats = SolveStats() if stats is None else stats
    if record_steps:
        stats.forward.steps, stats.backward.steps = [], []
    make.backend = _backend(compile, f, forward, packed, dense_output, accuracy.norm)
    dense = DenseOutput(clock if gradient == "direct" else clock.as_constants()) if dense_output else None
    problem = Problem(
        f=packing.wrap(f),
        y0=packed,
        clock=clock,
        solver=solver if make.backend is None else make.solver(forward, accuracy, dense_output),
        args=tuple(args),
        params=tuple(f.parameters() if params is None and isinstance(f, nn.Module) else params or ()),
        block_sizes=packing.sizes or (packed.numel(),),
        stats=stats,
        observers=() if dense is None else (dense,),
        adjoint=None
        if gradient != "adjoint"
        else make.adjoint(
            forward if adjoint_method is None else find_method(adjoint_method),
            _adjoint_tolerance("rtol", rtol, adjoint_rtol),
            _adjoint_tolerance("atol", atol, adjoint_atol),
            adjoint_norm,
        ),
        raise_on_failure=raise_on_failure,
    )
    outputs = solve(problem, gradient)
    if dense is not None:
        with torch.set_grad_enabled(torch.is_grad_enabled() and gradient == "direct"):
            dense.close(CountedField(problem.f, problem.args, stats.forward))
    return Solution(
        ts=ts if isinstance(ts, Tensor) else torch.tensor(clock.ts, dtype=time_dtype(packed)),
        ys=packing.unpack(outputs.ys, (len(clock.ts),)),
        stats=stats,
        status=Status.SUCCESS if outputs.error is None else outputs.error.status,
        message=_message(outputs, stats.forward),
        packing=packing,
        dense=dense,
    )


@dataclass
class _Maker:
    """Makes the solvers of one call: of methods as they are or, with a backend, as compiled ones."""

    f: Callable[..., Any]
    packing: Packing
    options: SolverOptions
    backend: str | None = None

    def solver(self, method: Method | SelfDriven, accuracy: Accuracy, dense: bool = False) -> Solver:
        """See make_solver."""
        if self.backend is not None and isinstance(method, ExplicitRungeKutta):
            control = step_control(accuracy, self.options)
            method = CompiledRungeKutta(method, self.f, self.packing, self.backend, control)
        return make_solver(method, accuracy, self.options, dense=dense)

    def adjoint(self, method: Method | SelfDriven, rtol: float, atol: float, norm: str) -> AdjointSolve:
        """How the adjoint is solved backwards; what is wrong with it is said now rather than in backward()."""

        def build(norm: Norm) -> Solver:
            return self.solver(method, Accuracy(rtol, atol, norm))

        build(rms_norm)
        return AdjointSolve(build, ADJOINT_NORMS[norm])


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


def _check_mode(method: Method | SelfDriven, gradient: str, dense_output: bool) -> None:
    traits = method.traits
    if gradient == "checkpointed" and not traits.is_one_step:
        raise ValueError(
            f"gradient=`checkpointed` takes single steps again, which `{traits.name}` cannot; "
            "use gradient=`adjoint`, or a Runge-Kutta method"
        )
    if dense_output and not traits.is_one_step:
        raise ValueError(f"`{traits.name}` has no interpolant for dense_output; name the times in `ts`")


def _backend(
    compile: bool | str,
    f: Callable[..., Any],
    method: Method | SelfDriven,
    y0: Tensor,
    dense_output: bool,
    norm: Norm,
) -> str | None:
    """torch.compile's backend for the steps; None where they are eager, as a warning says if they were not to be."""
    if compile is False:
        return None
    backend = DEFAULT_BACKEND if compile is True else compile
    check_backend(backend)
    if not method.traits.compiles:
        raise ValueError(
            f"`{method.traits.name}` takes no Runge-Kutta steps, which alone are compiled; drop compile"
        )
    if dense_output:
        raise ValueError("compile and dense_output exclude each other; name the times in `ts`")
    reason = missing_compiler(y0.device) if backend == DEFAULT_BACKEND else None
    reason = reason or forgotten(f, norm)
    if reason is not None:
        warnings.warn(f"steps run eagerly: {reason}", CompileWarning, stacklevel=3)
        return None
    return backend


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


def _message(outputs: Outputs, counts: Counts) -> str:
    """What a solve has to say for itself: why it failed, or what casts doubt on its success."""
    if outputs.error is not None:
        return str(outputs.error)
    if not counts.num_unconverged:
        return ""
    return f"the corrector did not converge in {counts.num_unconverged} of {counts.num_accepted} steps"
