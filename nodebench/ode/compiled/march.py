"""Many steps in one call: the adaptive loop itself compiled, for the stretches in which nothing happens but steps.

Between two outputs, a loop in Python spends more on a small field's step than the step costs. Here steps, decisions
and step sizes are one compiled loop in float64 time; the loop of loop.py takes over where a step would reach `until`,
goes wrong, or has to be no longer than the least allowed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from nodebench.ode.clock import Clock
from nodebench.ode.compiled.compiler import compiled_for
from nodebench.ode.compiled.inputs import OPTIONS, float64
from nodebench.ode.compiled.traced import TracedField, TracedStages
from nodebench.ode.controllers import PIDController
from nodebench.ode.counting import time_tensor
from nodebench.ode.norms import Norm, error_ratio
from nodebench.ode.packing import Packing
from nodebench.ode.step import rk_step
from nodebench.ode.step_control import StepControl
from nodebench.ode.steppers import March
from nodebench.ode.tableau import ButcherTableau

if TYPE_CHECKING:
    from nodebench.ode.compiled.steps import CompiledSteps

LOOP_OPTIONS = {**OPTIONS, "cpp_wrapper": True}  # the loop is C++, not Python that calls kernels


def march(
    steps: CompiledSteps,
    args: tuple[Any, ...],
    tableau: ButcherTableau,
    control: StepControl,
    tolerances: tuple[Tensor, Tensor],
    clock: Clock,
    start: March,
    until: float,
    max_tries: int,
) -> March | None:
    """See Stepper.march; None where the loop cannot be compiled. The tableau is FSAL."""
    y, controller = start.y, control.controller
    key = ("march", tableau, control.norm, controller, steps.packing, y.shape, y.dtype)
    run = compiled_for(
        steps.f,
        key,
        lambda: make_march(tableau, control.norm, controller, steps.packing),
        steps.backend,
        options=LOOP_OPTIONS,
        is_loop=True,
    )
    least = max(control.min_step, clock.resolution(max(start.t, until, key=abs)))
    numbers = (
        until,
        clock.rounding,
        clock.direction,
        least,
        control.max_step,
        start.t,
        start.size,
        *start.history,
    )
    scalars = [float64(number, y) for number in numbers]  # none a view of another
    tries = torch.full((), max_tries, dtype=torch.int64, device=y.device)
    end = run(steps.f, args, *scalars, tries, y, start.k0, *tolerances)
    if end is None:
        return None
    *scalars_at_end, y1, k1 = end
    t, size, first, second, num_accepted, num_rejected, last_ratio = (s.item() for s in scalars_at_end)
    return March(t, size, y1, k1, (first, second), num_accepted, num_rejected, last_ratio)


def make_march(
    tableau: ButcherTableau, norm: Norm, controller: PIDController, packing: Packing
) -> Callable[..., tuple[Tensor, ...]]:
    """(f, args, until, rounding, direction, least, most, t, size, history 0 and 1, max_tries, y, k0, rtol, atol) ->
    (t, size, history 0 and 1, accepted, rejected, last ratio, y, k0).
    """
    # Imported here, as most who solve an ODE compile nothing.
    from torch._higher_order_ops import while_loop

    def run(
        f: Callable[..., Any],
        args: tuple[Any, ...],
        until: Tensor,
        rounding: Tensor,
        direction: Tensor,
        least: Tensor,
        most: Tensor,
        t: Tensor,
        size: Tensor,
        history0: Tensor,
        history1: Tensor,
        max_tries: Tensor,
        y: Tensor,
        k0: Tensor,
        rtol: Tensor,
        atol: Tensor,
    ) -> tuple[Tensor, ...]:
        field = TracedField(f, packing, args)

        def goes_on(*carried: Tensor) -> Tensor:
            now = _Carried(*carried)
            wanted = torch.minimum(now.size, most)
            slack = torch.minimum(rounding, wanted / 100)
            fits = wanted < (until - now.t).abs() * (1 - 1e-12) - slack  # else the loop clips it
            return now.went_well & fits & (wanted > least) & (now.num_accepted + now.num_rejected < max_tries)

        def step(*carried: Tensor) -> tuple[Tensor, ...]:
            now = _Carried(*carried)
            t1 = now.t + direction * torch.minimum(now.size, most)
            dt = t1 - now.t
            stages = TracedStages(tableau, now.k0)
            last_time = time_tensor(t1, now.y)
            y1 = rk_step(field, tableau, now.t, dt, now.y, stages, with_error=True, last_time=last_time)
            ratio = error_ratio(stages.error(dt), now.y, y1, rtol, atol, norm).double()
            k1 = stages[tableau.num_stages - 1]
            return tuple(_decide(now, t1, y1, k1, ratio, controller, tableau.order))

        none = torch.zeros((), dtype=torch.int64, device=y.device)
        well = torch.ones((), dtype=torch.bool, device=y.device)
        start = (t, size, history0, history1, none, none.clone(), well, torch.ones_like(t), y, k0)
        *scalars, _, last_ratio, y1, k1 = while_loop(goes_on, step, start)
        return (*scalars, last_ratio, y1, k1)

    return run


class _Carried(NamedTuple):
    """What one step of the loop hands to the next; all but y and k0 are 0-d."""

    t: Tensor
    size: Tensor
    history0: Tensor
    history1: Tensor
    num_accepted: Tensor
    num_rejected: Tensor
    went_well: Tensor
    last_ratio: Tensor
    y: Tensor
    k0: Tensor


def _decide(
    now: _Carried, t1: Tensor, y1: Tensor, k1: Tensor, ratio: Tensor, controller: PIDController, order: int
) -> _Carried:
    """Behind a step to (t1, y1, k1): accepted, rejected, or gone wrong; the loop's rules and `remember` in tensors."""
    went_well = torch.isfinite(ratio)
    accepted, rejected = ratio <= 1.0, ratio > 1.0
    taken = (t1 - now.t).abs()
    following = taken * next_factor(controller, ratio, order, now.history0, now.history1)
    # As in the loop: a step cut short says little about the step that the accuracy allows.
    kept = torch.where(accepted & (taken < now.size), now.size, 0.0)
    inverse = torch.where(ratio > 0.0, 1.0 / ratio, math.inf).clamp(max=1e8)
    return _Carried(
        t=torch.where(accepted, t1, now.t),
        size=torch.where(went_well, torch.maximum(following, kept), now.size),
        history0=torch.where(accepted, inverse, now.history0),
        history1=torch.where(accepted, now.history0, now.history1),
        num_accepted=now.num_accepted + accepted,
        num_rejected=now.num_rejected + (rejected & went_well),
        went_well=went_well,
        last_ratio=torch.where(went_well, ratio, now.last_ratio),
        y=torch.where(accepted, y1, now.y),
        k0=torch.where(accepted, k1, now.k0),
    )


def next_factor(
    controller: PIDController, ratio: Tensor, order: int, history0: Tensor, history1: Tensor
) -> Tensor:
    """PIDController.factor of a tensor; _decide has its `remember`."""
    p, i, d = controller.proportional, controller.integral, controller.derivative
    inverse = 1.0 / ratio
    accepted = inverse ** ((p + i + d) / order)
    accepted = accepted * history0 ** (-(p + 2 * d) / order) * history1 ** (d / order)
    product = controller.safety * torch.where(ratio <= 1.0, accepted, inverse ** (1.0 / order))
    lower = torch.where(ratio < 1.0, torch.ones_like(ratio), controller.factor_min)
    factor = torch.clamp(torch.maximum(product, lower), max=controller.factor_max)
    return torch.where(ratio == 0.0, controller.factor_max, factor)
