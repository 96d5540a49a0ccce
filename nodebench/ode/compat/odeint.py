"""`odeint` and `odeint_adjoint` as torchdiffeq 0.2.5 declares them; see the package's docstring for differences."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, TypedDict, Unpack, overload

import torch
from torch import Tensor, nn

from nodebench.ode.clock import make_clock
from nodebench.ode.compat.callbacks import find_callbacks
from nodebench.ode.compat.complex_states import RealParts, packing_of
from nodebench.ode.compat.event_functions import EventFunction, solve_until_event
from nodebench.ode.compat.gradients import unrecorded, with_zero_gradients
from nodebench.ode.compat.grids import make_grid
from nodebench.ode.compat.norms import adjoint_norm, state_norm
from nodebench.ode.compat.options import SCIPY, check_method, check_options
from nodebench.ode.compat.solvers import make_solver
from nodebench.ode.drive.solver import Solver
from nodebench.ode.front_door import solve
from nodebench.ode.gradients.problem import AdjointSolve, Problem
from nodebench.ode.norms import Accuracy, Norm, Tolerance, rms_norm
from nodebench.ode.packing import Packing, S, State

TorchdiffeqTolerance = float | Tensor | Sequence[float]
Options = Mapping[str, Any] | None
VectorField = Callable[[Tensor, Any], Any]


class SolveKeywords(TypedDict, total=False):
    """What `odeint` takes beside the problem and an event."""

    rtol: TorchdiffeqTolerance
    atol: TorchdiffeqTolerance
    method: str | None
    options: Options


class AdjointKeywords(SolveKeywords, total=False):
    """What `odeint_adjoint` takes beside the problem and an event."""

    adjoint_rtol: float | None
    adjoint_atol: float | None
    adjoint_method: str | None
    adjoint_options: Options
    adjoint_params: Iterable[Tensor] | None


@overload
def odeint(
    func: VectorField, y0: S, t: Tensor, *, event_fn: None = None, **settings: Unpack[SolveKeywords]
) -> S: ...


@overload
def odeint(
    func: VectorField, y0: S, t: Tensor, *, event_fn: EventFunction, **settings: Unpack[SolveKeywords]
) -> tuple[Tensor, S]: ...


def odeint(
    func: VectorField,
    y0: S,
    t: Tensor,
    *,
    rtol: TorchdiffeqTolerance = 1e-7,
    atol: TorchdiffeqTolerance = 1e-9,
    method: str | None = None,
    options: Options = None,
    event_fn: EventFunction | None = None,
) -> Any:
    """Solve dy/dt = func(t, y), y(t[0]) = y0, with gradients through the steps; y at every entry of t.

    Shape (len(t), *y0.shape), or a tuple of such for a tuple y0. t is 1-D, floating-point and strictly monotonic.
    Tolerances: one number, one an entry of a tuple state, or a tensor that broadcasts against a tensor state.

    With `event_fn`, the solve goes from t[0] towards t[1] until an element of event_fn(t, y) changes its sign, be that
    before t[1] or behind it, and returns the time of that and y at both ends. No gradient flows to that time, nor
    through it: see `odeint_event`.

    Raises ValueError or TypeError for a call that makes no sense, nodebench.ode.SolverError for a solve that fails,
    RuntimeError for an event that never comes.
    """
    with unrecorded(func, y0, t) if method in SCIPY and event_fn is None else nullcontext():
        problem, packing = forward_problem(func, y0, t, rtol, atol, method, options)
        return _answer(problem, "direct", packing, t, (event_fn, method, options))


@overload
def odeint_adjoint(
    func: VectorField, y0: S, t: Tensor, *, event_fn: None = None, **settings: Unpack[AdjointKeywords]
) -> S: ...


@overload
def odeint_adjoint(
    func: VectorField, y0: S, t: Tensor, *, event_fn: EventFunction, **settings: Unpack[AdjointKeywords]
) -> tuple[Tensor, S]: ...


def odeint_adjoint(
    func: VectorField,
    y0: S,
    t: Tensor,
    *,
    rtol: TorchdiffeqTolerance = 1e-7,
    atol: TorchdiffeqTolerance = 1e-9,
    method: str | None = None,
    options: Options = None,
    event_fn: EventFunction | None = None,
    adjoint_rtol: float | None = None,
    adjoint_atol: float | None = None,
    adjoint_method: str | None = None,
    adjoint_options: Options = None,
    adjoint_params: Iterable[Tensor] | None = None,
) -> Any:
    """As `odeint`, with gradients by the adjoint, solved backwards with the adjoint_* settings.

    What is not given is as in the forward solve, but for its norm. Gradients flow to y0, t and `adjoint_params`
    (default: func.parameters()). `adjoint_options["norm"]` may be `seminorm`.
    """
    if adjoint_params is None and not isinstance(func, nn.Module):
        raise ValueError(
            "`func` is no nn.Module, so its parameters are not known; pass `adjoint_params` (or () for none)"
        )
    forward, backward = (
        check_method("method", method),
        check_method("adjoint_method", adjoint_method or method),
    )
    if adjoint_options is None:
        if forward != backward and options is not None:
            raise ValueError(
                f"`options` are for method `{forward}` but adjoint_method is `{backward}`; pass `adjoint_options` too"
            )
        adjoint_options = {name: value for name, value in (options or {}).items() if name != "norm"}
    problem, packing = forward_problem(func, y0, t, rtol, atol, method, options, backward)
    checked = check_options("adjoint_options", backward, adjoint_options)
    params = _parameters(func, adjoint_params, checked)
    own_rtol = _number("adjoint_rtol", rtol if adjoint_rtol is None else adjoint_rtol)
    own_atol = _number("adjoint_atol", atol if adjoint_atol is None else adjoint_atol)
    grid = make_grid(checked, func, _detach(y0), t)
    callbacks = find_callbacks(func, backward, _augmented_view(problem.y0, params), "_adjoint")

    def make_backward(norm: Norm) -> Solver:
        return make_solver(backward, checked, Accuracy(own_rtol, own_atol, norm), grid, callbacks)

    make_backward(rms_norm)  # values that make no sense are refused here, not in backward()
    norm = adjoint_norm(checked, state_norm(options or {}, packing), packing, problem.y0.shape, params)
    adjoint = AdjointSolve(make_backward, norm)
    problem = replace(problem, params=params, adjoint=adjoint)
    return _answer(problem, "adjoint", packing, t, (event_fn, method, options))


def _answer(
    problem: Problem,
    gradient: str,
    packing: Packing,
    t: Tensor,
    event: tuple[EventFunction | None, str | None, Options],
) -> Any:
    """What a call returns: the outputs, or the time of the event and the states at both ends of the solve."""
    event_fn, method, options = event
    if event_fn is None:
        ys = with_zero_gradients(solve(problem, gradient).ys, problem.params)
        return packing.unpack(ys, (len(t),))
    method = check_method("method", method)
    time, ys = solve_until_event(problem, gradient, packing, event_fn, method, options or {})
    ys = with_zero_gradients(ys, problem.params)
    event_t = torch.tensor(time, dtype=torch.float64).to(t)
    if gradient == "adjoint":  # there, an output of the adjoint like any other, which passes nothing on
        event_t = with_zero_gradients(
            event_t, [x for x in (problem.y0, t, *problem.params) if x.requires_grad]
        )
    return event_t, packing.unpack(ys, (2,))


def forward_problem(
    func: Callable[..., Any],
    y0: State,
    t: Tensor,
    rtol: TorchdiffeqTolerance,
    atol: TorchdiffeqTolerance,
    method: str | None,
    options: Options,
    adjoint_method: str | None = None,
) -> tuple[Problem, Packing]:
    """The initial value problem of a call, without anything for the adjoint, and how its state is packed."""
    method = check_method("method", method)
    packing = packing_of(y0, (method, adjoint_method or method))
    if not isinstance(t, Tensor):
        raise TypeError(f"`t` is a {type(t).__name__}; it must be a 1-D floating-point tensor of times")
    checked = check_options("options", method, options)
    packed = packing.pack(y0)
    clock = make_clock(t, packed)
    accuracy = Accuracy(
        _tolerance("rtol", rtol, packing, packed),
        _tolerance("atol", atol, packing, packed),
        state_norm(checked, packing),
    )
    callbacks = find_callbacks(func, method, packing.unpack)
    problem = Problem(
        f=packing.wrap(func),
        y0=packed,
        clock=clock,
        solver=make_solver(method, checked, accuracy, make_grid(checked, func, _detach(y0), t), callbacks),
        block_sizes=packing.sizes or (packed.numel(),),
    )
    return problem, packing


def _tolerance(name: str, value: TorchdiffeqTolerance, packing: Packing, y0: Tensor) -> Tolerance:
    """One number, one an entry of a tuple state, or one an element of a tensor state."""
    if isinstance(value, Tensor) and value.dim() and packing.shapes is None:
        if not bool((value > 0).all() and value.isfinite().all()):
            raise ValueError(
                f"`{name}` has entries that are not positive and finite; all must be, such as 1e-3"
            )
        value = packing.spread(value) if isinstance(packing, RealParts) else value
        return value.detach().to(y0.device, y0.real.dtype if y0.is_complex() else y0.dtype)
    if isinstance(value, (int, float)) or (isinstance(value, Tensor) and not value.dim()):
        return packing.tolerance(name, float(value), y0)
    return packing.tolerance(name, [float(entry) for entry in value], y0)


def _number(name: str, value: TorchdiffeqTolerance) -> float:
    """The tolerance of the backward solve, whose state has other entries than the forward one's."""
    if not isinstance(value, (int, float)) and not (isinstance(value, Tensor) and not value.dim()):
        raise ValueError(
            f"`{name}` would be {value}, one for each entry of the state; pass `{name}` as one number"
        )
    if not 0 < float(value) < math.inf:
        raise ValueError(f"`{name}` is {float(value)}; tolerances must be positive and finite, such as 1e-3")
    return float(value)


