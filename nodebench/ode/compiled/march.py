"""Many steps in one call: the adaptive loop itself compiled, for the stretches in which nothing happens but steps.

Between two outputs, a loop in Python spends more on a small field's step than the step costs. Here steps, decisions
and step sizes are one compiled loop in float64 time; the loop of drive/adaptive.py takes over where a step would reach
`until`, goes wrong, or has to be no longer than the least allowed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, NamedTuple

import torch
from torch import Tensor

from nodebench.ode.compiled.inputs import OPTIONS
from nodebench.ode.compiled.traced import TracedField, TracedStages
from nodebench.ode.drive.controllers import Controller
from nodebench.ode.drive.decide import decide, reaches
from nodebench.ode.drive.scalars import Scalar
from nodebench.ode.drive.state import LoopState
from nodebench.ode.field import time_tensor
from nodebench.ode.methods.explicit import rk_step
from nodebench.ode.methods.tableau import ButcherTableau
from nodebench.ode.norms import Norm, error_ratio
from nodebench.ode.packing import Packing

LOOP_OPTIONS = {**OPTIONS, "cpp_wrapper": True}  # the loop is C++, not Python that calls kernels


class MarchKind(NamedTuple):
    """What one compiled loop holds for, beside the shape of the state. The tableau is FSAL."""

    tableau: ButcherTableau
    norm: Norm
    controller: Controller
    packing: Packing


class Bounds(NamedTuple, Generic[Scalar]):
    """How far a march goes, how long its steps may be, and how many of them are tried."""

    until: Scalar
    rounding: Scalar
    direction: Scalar
    least: Scalar
    most: Scalar
    tries: Scalar


def march(
    run: Callable[..., Any],
    f: Callable[..., Any],
    args: tuple[Any, ...],
    state: LoopState[float],
    bounds: Bounds[float],
    tolerances: tuple[Tensor, Tensor],
) -> LoopState[float] | None:
    """See Steps.march, by a loop of `make_march`; None where that cannot be compiled."""
    # In two tensors: each one more costs the call about as much as an operation, and the loop too.
    start = torch.tensor((state.t, state.size, *state.history), dtype=torch.float64)
    end = run(f, args, torch.tensor(bounds, dtype=torch.float64), start, state.y, state.f0, tolerances)
    if end is None:
        return None
    scalars, y1, f1 = end
    t, size, first, second, num_accepted, num_rejected, last_ratio = scalars.tolist()
    return LoopState(t, size, (first, second), y1, f1, int(num_accepted), int(num_rejected), last_ratio)


class _Carried(NamedTuple):
    """What one step of the loop hands to the next; all but y and f0 are 0-d."""

    t: Tensor
    size: Tensor
    history0: Tensor
    history1: Tensor
    num_accepted: Tensor
    num_rejected: Tensor
    went_well: Tensor
    last_ratio: Tensor
    y: Tensor
    f0: Tensor


def make_march(kind: MarchKind) -> Callable[..., tuple[Tensor, ...]]:
    """(f, args, bounds, [t, size, history 0 and 1], y, f0, (rtol, atol)) ->
    ([t, size, history 0 and 1, accepted, rejected, last ratio], y, f0).
    """
    # Imported here, as most who solve an ODE compile nothing.
    from torch._higher_order_ops import while_loop

    tableau = kind.tableau

    def run(
        f: Callable[..., Any],
        args: tuple[Any, ...],
        bounds: Tensor,
        start: Tensor,
        y: Tensor,
        f0: Tensor,
        tolerances: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, ...]:
        field = TracedField(f, kind.packing, args)

        def goes_on(*carried: Tensor) -> Tensor:
            now, bound = _Carried(*carried), Bounds(*bounds.unbind())
            wanted = torch.minimum(now.size, bound.most)
            is_clipped = reaches(wanted, (bound.until - now.t).abs(), bound.rounding)  # by the eager loop
            has_tries = now.num_accepted + now.num_rejected < bound.tries
            return now.went_well & ~is_clipped & (wanted > bound.least) & has_tries

        def step(*carried: Tensor) -> tuple[Tensor, ...]:
            now, bound = _Carried(*carried), Bounds(*bounds.unbind())
            t1 = now.t + bound.direction * torch.minimum(now.size, bound.most)
            dt = t1 - now.t
            stages = TracedStages(tableau, now.f0)
            times = now.t, dt, time_tensor(t1, now.y)
            y1 = rk_step(field, tableau, times, now.y, stages, with_last=True)
            ratio = error_ratio(stages.error(dt), now.y, y1, *tolerances, kind.norm).double()
            return tuple(_advance(now, kind, t1, y1, stages[tableau.num_stages - 1], ratio))

        t, size, history0, history1 = (number.clone() for number in start.unbind())  # none a view
        none = torch.zeros((), dtype=torch.int64, device=y.device)
        well = torch.ones((), dtype=torch.bool, device=y.device)
        carried = (t, size, history0, history1, none, none.clone(), well, torch.ones_like(t), y, f0)
        *scalars, _, last_ratio, y1, f1 = while_loop(goes_on, step, carried)
        return torch.stack([scalar.double() for scalar in (*scalars, last_ratio)]), y1, f1

    return run


def _advance(now: _Carried, kind: MarchKind, t1: Tensor, y1: Tensor, f1: Tensor, ratio: Tensor) -> _Carried:
    """Behind a step to (t1, y1, f1): the next state; what went wrong is left to the eager loop as it was before."""
    state = LoopState(now.t, now.size, (now.history0, now.history1), now.y, now.f0)
    decision = decide(state, ratio, (t1 - now.t).abs(), False, kind.controller, kind.tableau.order)
    accepted, went_well = decision.accepted, torch.isfinite(ratio)
    return _Carried(
        t=torch.where(accepted, t1, now.t),
        size=torch.where(went_well, decision.size, now.size),
        history0=decision.history[0],
        history1=decision.history[1],
        num_accepted=now.num_accepted + accepted,
        num_rejected=now.num_rejected + (~accepted & went_well),
        went_well=went_well,
        last_ratio=torch.where(went_well, ratio, now.last_ratio),
        y=torch.where(accepted, y1, now.y),
        f0=torch.where(accepted, f1, now.f0),
    )
