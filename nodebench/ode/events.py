"""Events of a solve, as values: zero crossings of a function of time and state, counted or ending the solve."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, Generic

import torch
from torch import Tensor

from nodebench.ode.packing import Packing, S

DIRECTIONS = (-1, 0, 1)


@dataclass(frozen=True)
class Event:
    """A crossing of zero by `function(t, y)`, one real number for the whole state.

    direction: 1 counts crossings from below zero to above (rising), -1 those from above to below (falling), 0 either,
        in the order in which the solve meets them, which may be backwards in time.
    terminal: True ends the solve at the first crossing, a number n at the n-th; False only counts them.

    Signs are looked at four times a step: two crossings within a quarter of one go unseen, which a `max_step` prevents.

    Raises TypeError or ValueError for values that are none of these.
    """

    function: Callable[[Tensor, Any], Tensor | float]
    direction: int = 0
    terminal: bool | int = True

    def __post_init__(self) -> None:
        if not callable(self.function):
            kind = type(self.function).__name__
            raise TypeError(f"an event's function is a {kind}; it must be callable as function(t, y)")
        if self.direction not in DIRECTIONS:
            raise ValueError(
                f"`direction` of an event is {self.direction!r}; it must be 1 (rising), -1 (falling) or 0 (either)"
            )
        if not isinstance(self.terminal, int) or self.terminal < 0:
            raise ValueError(
                f"`terminal` of an event is {self.terminal!r}; it must be True, False, or the number of crossings "
                "after which the solve ends"
            )

    @property
    def last(self) -> int | None:
        """The crossing, counted from 1, that ends the solve; None if none does."""
        return int(self.terminal) or None

    def value(self, t: Tensor, y: Any) -> Tensor | float:
        """The function's value, 0-d if it is a tensor; ValueError unless it is one real number."""
        value = self.function(t, y)
        if isinstance(value, Tensor):
            if value.numel() == 1 and not value.is_complex() and value.dtype != torch.bool:
                return value.reshape(())
            what = f"a tensor of shape {tuple(value.shape)} and {value.dtype}"
        elif isinstance(value, Real) and not isinstance(value, bool):
            return float(value)
        else:
            what = f"a {type(value).__name__}"
        raise ValueError(
            f"an event function returned {what}; it must return one real number, or a tensor of one, for the whole "
            "state, whose sign changes where the event is"
        )


@dataclass(frozen=True)
class Crossings(Generic[S]):
    """Where a solve met one event: times of shape (num_crossings,), in float64, and states (num_crossings, *y0.shape).

    The states are a tuple of such if y0 is one. Gradients through both follow the event as it moves.
    """

    ts: Tensor
    ys: S


AnyEvent = Event | Callable[[Tensor, Any], Tensor | float]


def check_events(event: AnyEvent | Sequence[AnyEvent] | None, packing: Packing) -> tuple[Event, ...]:
    """The events of a call, on packed states; a function alone is one that ends the solve where it crosses zero."""
    if event is None:
        return ()
    given = [event] if isinstance(event, Event) or callable(event) else event
    if not isinstance(given, Sequence):
        raise TypeError(
            f"`event` is a {type(event).__name__}; it must be a function of (t, y), an Event, or a sequence of them"
        )
    events = [one if isinstance(one, Event) else Event(one) for one in given]
    return tuple(_packed(one, packing) for one in events)


def _packed(event: Event, packing: Packing) -> Event:
    if packing.shapes is None:
        return event
    function = event.function
    return replace(event, function=lambda t, y: function(t, packing.unpack(y)))


def crosses(before: float, after: float, direction: int) -> bool:
    """Whether a value that was `before` has come to zero, or through it, in a direction that counts.

    To arrive at zero is to cross it, once: what leaves zero has crossed it before, or began there. NaN crosses nothing.
    """
    falls, rises = before > 0 >= after, before < 0 <= after
    return (falls and direction <= 0) or (rises and direction >= 0)
