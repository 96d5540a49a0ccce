"""The vector field as the steps see it, and the one wrapper that every evaluation passes through and is counted by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from nodebench.ode.counts import Counts

Time = float | Tensor  # a float in every solve but one whose output times require grad

# Makes an evaluation, given as a call and the (t, y) it is of, and returns dy.
Inspect = Callable[[Callable[[], Tensor], tuple[Tensor, Tensor]], Tensor]

_DIFFERENTIATES = (
    "the vector field differentiates something that does not require grad here: under torch.no_grad(), from a y0 that "
    "does not require grad, and in the forward solves of gradient=`adjoint` and `checkpointed`, it has to record by "
    "itself: with torch.enable_grad(): y = y if y.requires_grad else y.detach().requires_grad_()"
)

CHANGED = (
    "the vector field changed its state in place, which the solve goes on with; "
    "compute a new tensor: y * 2 instead of y.mul_(2)"
)


class StageFields(Protocol):
    """What a step evaluates behind its first stage.

    The last `riding` entries of a state are integrals: f does not read them, so a method may leave them out of the
    states that it evaluates f at. `integrands` says at which of the times their slopes are wanted (None: at all).
    """

    riding: int

    def at_times(
        self, ts: Sequence[Time], y: Tensor, integrands: Sequence[bool] | None = None
    ) -> list[Callable[[Tensor], Tensor]]:
        """One callable y -> dy for each of stages 1, 2, ... of a step; y gives dtype and device."""
        ...


class Field(StageFields, Protocol):
    """dy/dt = f(t, y) of a packed state, as the steps see it."""

    @property
    def counts(self) -> Counts:
        """What has been evaluated so far."""
        ...

    def __call__(self, t: Time, y: Tensor, integrand: bool = True) -> Tensor:
        """One evaluation, at the start of a step (stage 0)."""
        ...


class CountedField:
    """f(t, y, *args) behind `Field`: makes the time tensor, checks the result, counts.

    f may offer `f.at_times(ts)`: one callable (y, *args) -> dy for each entry of the 1-D tensor ts. What depends
    on time alone, a hypernetwork for example, is then evaluated once a step instead of once a stage.

    Raises ValueError if f changes y, if it returns anything but a tensor of y's shape in a dtype that y's can hold, or
    if f.at_times returns anything but one callable for each time.
    """

    riding = 0

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

    @property
    def is_inspected(self) -> bool:
        """Whether the next evaluation is left to an `inspect`."""
        return self._inspect is not None

    def inspect_first(self, inspect: Inspect) -> None:
        """Leave the next evaluation to `inspect`, with autograd recording.

        The gradient modes that solve without a graph look there for tensors they would silently miss.
        """
        self._inspect = inspect

    def __call__(self, t: Time, y: Tensor, integrand: bool = True) -> Tensor:
        """See Field."""
        time = time_tensor(t, y)
        if self._inspect is None:
            return self._evaluate(self.f, time, y)
        return self._inspected(partial(self._evaluate, self.f, time, y), (time, y))

    def _inspected(self, evaluation: Callable[[], Tensor], inputs: tuple[Tensor, Tensor]) -> Tensor:
        inspect, self._inspect = self._inspect, None
        assert inspect is not None, "asked before"
        with torch.enable_grad():
            return inspect(evaluation, inputs)

    def at_times(
        self, ts: Sequence[Time], y: Tensor, integrands: Sequence[bool] | None = None
    ) -> list[Callable[[Tensor], Tensor]]:
        """See StageFields."""
        times = time_tensors(ts, y)
        if self._stage_fields is None or not ts:
            return [partial(self._evaluate, self.f, time) for time in times]
        return [partial(self._evaluate, field) for field in stage_fields_of(self._stage_fields, times)]

    def _evaluate(self, f: Callable[..., Any], *inputs: Tensor) -> Tensor:
        return checked(self._raw(f, *inputs), inputs[-1])

    def _raw(self, f: Callable[..., Any], *inputs: Tensor) -> Any:
        """What f returned of (t, y), or of y alone; counted, and y as it was."""
        y = inputs[-1]
        version = None if y.is_inference() else y._version  # version_of, without a call an evaluation
        try:
            dy = f(*inputs, *self.args)
        except RuntimeError as error:
            if "does not require grad" in str(error):
                error.add_note(_DIFFERENTIATES)
            raise
        self._counts.nfe += 1
        if version is not None and y._version != version:
            raise ValueError(CHANGED)
        return dy


def version_of(y: Tensor) -> int | None:
    """How often y was changed in place; None where that is not known, of inference tensors."""
    return None if y.is_inference() else y._version


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
    """What a vector field returned for a state y, in y's dtype: a tensor of its shape, or a ValueError.

    Another precision is cast: a float64 constant beside a float32 state, or what autocast computed. Where autograd does
    not record, a field may have done so by itself: nobody is to hold its graph then.
    """
    is_tensor = isinstance(dy, Tensor)
    if not is_tensor or dy.shape != y.shape or (dy.dtype != y.dtype and not is_castable(dy.dtype, y.dtype)):
        what = f"{tuple(dy.shape)} {dy.dtype}" if is_tensor else f"a {type(dy).__name__}"
        raise ValueError(
            f"the vector field returned {what} for a state of {tuple(y.shape)} {y.dtype}; "
            f"f(t, y) must return a tensor of y's shape, {_KINDS[y.is_complex()]}"
        )
    if dy.dtype != y.dtype:
        dy = dy.to(y.dtype)
    return dy.detach() if dy.requires_grad and not torch.is_grad_enabled() else dy


_KINDS = ("real and floating-point", "floating-point or complex")


def is_castable(dtype: torch.dtype, state: torch.dtype) -> bool:
    """Whether slopes of a dtype are cast to the state's: of another precision they are; integers are a slip."""
    return dtype == state or dtype.is_floating_point or (dtype.is_complex and state.is_complex)


def time_tensor(t: Time, y: Tensor) -> Tensor:
    """t as a 0-d tensor of y's real dtype on y's device."""
    return time_tensors((t,), y)[0]


def time_tensors(ts: Sequence[Time], y: Tensor) -> list[Tensor]:
    """Each time as a 0-d tensor of y's real dtype on y's device; none is a view of another."""
    dtype, device = y.real.dtype if y.is_complex() else y.dtype, y.device
    return [
        t.to(device=device, dtype=dtype)
        if isinstance(t, Tensor)
        else torch.full((), t, dtype=dtype, device=device)
        for t in ts
    ]


def kept(k: Tensor) -> Tensor:
    """k, or a copy where autograd need not remember it: a field may hand out the same memory at every call."""
    return k if k.requires_grad else k.clone()
