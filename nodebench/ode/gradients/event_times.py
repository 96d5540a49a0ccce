"""Gradients of an event's time and state, by the implicit function theorem.

The solve finds t* where g(t*, y(t*)) = 0 and hands out y(t*) as the state at a constant time. Where the solution or g
changes, the event moves: with dy/dt the slope of the solution at t*,

    dt* = -dg / (dg/dt + dg/dy . dy/dt)                 dg: of g at the constant time and through its state
    dy(t*) = dy at the constant time + dy/dt dt*

For `direct` and `checkpointed`, which are exact for the discrete solve, the slope is the interpolant's; for `adjoint`,
the gradient of the ODE, it is f.

Source: Chen, Amos & Nickel, "Learning Neural Event Functions for Ordinary Differential Equations", ICLR 2021
(arXiv 2011.03902), section 3.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nodebench.ode.clock import float_times
from nodebench.ode.drive.watch import Crossing, EventWatch
from nodebench.ode.events import Crossings, Event
from nodebench.ode.field import CountedField, time_tensor
from nodebench.ode.gradients.problem import Problem, inner
from nodebench.ode.packing import Packing


def crossings(problem: Problem, watch: EventWatch, packing: Packing) -> tuple[Crossings[Any], ...]:
    """Where a solve met each of its events, with gradients that follow them."""
    f = CountedField(problem.f, problem.args, problem.stats.forward)
    moved = [moving(watch.events[crossing.event], crossing, f) for crossing in watch.found]
    of_each = []
    for i in range(len(watch.events)):
        mine = [both for both, crossing in zip(moved, watch.found, strict=True) if crossing.event == i]
        ts = torch.stack([t for t, _ in mine]) if mine else float_times([], problem.y0)
        ys = torch.stack([y for _, y in mine]) if mine else problem.y0.new_empty(0, *problem.y0.shape)
        of_each.append(Crossings(ts, packing.unpack(ys, (len(mine),))))
    return tuple(of_each)


def moving(event: Event, crossing: Crossing, f: CountedField) -> tuple[Tensor, Tensor]:
    """The time (0-d) and state of a crossing, whose gradients follow it.

    Raises ValueError for an event function that autograd cannot follow where gradients are wanted.
    """
    t, y = crossing.t, crossing.y
    time = float_times([t], y)[0]
    value = event.value(time_tensor(t, y), y) if torch.is_grad_enabled() else 0.0
    is_followed = isinstance(value, Tensor) and value.requires_grad
    if not (is_followed or (y.requires_grad and torch.is_grad_enabled())):
        return time, y
    inputs = time_tensor(t, y).requires_grad_(), y.detach().requires_grad_()
    by_inputs = event.value(*inputs)
    if not (isinstance(by_inputs, Tensor) and by_inputs.requires_grad):
        raise ValueError(
            "an event function returned a number that autograd cannot follow, so the event's time would have no "
            "gradient; return a tensor computed from t and y, or solve under torch.no_grad()"
        )
    if not is_followed:  # a function of time alone: the event stays where it is
        return time, y
    with torch.no_grad():
        slope = f(t, y.detach()) if crossing.slope is None else crossing.slope
    by_time, by_state = torch.autograd.grad(by_inputs, inputs, allow_unused=True, materialize_grads=True)
    rate = by_time + inner(by_state, slope)
    moved: tuple[Tensor, Tensor] = _Moving.apply(value, y, time, slope, rate)
    return moved


class _Moving(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, value: Tensor, y: Tensor, time: Tensor, slope: Tensor, rate: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(slope, rate)
        ctx.value_dtype = value.dtype
        return time.clone(), y.clone()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "the time and state of an event have no second derivative (backward with create_graph=True)"
            )
        grad_time, grad_y = grad_outputs
        slope, rate = ctx.saved_tensors
        by_time = grad_time + inner(grad_y, slope)
        if rate == 0 and by_time != 0:
            raise RuntimeError(
                "an event's time has no gradient: its function only touches zero there, with a rate of change of 0"
            )
        grad_value = torch.zeros_like(by_time) if rate == 0 else -by_time / rate
        return grad_value.to(ctx.value_dtype), grad_y, None, None, None
