"""The one wrapper every evaluation of a vector field passes through, and the counts it keeps.

What counts: each call of f, the two of the initial-step rule included. Reusing a stage (FSAL) is not a call.
Forward and backward solves have a `Counts` each; nothing is ever reset. Those of several solves add up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

Time = float | Tensor  # a float in every solve but one whose output times require grad

# Makes an evaluation, given as a call and the (t, y) it is of, and returns dy.
Inspect = Callable[[Callable[[], Tensor], tuple[Tensor, Tensor]], Tensor]

_DIFFERENTIATES = (
    "the vector field differentiates something that does not require grad here: under torch.no_grad(), from a y0 that "
    "does not require grad, and in the forward solves of gradient=`adjoint` and `checkpointed`, it has to record by "
    "itself: with torch.enable_grad(): y = y if y.requires_grad else y.detach().requires_grad_()"
)


class StageFields(Protocol):
    """What a step evaluates behind its first stage."""

    def at_times(self, ts: Sequence[Time], y: Tensor) -> list[Callable[[Tensor], Tensor]]:
        """One callable y -> dy for each of stages 1, 2, ... of a step; y gives dtype and device."""
        ...


class Field(StageFields, Protocol):
    """dy/dt = f(t, y) of a packed state, as the steps see it."""

    @property
    def counts(self) -> Counts:
        """What has been evaluated so far."""
        ...

    def __call__(self, t: Time, y: Tensor) -> Tensor:
        """One evaluation at the start of a step (stage 0)."""
        ...


@dataclass
class Counts:
    """What one solve did. `num_accepted` and `num_rejected` are None where a solver does not tell.

    `num_forced` of the accepted steps missed the tolerance at `min_step`; at `num_unconverged` of them the corrector
    of implicit_adams did not converge. `steps` holds (t, dt) of each accepted step where it was asked for.
    """

    nfe: int = 0
    num_accepted: int | None = 0
    num_rejected: int | None = 0
    num_forced: int = 0
    num_unconverged: int = 0
    steps: list[tuple[float, float]] | None = None

    def accept(self, t: float, dt: float) -> None:
        """Count one accepted step."""
        self.num_accepted = (self.num_accepted or 0) + 1
        if self.steps is not None:
            self.steps.append((t, dt))

    def reject(self) -> None:
        """Count one rejected step."""
        self.num_rejected = (self.num_rejected or 0) + 1

    @property
    def num_steps(self) -> int:
        """Accepted and rejected steps together."""
        return (self.num_accepted or 0) + (self.num_rejected or 0)

    def __add__(self, other: Counts) -> Counts:
        """What two solves did together, without their `steps`; a number that one of them does not tell is None."""
        return Counts(
            nfe=self.nfe + other.nfe,
            num_accepted=_sum(self.num_accepted, other.num_accepted),
            num_rejected=_sum(self.num_rejected, other.num_rejected),
            num_forced=self.num_forced + other.num_forced,
            num_unconverged=self.num_unconverged + other.num_unconverged,
        )


@dataclass
class SolveStats:
    """Counts of the forward solve, and of the backward one, filled in while backward() runs.

    `direct` leaves `backward` at 0: products with the Jacobian are no evaluations. `checkpointed` counts its
    recomputations there, `adjoint` its evaluations of the augmented system.
    """

    forward: Counts = field(default_factory=Counts)
    backward: Counts = field(default_factory=Counts)


class CountedField:
    """f(t, y, *args) behind `Field`: makes the time tensor, checks the result, counts.

    f may offer `f.at_times(ts)`: one callable (y, *args) -> dy for each entry of the 1-D tensor ts. What depends
    on time alone, a hypernetwork for example, is then evaluated once a step instead of once a stage.

    Raises ValueError if f changes y, if it returns anything but a tensor of y's shape and dtype, or if f.at_times
    returns anything but one callable for each time.
    """

    def __init__(self, f: Callable[..., Any], args: tuple[Any, ...], counts: Counts) -> None:
        self.f = f
        self.args = args
        self._counts = counts
        self._stage_fields = getattr(f, "at_times", None)
        self._inspect: Inspect | None = None

    @property
    def counts(self) -> Counts:
        """What has been evaluated so far."""
        return self._counts

    @property
    def shares_stages(self) -> bool:
        """Whether the stages of a step share what f computes from time alone."""
        return self._stage_fields is not None

    def inspect_first(self, inspect: Inspect) -> None:
        """Leave the next evaluation to `inspect`, with autograd recording.

        The gradient modes that solve without a graph look there for tensors they would silently miss.
        """
        self._inspect = inspect

    def __call__(self, t: Time, y: Tensor) -> Tensor:
        time = time_tensor(t, y)
        stage_field = partial(self.f, time)
        if self._inspect is None:
            return self._evaluate(stage_field, y)
        inspect, self._inspect = self._inspect, None
        with torch.enable_grad():
            return inspect(partial(self._evaluate, stage_field, y), (time, y))

    def at_times(self, ts: Sequence[Time], y: Tensor) -> list[Callable[[Tensor], Tensor]]:
        times = [time_tensor(t, y) for t in ts]
        if self._stage_fields is None or not ts:
            return [partial(self._evaluate, partial(self.f, time)) for time in times]
        return [partial(self._evaluate, field) for field in stage_fields_of(self._stage_fields, times)]

    def _evaluate(self, stage_field: Callable[..., Any], y: Tensor) -> Tensor:
        version = None if y.is_inference() else y._version  # inference tensors do not tell
        try:
            dy = stage_field(y, *self.args)
        except RuntimeError as error:
            if "does not require grad" in str(error):
                error.add_note(_DIFFERENTIATES)
            raise
        self._counts.nfe += 1
        if version is not None and y._version != version:
            raise ValueError(
                "the vector field changed its state in place, which the solve goes on with; "
                "compute a new tensor: y * 2 instead of y.mul_(2)"
            )
        return checked(dy, y)


def stage_fields_of(
    at_times: Callable[[Tensor], Sequence[Callable[..., Any]]], times: Sequence[Tensor]
) -> list[Callable[..., Any]]:
    """The user's f.at_times at 0-d times: one callable for each, or a ValueError."""
    stage_fields = list(at_times(torch.stack(list(times))))
    if len(stage_fields) != len(times):
        raise ValueError(
            f"`at_times` returned {len(stage_fields)} callables for {len(times)} times; it must return one for each"
        )
    return stage_fields


def checked(dy: Any, y: Tensor) -> Tensor:
    """What a vector field returned for a state y: a tensor of its shape and dtype, or a ValueError.

    Where autograd does not record, a field may have done so by itself: nobody is to hold its graph then.
    """
    if not isinstance(dy, Tensor) or dy.shape != y.shape or dy.dtype != y.dtype:
        what = f"{tuple(dy.shape)} {dy.dtype}" if isinstance(dy, Tensor) else f"a {type(dy).__name__}"
        raise ValueError(
            f"the vector field returned {what} for a state of {tuple(y.shape)} {y.dtype}; "
            "f(t, y) must return a tensor of y's shape and dtype (dy.to(y.dtype) converts)"
        )
    return dy.detach() if dy.requires_grad and not torch.is_grad_enabled() else dy


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def time_tensor(t: Time, y: Tensor) -> Tensor:
    """t as a 0-d tensor of y's real dtype on y's device."""
    dtype = y.real.dtype if y.is_complex() else y.dtype
    if isinstance(t, Tensor):
        return t.to(device=y.device, dtype=dtype)
    return torch.full((), t, dtype=dtype, device=y.device)
