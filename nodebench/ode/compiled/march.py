"""Many steps in one call: the adaptive loop itself compiled, for the stretches in which nothing happens but steps.

Between two outputs, a loop in Python spends more on a small field's step than the step costs. Here steps, decisions
and step sizes are one compiled loop in float64 time, up to a time that must be met or, where an output is passed over,
up to the step that does; the loop of drive/adaptive.py takes over where one goes wrong or has to be no longer than the
least allowed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, NamedTuple

import torch
from torch import Tensor

from nodebench.ode.compiled.inputs import OPTIONS
from nodebench.ode.compiled.traced import Given, StepKind, TracedStep, take_step
from nodebench.ode.drive.controllers import Controller
from nodebench.ode.drive.decide import decide, reaches
from nodebench.ode.drive.scalars import Scalar
from nodebench.ode.drive.state import LoopState
from nodebench.ode.field import time_tensor
from nodebench.ode.norms import Accuracy, nan_beside

LOOP_OPTIONS = {**OPTIONS, "cpp_wrapper": True}  # the loop is C++, not Python that calls kernels
CARRIED = ("numbers", "y", "f0")  # by the names of a turn's arguments
MOST_CARRIED = 1 << 17  # numbers in a state, which each turn copies


class Bounds(NamedTuple, Generic[Scalar]):
    """How far a march goes, how long its steps may be, and how many of them are tried. `lands`: 1 if on `until`."""

    until: Scalar
    rounding: Scalar
    direction: Scalar
    least: Scalar
    most: Scalar
    tries: Scalar
    lands: Scalar


class _Numbers(NamedTuple, Generic[Scalar]):
    """What one step of the loop hands to the next beside y and f0."""

    t: Scalar
    size: Scalar
    history0: Scalar
    history1: Scalar
    num_accepted: Scalar
    num_rejected: Scalar
    went_well: Scalar
    last_ratio: Scalar


def march(
    run: Callable[..., Any],
    given: Given,
    state: LoopState[float],
    bounds: Bounds[float],
    tolerances: tuple[Tensor, Tensor],
) -> LoopState[float] | None:
    """See Steps.march, by a loop of `make_turn`; None where that cannot be compiled."""
    # In two tensors: each one more costs the call about as much as an operation, and the loop too.
    numbers = _Numbers(state.t, state.size, *state.history, 0.0, 0.0, 1.0, 1.0)
    start, limits = (torch.tensor(values, dtype=torch.float64) for values in (numbers, bounds))
    end = run(given, limits, start, state.y, state.f0, tolerances)
    if end is None:
        return None
    _, after, y1, f1 = end
    now: _Numbers[float] = _Numbers(*after.tolist())
    counts = int(now.num_accepted), int(now.num_rejected)
    return LoopState(now.t, now.size, (now.history0, now.history1), y1, f1, *counts, now.last_ratio)


def make_turn(kind: StepKind, controller: Controller) -> Callable[..., tuple[Tensor, ...]]:
    """One turn of the loop, (given, bounds, numbers, y, f0, (rtol, atol)) -> (goes on, numbers, y, f0).

    The tableau is FSAL and there is a norm. Bounds and numbers are in float64.
    """
    assert kind.norm is not None, "steps are chosen by their error"
    norm = kind.norm

    def turn(
        given: Given,
        bounds: Tensor,
        numbers: Tensor,
        y: Tensor,
        f0: Tensor,
        tolerances: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, ...]:
        now, bound = _Numbers(*numbers.unbind()), Bounds(*bounds.unbind())
        wanted = torch.minimum(now.size, bound.most)
        remaining = (bound.until - now.t) * bound.direction
        is_last = reaches(wanted, remaining, bound.rounding)
        has_tries = now.num_accepted + now.num_rejected < bound.tries
        is_free = torch.minimum(wanted, remaining) > bound.least
        goes_on = (now.went_well > 0) & is_free & (~is_last | (bound.lands > 0)) & has_tries
        t1 = torch.where(is_last, bound.until, now.t + bound.direction * wanted)
        dt = t1 - now.t
        step = take_step(kind, given, (now.t, dt, time_tensor(t1, y)), y, f0, tolerances)
        assert step.error_ratio is not None, "there is a norm"
        # A state that overflows makes its own tolerance infinite: see drive/adaptive.py.
        end = nan_beside(step.error_ratio, Accuracy(*tolerances, norm).part(step.y1))
        ratio = torch.where(is_last, end, step.error_ratio).double()
        return goes_on, *_advance(now, y, f0, step, t1, ratio, controller, kind.tableau.order)

    return turn


def _advance(
    now: _Numbers[Tensor],
    y: Tensor,
    f0: Tensor,
    step: TracedStep,
    t1: Tensor,
    ratio: Tensor,
    controller: Controller,
    order: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Behind a step to t1: what goes on from there; what went wrong is left to the eager loop as it was before."""
    state = LoopState(now.t, now.size, (now.history0, now.history1), y, f0)
    decision = decide(state, ratio, (t1 - now.t).abs(), False, controller, order)
    accepted, went_well = decision.accepted, torch.isfinite(ratio)
    following = _Numbers(
        t=torch.where(accepted, t1, now.t),
        size=torch.where(went_well, decision.size, now.size),
        history0=decision.history[0],
        history1=decision.history[1],
        num_accepted=now.num_accepted + accepted,
        num_rejected=now.num_rejected + (~accepted & went_well),
        went_well=went_well,
        last_ratio=torch.where(went_well, ratio, now.last_ratio),
    )
    numbers = torch.stack([number.double() for number in following])
    return numbers, torch.where(accepted, step.y1, y), torch.where(accepted, step.kept[-1], f0)
