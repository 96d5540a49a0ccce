"""torchdiffeq's `odeint_event` and `odeint_dense`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from nodebench.ode.compat.event_functions import EventFunction, EventFunctionOfPacked
from nodebench.ode.compat.odeint import TorchdiffeqTolerance, forward_problem, odeint
from nodebench.ode.compat.options import SCIPY, check_method
from nodebench.ode.compat.solvers import AdaptedSolver
from nodebench.ode.counts import Counts
from nodebench.ode.drive.dense import DenseOutput
from nodebench.ode.drive.watch import Crossing
from nodebench.ode.events import Event
from nodebench.ode.field import CountedField
from nodebench.ode.front_door import solve
from nodebench.ode.gradients.event_times import moving
from nodebench.ode.packing import S, check_state


def odeint_event(
    func: Callable[[Tensor, Any], Any],
    y0: S,
    t0: Tensor,
    *,
    event_fn: EventFunction,
    reverse_time: bool = False,
    odeint_interface: Callable[..., Any] = odeint,
    **kwargs: Any,
) -> tuple[Tensor, S]:
    """Solve from y0 at t0 until event_fn(t, y) changes its sign: the time of that, 0-d, and y at t0 and then.

    Gradients of both follow the event, also to what event_fn is computed from. The solution has shape (2, *y0.shape),
    or is a tuple of such. `odeint_interface` is called as odeint(func, y0, t, event_fn=event_fn, **kwargs):
    `odeint_adjoint`, or a function around it.
    """
    packing, start = check_state(y0), t0.reshape(-1)
    t = torch.cat([start, start.detach() + (-1.0 if reverse_time else 1.0)])
    event_t, solution = odeint_interface(func, y0, t, event_fn=event_fn, **kwargs)
    function = EventFunctionOfPacked(event_fn, packing, t[0].item(), packing.pack(y0).detach())
    if function.is_zero_at_start:  # the solve has not begun
        return event_t, solution
    states = (solution,) if isinstance(solution, Tensor) else solution
    last = packing.pack(states[0][-1] if packing.shapes is None else tuple(state[-1] for state in states))
    f = CountedField(packing.wrap(func), (), Counts())
    moved_t, moved = moving(Event(function), Crossing(0, event_t.item(), last, None), f)
    ends = packing.unpack(moved)
    both: Any = tuple(
        torch.cat([state[:-1], end[None]])
        for state, end in zip(states, (ends,) if isinstance(ends, Tensor) else ends, strict=True)
    )
    return moved_t.to(event_t), both[0] if packing.shapes is None else both


def odeint_dense(
    func: Callable[[Tensor, Any], Any],
    y0: S,
    t0: Tensor,
    t1: Tensor,
    *,
    rtol: TorchdiffeqTolerance = 1e-7,
    atol: TorchdiffeqTolerance = 1e-9,
    method: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Callable[[Tensor | float], S]:
    """Solve from t0 to t1: y as a function of a time between them, with gradients through the steps.

    Raises what `odeint` raises, ValueError for SciPy's solvers and the Adams methods; the function raises ValueError
    for a time outside.
    """
    times = torch.stack([torch.as_tensor(t0), torch.as_tensor(t1)])
    problem, packing = forward_problem(func, y0, times, rtol, atol, method, options)
    solver = problem.solver
    if check_method("method", method) in SCIPY or not solver.method.traits.is_one_step:
        raise ValueError(
            f"`{method}` has no interpolant that could be kept; use dopri5, or name the times in `t`"
        )
    assert isinstance(solver, AdaptedSolver), "all methods but SciPy's are"
    solver = replace(solver, solver=replace(solver.solver, dense=True))
    dense = DenseOutput(problem.clock)
    problem = replace(problem, solver=solver, observers=(dense,))
    solve(problem, "direct")
    dense.close(CountedField(problem.f, (), problem.stats.forward))

    def at(t: Tensor | float) -> S:
        state: Any = packing.unpack(dense(float(t)))
        return state

    return at