def _parameters(
    func: Callable[..., Any], params: Iterable[Tensor] | None, options: Mapping[str, Any]
) -> tuple[Tensor, ...]:
    """Those of the parameters that require grad."""
    given = tuple(func.parameters() if params is None and isinstance(func, nn.Module) else params or ())
    wanted = tuple(param for param in given if param.requires_grad)
    if len(wanted) < len(given) and callable(options.get("norm")):
        warnings.warn(
            f"{len(given) - len(wanted)} of {len(given)} adjoint parameters do not require grad; "
            "the adjoint's norm does not get them",
            stacklevel=3,
        )
    return wanted


def _augmented_view(y0: Tensor, params: Sequence[Tensor]) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """What func's *_adjoint callbacks see of a state: (t, y, adj_y, *adj_params); the entry of t is 0."""
    shapes = [y0.shape, y0.shape, *(param.shape for param in params)]

    def view(state: Tensor) -> tuple[Tensor, ...]:
        blocks = state.split([shape.numel() for shape in shapes])
        shaped = (block.view(shape) for block, shape in zip(blocks, shapes, strict=True))
        return (state.new_zeros(()), *shaped)

    return view


def _detach(y0: State) -> State:
    return y0.detach() if isinstance(y0, Tensor) else tuple(entry.detach() for entry in y0)
