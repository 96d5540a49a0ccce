"""From the arguments of a call to the parts that solve it: what fits is put together, what does not is one sentence."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nodebench.ode.clock import Clock
from nodebench.ode.compiled import (
    DEFAULT_BACKEND,
    CompiledRungeKutta,
    CompileWarning,
    check_backend,
    forgotten,
    missing_compiler,
)
from nodebench.ode.counts import SolveStats
from nodebench.ode.drive.solver import Solver
from nodebench.ode.events import Event
from nodebench.ode.gradients.problem import AdjointNorm, AdjointSolve, Problem
from nodebench.ode.methods.explicit import ExplicitRungeKutta
from nodebench.ode.methods.method import Method, SelfDriven
from nodebench.ode.methods.registry import AnyMethod, find_method
from nodebench.ode.methods.traits import Traits
from nodebench.ode.names import nearest
from nodebench.ode.norms import NORMS, Accuracy, LeadingNorm, MaxBlockNorm, Norm, Tolerance, rms_norm
from nodebench.ode.options import SolverOptions
from nodebench.ode.packing import Packing
from nodebench.ode.solvers import make_solver
from nodebench.ode.together import SharedAccuracy, Together

# Norms of the augmented state [y, a, theta-integral], from the sizes of y's blocks and of the parameters. seminorm:
# Kidger et al. 2021 (arXiv 2009.09457).
ADJOINT_NORMS: dict[str, AdjointNorm] = {
    "full": lambda y, params: MaxBlockNorm((*y, *y, *params)),  # torchdiffeq's default
    "joint": lambda y, params: rms_norm,  # one RMS over everything: VODE's, the paper's
    "seminorm": lambda y, params: LeadingNorm(MaxBlockNorm((*y, *y)), 2 * sum(y)),
    "state": lambda y, params: LeadingNorm(rms_norm, 2 * sum(y)),  # one RMS over (y, a)
}


@dataclass(frozen=True)
class Assembly:
    """Makes the solvers of one call from a packed state: of methods as they are, or of compiled ones."""

    f: Callable[..., Any]
    packing: Packing
    y0: Tensor
    options: SolverOptions
    method: Method | SelfDriven
    rtol: float | Sequence[float]
    atol: float | Sequence[float]
    dense: bool
    events: tuple[Event, ...] = ()
    together: Together | None = None

    def forward(self, norm: str | Norm | None, gradient: str, backend: str | None) -> Solver:
        """The solver of the forward solve; ValueError for a method that cannot do what is wanted of it."""
        rtol, atol = (self.packing.tolerance(*named, self.y0) for named in self._tolerances)
        solver = self._solver(
            self.method, self._accuracy(rtol, atol, state_norm(norm, self.packing)), backend, self.dense
        )
        check_mode(self.method.traits, gradient, self.dense, bool(self.events))
        return solver

    def problem(
        self,
        solver: Solver,
        clock: Clock,
        args: tuple[Any, ...],
        params: tuple[Tensor, ...],
        stats: SolveStats,
        raise_on_failure: bool,
        adjoint: AdjointSolve | None,
    ) -> Problem:
        """What the solver is to solve from the state."""
        return Problem(
            self.packing.wrap(self.f),
            self.y0,
            clock,
            solver,
            args,
            params,
            block_sizes=self.packing.sizes or (self.y0.numel(),),
            stats=stats,
            adjoint=adjoint,
            raise_on_failure=raise_on_failure,
        )

    def backward(
        self,
        method: AnyMethod | None,
        rtol: float | None,
        atol: float | None,
        norm: str | None,
        backend: str | None,
    ) -> AdjointSolve:
        """How the adjoint is solved backwards; what is wrong with it is said now rather than in backward()."""
        own = self.method if method is None else find_method(method)
        rtol, atol = (
            adjoint_tolerance(name, forward, tolerance)
            for (name, forward), tolerance in zip(self._tolerances, (rtol, atol), strict=True)
        )

        def build(norm: Norm) -> Solver:
            return self._solver(own, self._accuracy(rtol, atol, norm), backend)

        build(rms_norm)
        return AdjointSolve(build, ADJOINT_NORMS[norm or "full"])

    @property
    def _tolerances(self) -> tuple[tuple[str, float | Sequence[float]], ...]:
        return ("rtol", self.rtol), ("atol", self.atol)

    def _accuracy(self, rtol: Tolerance, atol: Tolerance, norm: Norm) -> Accuracy:
        """What is asked of steps, which may be those of several processes."""
        if self.together is None:
            return Accuracy(rtol, atol, norm)
        return SharedAccuracy(rtol, atol, norm, together=self.together)

    def _solver(
        self, method: Method | SelfDriven, accuracy: Accuracy, backend: str | None, dense: bool = False
    ) -> Solver:
        if self.together is not None:
            check_together(method.traits, self.options, bool(self.events))
        if backend is not None and isinstance(method, ExplicitRungeKutta):
            method = CompiledRungeKutta(method, self.f, self.packing, backend)
        return make_solver(method, accuracy, self.options, dense=dense)


def check_call(
    f: Any, args: Any, params: Any, gradient: str, gradients: Iterable[str], norm: str | None
) -> None:
    """Raises TypeError and ValueError for arguments that are of the wrong kind, or names that there are not."""
    if not callable(f):
        raise TypeError(f"`f` is a {type(f).__name__}; it must be callable as f(t, y)")
    for name, tensors in (("args", args), ("params", params)):
        if isinstance(tensors, Tensor):
            raise TypeError(f"`{name}` is a Tensor; it must be a tuple, so pass {name}=(tensor,)")
    if gradient not in gradients:
        raise ValueError(f"unknown gradient `{gradient}`; {nearest(gradient, gradients)}")
    if norm is not None and norm not in ADJOINT_NORMS:
        raise ValueError(f"unknown adjoint_norm `{norm}`; {nearest(norm, ADJOINT_NORMS)}")


def check_mode(traits: Traits, gradient: str, dense_output: bool, has_events: bool) -> None:
    """Raises ValueError for a gradient, dense output or events of which a method is not capable."""
    if has_events and traits.is_self_driven:
        raise ValueError(
            f"`{traits.name}` takes its steps inside SciPy, where no event is looked for; drop `event`, or use dopri5"
        )
    if gradient == "checkpointed" and not traits.is_one_step:
        raise ValueError(
            f"gradient=`checkpointed` takes single steps again, which `{traits.name}` cannot; "
            "use gradient=`adjoint`, or a Runge-Kutta method"
        )
    if dense_output and not traits.is_one_step:
        raise ValueError(f"`{traits.name}` has no interpolant for dense_output; name the times in `ts`")


def check_together(traits: Traits, options: SolverOptions, has_events: bool) -> None:
    """Raises ValueError for what each of several processes that share their steps would find of its own rows alone:

    events, and steps of a method that hang on more than their error.
    """
    if has_events:
        raise ValueError(
            "an `event` is one of each process's own rows, so it cannot end the solve of all; drop `together`"
        )
    if options.dt is None and (traits.is_implicit or traits.is_self_driven):
        why = "takes its steps inside SciPy" if traits.is_self_driven else "iterates for each step"
        raise ValueError(
            f"`{traits.name}` {why}, on each process's own rows, so its steps cannot be those of all; "
            "drop `together`, or use an explicit method such as dopri5"
        )


def choose_backend(compile: bool | str, assembly: Assembly, norm: str | Norm | None) -> str | None:
    """torch.compile's backend for the steps; None where they are eager, as a warning says if they were not to be."""
    if compile is False:
        return None
    traits, norm = assembly.method.traits, state_norm(norm, assembly.packing)
    backend = usable_backend(compile, traits, assembly.f, assembly.y0.device, norm)
    if assembly.dense:
        raise ValueError("compile and dense_output exclude each other; name the times in `ts`")
    return backend


