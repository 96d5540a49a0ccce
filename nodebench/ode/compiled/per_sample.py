"""Steps whose rows each have a time and dt of their own, as one compiled call, and many of them as one compiled loop.

The numbers and counts are those of per_sample/step.py to rounding. The batch stays whole, as another number of rows
would be compiled anew; in the loop a row stands still with dt = 0 from where more than a step happens to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nodebench.ode.compiled.compiler import CompiledFunction, compiled_for
from nodebench.ode.compiled.inputs import OPTIONS, layout, requiring_grad
from nodebench.ode.compiled.march import LOOP_OPTIONS
from nodebench.ode.drive.control import StepControl
from nodebench.ode.drive.controllers import Controller
from nodebench.ode.drive.decide import decide, reaches
from nodebench.ode.drive.state import LoopState
from nodebench.ode.field import kept
from nodebench.ode.methods.tableau import ButcherTableau
from nodebench.ode.norms import Accuracy, Norm, error_ratio
from nodebench.ode.per_sample.control import Plan, RowControl
from nodebench.ode.per_sample.rows import RowField, Rows, on_rows
from nodebench.ode.per_sample.step import Marched, RowStep, RowSteps, to_device

FEW_STEPS = 4  # as many as are not worth a march
MOST_PASSES = 1000  # of one march, so that it can be interrupted


@dataclass(frozen=True)
class RowCompiler:
    """Compiles steps of one vector field, called as the user wrote it; `backend` is torch.compile's.

    `keeps_stages`: there are outputs to interpolate. What is compiled is kept as long as the vector field lives.
    """

    f: Callable[..., Any]
    rows: Rows
    backend: str
    keeps_stages: bool

    def steps(
        self,
        tableau: ButcherTableau,
        control: StepControl,
        f: RowField,
        accuracy: Accuracy | None,
        recorded: bool,
    ) -> RowSteps:
        """The steps of one solve."""
        return _CompiledRowSteps(self, tableau, control, f, accuracy, recorded)


class _Kind(NamedTuple):
    """What a compiled step or loop holds for, beside the shape of the state."""

    tableau: ButcherTableau
    rows: Rows
    norm: Norm | None
    keeps_stages: bool = False
    controller: Controller | None = None


class _CompiledRowSteps(RowSteps):
    def __init__(
        self,
        compiler: RowCompiler,
        tableau: ButcherTableau,
        control: StepControl,
        f: RowField,
        accuracy: Accuracy | None,
        recorded: bool,
    ) -> None:
        super().__init__(tableau, f, accuracy, recorded)
        self._compiler, self._field, self._control = compiler, f, control
        norm = None if accuracy is None else accuracy.norm
        self._kind = _Kind(tableau, compiler.rows, norm, compiler.keeps_stages)
        self._steps: dict[bool, CompiledFunction] = {}
        self._can_march = tableau.is_fsal and not recorded

    def take(self, plan: Plan, y: Tensor, f0: Tensor) -> RowStep:
        """See RowSteps."""
        autograd = torch.is_grad_enabled() and (y.requires_grad or f0.requires_grad)
        if autograd:  # the first state of a solve may not require grad, where all that follow do
            y, f0 = requiring_grad(y), requiring_grad(f0)
        step = self._steps.get(autograd)
        if step is None:
            key = ("row step", self._kind, autograd, *layout(y))
            step = self._steps[autograd] = self._compile(key, make_row_step(self._kind))
        numbers = to_device(self.numbers(plan), y)
        y1, f1, ratio, stages = step(self._compiler.f, self._field.args, numbers, y, f0, self._tolerances(y))
        self._field.counts.nfe += self.cost
        return RowStep(y1, f1 if self.tableau.is_fsal else None, ratio, stages)

    def march(self, rows: RowControl, y: Tensor, f0: Tensor) -> Marched | None:
        """See RowSteps. On the CPU alone: elsewhere each pass waits for the device anyway."""
        if not self._can_march or y.device.type != "cpu" or torch.is_grad_enabled():
            return None
        control, until = self._control, np.where(rows.is_under_way, rows.until(), rows.t)
        if (np.abs(until - rows.t) < FEW_STEPS * np.minimum(rows.wish, control.max_step)).all():
            return Marched(y, f0, None)
        kind = self._kind._replace(keeps_stages=False, controller=control.controller)
        loop = self._compile(("row march", kind, *layout(y)), make_row_march(kind), is_loop=True)
        bounds = (until, np.maximum(control.min_step, rows.resolution()), rows.tries_left(self.cost))
        scalars = [rows.times.rounding, rows.times.direction, control.max_step]
        end = loop(
            self._compiler.f,
            self._field.args,
            torch.tensor(scalars, dtype=torch.float64),
            torch.from_numpy(np.stack([rows.t, rows.wish, *rows.history, *bounds])),
            y,
            f0,
            self._tolerances(y),
        )
        if end is None:
            self._can_march = False
            return None
        numbers, passes, y1, f1 = end
        self._field.counts.nfe += int(passes) * self.cost
        *state, last_ratio = numbers.numpy()
        rows.marched(*state, cost=self.cost)
        return Marched(y1, f1, last_ratio)

    def _compile(
        self, key: tuple[Any, ...], function: Callable[..., Any], is_loop: bool = False
    ) -> CompiledFunction:
        compiler, options = self._compiler, LOOP_OPTIONS if is_loop else OPTIONS
        return compiled_for(
            compiler.f, key, lambda: function, compiler.backend, options=options, is_loop=is_loop
        )


def make_row_step(kind: _Kind) -> Callable[..., tuple[Tensor, Tensor, Tensor | None, list[Tensor]]]:
    """(f, args, [times of the stages, dt] (s, b), y, f0, (rtol, atol)) -> y1, the last slope, ratios, scaled stages."""

    def step(
        f: Callable[..., Any],
        args: tuple[Any, ...],
        numbers: Tensor,
        y: Tensor,
        f0: Tensor,
        tolerances: tuple[Tensor, Tensor] | None,
    ) -> tuple[Tensor, Tensor, Tensor | None, list[Tensor]]:
        *times, dt = numbers.unbind()
        taken = _take(kind, f, args, (times, dt), y, f0)
        ratio = None
        if kind.norm is not None and tolerances is not None:
            with torch.no_grad():
                ratio = error_ratio(taken.error(kind), y, taken.y1, *tolerances, kind.norm)
        return taken.y1, taken.slope, ratio, taken.stages if kind.keeps_stages else []

    return step


class _Taken(NamedTuple):
    """A traced step: its end, the slope of its last stage, and its stages scaled by dt."""

    y1: Tensor
    slope: Tensor
    stages: list[Tensor]

    def error(self, kind: _Kind) -> Tensor:
        """The estimate of y1's error."""
        assert kind.tableau.b_err is not None, "only a method with an error estimate is asked for its error"
        return _sum(kind.tableau.b_err, self.stages)


