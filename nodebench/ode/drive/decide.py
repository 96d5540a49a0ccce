"""The decision behind a step: accepted or not, and how long the next one is. For all that scalars.py knows alike."""

from __future__ import annotations

from typing import Any, NamedTuple

from nodebench.ode.drive.controllers import Controller
from nodebench.ode.drive.scalars import larger, smaller, where
from nodebench.ode.drive.state import LoopState, Pace


class Decision(NamedTuple):
    """Whether a step stands, the size of the next one, and what the controller remembers."""

    accepted: Any
    size: Any
    history: tuple[Any, Any]


def decide(
    state: LoopState[Any], ratio: Any, taken: Any, forced: Any, controller: Controller, order: int
) -> Decision:
    """What follows from a step of size `taken` that ended with an error ratio; a forced one stands whatever it is.

    A step that was clipped to a required time says little about the step that the accuracy allows, so the wish stays.
    Of a ratio that is not finite nothing follows: it is never accepted, and its size is not to be used.
    """
    is_met, history = ratio <= 1.0, state.history
    accepted = is_met | forced
    size = taken * controller.factor(ratio, order, history)
    kept = where(is_met & (taken < state.size), state.size, 0.0)
    first, second = controller.remember(ratio, history)
    history = where(accepted, first, history[0]), where(accepted, second, history[1])
    return Decision(accepted, larger(size, kept), history)


def at_pace(decision: Decision, state: LoopState[float], taken: float, pace: Pace) -> Decision:
    """The decision with the next step held to the pace of a step of size `taken`; a clipped one tells nothing."""
    size = decision.size * pace.safety
    if decision.accepted:
        size = min(size, taken * pace.growth)
        if taken < 0.99 * state.size:  # clipped, and not merely rounded with its end
            size = max(size, state.size)
    return decision._replace(size=size)


def reaches(size: Any, remaining: Any, rounding: Any) -> Any:
    """Whether a step of `size` is to end on a time that lies `remaining` ahead.

    A sliver left by the rounding of times is taken along rather than left for a step of its own.
    """
    return size >= remaining * (1 - 1e-12) - smaller(size / 100, rounding)