def usable_backend(
    compile: bool | str, traits: Traits, f: Callable[..., Any], device: torch.device, norm: Norm
) -> str | None:
    """torch.compile's backend for steps of f that are measured by a norm; None where there is none, with a warning."""
    backend = DEFAULT_BACKEND if compile is True else str(compile)
    check_backend(backend)
    if not (traits.compiles or traits.is_implicit):
        raise ValueError(
            f"`{traits.name}` takes no Runge-Kutta steps, which alone are compiled; drop compile"
        )
    reason = missing_compiler(device) if backend == DEFAULT_BACKEND else None
    reason = reason or forgotten(f, norm)
    if traits.is_implicit:
        reason = f"those of `{traits.name}` iterate, and explicit ones alone are compiled"
    if reason is not None:
        warnings.warn(f"steps run eagerly: {reason}", CompileWarning, stacklevel=4)
        return None
    return backend


def parameters(f: Any, params: Iterable[Tensor] | None) -> tuple[Tensor, ...]:
    """The parameters given, or those of an nn.Module."""
    return tuple(f.parameters() if params is None and isinstance(f, nn.Module) else params or ())


def state_norm(norm: str | Norm | None, packing: Packing) -> Norm:
    """The norm of a name, or the one given; by default the largest RMS of a tuple's entries."""
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


def adjoint_tolerance(name: str, forward: float | Sequence[float], adjoint: float | None) -> float:
    """A tolerance of the backward solve: by default, the forward one's."""
    tolerance = forward if adjoint is None else adjoint
    if not isinstance(tolerance, (int, float)):
        raise ValueError(
            f"`{name}` has one entry for each tensor of the state, which does not say what the adjoint's is; "
            f"pass adjoint_{name} as one number"
        )
    if not 0 < tolerance < math.inf:
        raise ValueError(f"`adjoint_{name}` is {tolerance}; tolerances must be positive and finite")
    return float(tolerance)