def _take(
    kind: _Kind,
    f: Callable[..., Any],
    args: tuple[Any, ...],
    numbers: tuple[list[Tensor], Tensor],
    y: Tensor,
    f0: Tensor,
) -> _Taken:
    """The step from y, where the slope is f0; the times of its stages and dt are (b,), in y's real dtype."""
    tableau, (times, dt) = kind.tableau, numbers
    column = dt.unsqueeze(1)
    stages, state, slope = [column * f0], y, f0
    for i, t in enumerate(times, start=1):
        state = y + _sum(tableau.a[i], stages)
        slope = kept(on_rows(f, kind.rows, t, state, args))
        stages.append(column * slope)
    y1 = state if tableau.is_fsal else y + _sum(tableau.b, stages)
    return _Taken(y1, slope, stages)


def _sum(weights: tuple[float, ...], stages: list[Tensor]) -> Tensor:
    """sum_i weights[i] stages[i]."""
    terms = [weight * k for weight, k in zip(weights, stages, strict=False) if weight]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


class _Carried(NamedTuple):
    """What one pass of the loop hands to the next: (b,) each, but for y and f0 (b, n) and the 0-d passes."""

    t: Tensor
    size: Tensor
    history0: Tensor
    history1: Tensor
    num_accepted: Tensor
    num_tried: Tensor
    went_well: Tensor
    last_ratio: Tensor
    passes: Tensor
    y: Tensor
    f0: Tensor


class _Bounds(NamedTuple):
    """Of the solve, 0-d: rounding, direction, longest step; of each row (b,): how far, how short, how many steps."""

    rounding: Tensor
    direction: Tensor
    most: Tensor
    until: Tensor
    least: Tensor
    tries: Tensor

    def goes_on(self, now: _Carried) -> tuple[Tensor, Tensor]:
        """The rows that the loop can step, and those that it cannot though no time that must be met is near.

        Both are left to the eager loop, but the others wait where they are, and these are waited for by nobody.
        """
        wanted = torch.minimum(now.size, self.most)
        is_far = ~reaches(wanted, (self.until - now.t).abs(), self.rounding)
        goes = is_far & now.went_well & (wanted > self.least) & (now.num_tried < self.tries)
        return goes, is_far & ~goes


def make_row_march(kind: _Kind) -> Callable[..., tuple[Tensor, ...]]:
    """(f, args, [rounding, direction, longest step], [t, size, history 0 and 1, until, least, tries] (7, b), y, f0,
    (rtol, atol)) -> [t, size, history 0 and 1, accepted, tried, last ratio] (7, b), passes, y, f0.
    """
    # Imported here, as most who solve an ODE compile nothing.
    from torch._higher_order_ops import while_loop

    tableau = kind.tableau

    def run(
        f: Callable[..., Any],
        args: tuple[Any, ...],
        scalars: Tensor,
        start: Tensor,
        y: Tensor,
        f0: Tensor,
        tolerances: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, ...]:
        real = y.real.dtype if y.is_complex() else y.dtype

        def bounds() -> _Bounds:
            return _Bounds(*scalars.unbind(), *start[4:].unbind())

        def goes_on(*carried: Tensor) -> Tensor:
            now = _Carried(*carried)
            goes, is_stuck = bounds().goes_on(now)
            return goes.any() & ~is_stuck.any() & (now.passes < MOST_PASSES)

        def step(*carried: Tensor) -> tuple[Tensor, ...]:
            now, bound = _Carried(*carried), bounds()
            goes, _ = bound.goes_on(now)
            t1 = torch.where(goes, now.t + bound.direction * torch.minimum(now.size, bound.most), now.t)
            dt = t1 - now.t
            times = [(t1 if c == 1.0 else now.t + c * dt).to(real) for c in tableau.c[1:]]
            taken = _take(kind, f, args, (times, dt.to(real)), now.y, now.f0)
            assert kind.norm is not None, "steps are chosen by their error"
            ratio = error_ratio(taken.error(kind), now.y, taken.y1, *tolerances, kind.norm).double()
            return tuple(_advance(now, kind, goes, t1, taken, ratio))

        t, size, history0, history1 = (number.clone() for number in start[:4].unbind())  # none a view
        none = torch.zeros_like(t, dtype=torch.int64)
        well = torch.ones_like(t, dtype=torch.bool)
        passes = torch.zeros((), dtype=torch.int64)
        counted = none, none.clone(), well, torch.ones_like(t), passes
        end = _Carried(*while_loop(goes_on, step, (t, size, history0, history1, *counted, y, f0)))
        numbers = (
            end.t,
            end.size,
            end.history0,
            end.history1,
            end.num_accepted,
            end.num_tried,
            end.last_ratio,
        )
        return torch.stack([number.double() for number in numbers]), end.passes, end.y, end.f0

    return run


def _advance(now: _Carried, kind: _Kind, goes: Tensor, t1: Tensor, taken: _Taken, ratio: Tensor) -> _Carried:
    """Behind a step: the next state; a row that went wrong is left to the eager loop as it was before."""
    assert kind.controller is not None, "the loop decides by it"
    state = LoopState(now.t, now.size, (now.history0, now.history1), now.y, now.f0)
    decision = decide(state, ratio, (t1 - now.t).abs(), False, kind.controller, kind.tableau.order)
    is_judged = goes & torch.isfinite(ratio)
    accepted = is_judged & decision.accepted
    column = accepted.unsqueeze(1)
    return _Carried(
        t=torch.where(accepted, t1, now.t),
        size=torch.where(is_judged, decision.size, now.size),
        history0=torch.where(accepted, decision.history[0], now.history0),
        history1=torch.where(accepted, decision.history[1], now.history1),
        num_accepted=now.num_accepted + accepted,
        num_tried=now.num_tried + is_judged,
        went_well=now.went_well & (is_judged | ~goes),
        last_ratio=torch.where(is_judged, ratio, now.last_ratio),
        passes=now.passes + 1,
        y=torch.where(column, taken.y1, now.y),
        f0=torch.where(column, taken.slope, now.f0),
    )
