"""A step as one pure function of tensors, time and step size among them: what torch.compile is given.

The step is the one of methods/explicit.py; only the field, which counts nothing here, and the stages are others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nodebench.ode.drive.first_step import Interval, guessed
from nodebench.ode.field import Time, checked, kept, stage_fields_of, time_tensor, time_tensors
from nodebench.ode.gradients.augmented import augmented
from nodebench.ode.methods.explicit import rk_step
from nodebench.ode.methods.tableau import ButcherTableau
from nodebench.ode.norms import Accuracy, Norm, error_ratio
from nodebench.ode.packing import Packing


class TracedField:
    """f(t, y, *args) behind `StageFields`: CountedField without its counts, which are made outside of a step."""

    riding = 0

    def __init__(self, f: Callable[..., Any], packing: Packing, args: tuple[Any, ...]) -> None:
        self._f, self._args = packing.wrap(f), args

    def at_times(
        self, ts: Sequence[Time], y: Tensor, integrands: Sequence[bool] | None = None
    ) -> list[Callable[[Tensor], Tensor]]:
        """See StageFields."""
        times = time_tensors(ts, y)
        at_times = getattr(self._f, "at_times", None)
        if at_times is None or not times:
            return [partial(self._call, partial(self._f, time)) for time in times]
        return [partial(self._call, stage_field) for stage_field in stage_fields_of(at_times, times)]

    def _call(self, stage_field: Callable[..., Any], y: Tensor) -> Tensor:
        return checked(stage_field(y, *self._args), y)


class TracedAugmentedField:
    """AugmentedField for real leaves, in a form that can be traced. `used` says of which leaves f made use."""

    def __init__(self, f: TracedField, leaves: tuple[Tensor, ...], shape: torch.Size) -> None:
        self._f, self._leaves, self._shape = f, leaves, shape
        self.riding = sum(leaf.numel() for leaf in leaves)
        self.used = [False] * len(leaves)

    def at_times(
        self, ts: Sequence[Time], y: Tensor, integrands: Sequence[bool] | None = None
    ) -> list[Callable[[Tensor], Tensor]]:
        """See StageFields."""
        with torch.enable_grad():
            stage_fields = self._f.at_times(ts, y[: self._shape.numel()])
        wanted = integrands or [True] * len(stage_fields)
        return [partial(self._evaluate, f, w) for f, w in zip(stage_fields, wanted, strict=False)]

    def _evaluate(self, stage_field: Callable[[Tensor], Tensor], integrand: bool, state: Tensor) -> Tensor:
        n, leaves = self._shape.numel(), self._leaves if integrand else ()
        y, adj_y = state[:n].view(self._shape), state[n : 2 * n].view(self._shape)
        slope, used = augmented(stage_field, y, adj_y, leaves, keep_graph=True)
        if integrand:
            self.used = [before or now for before, now in zip(self.used, used, strict=True)]
        return slope


class TracedStages:
    """Stages as separate tensors and their sums as expressions, which a compiler is free to fuse.

    `size` entries of a state are f's; those behind them are integrals (see RidingBuffer). As in StageList, what a field
    hands out is copied where autograd need not remember it: the next stage may reuse it.
    """

    def __init__(self, tableau: ButcherTableau, k0: Tensor, size: int | None = None) -> None:
        self._tableau, self._size = tableau, size
        self._whole = [k0]
        self._stages = [k0 if size is None else k0[:size]]

    def __setitem__(self, i: int, k: Tensor) -> None:
        assert i == len(self._stages), "stages are evaluated in turn"
        self._whole.append(kept(k))
        self._stages.append(self._whole[-1] if self._size is None else self._whole[-1][: self._size])

    def __getitem__(self, i: int) -> Tensor:
        return self._whole[i]

    def state(self, i: int, y: Tensor, dt: Time) -> Tensor:
        """See Stages."""
        return y + _sum(self._tableau.a[i], self._stages, y, dt)

    def end(self, y: Tensor, dt: Time) -> Tensor:
        """See Stages."""
        return y + _sum(self._tableau.b, self._stages, y, dt)

    def error(self, dt: Time) -> Tensor:
        """See Stages."""
        return _sum(self._b_err, self._stages, self._stages[0], dt)

    def with_integrals(self, y1: Tensor, y0: Tensor, dt: Time) -> Tensor:
        """See RidingBuffer."""
        integral = y0[self._size :]
        return torch.cat([y1, integral + self._ridden(self._tableau.b, integral, dt)])

    def whole_error(self, dt: Time) -> Tensor:
        """See RidingBuffer."""
        return torch.cat([self.error(dt), self._ridden(self._b_err, self._stages[0], dt)])

    def from_second(self) -> list[Tensor]:
        """k_1, k_2, ..."""
        return self._whole[1:]

    @property
    def _b_err(self) -> tuple[float, ...]:
        assert self._tableau.b_err is not None, "only a method with an error estimate is asked for its error"
        return self._tableau.b_err

    def _ridden(self, weights: Sequence[float], y: Tensor, dt: Time) -> Tensor:
        """The weighted sum of the integrands, of the stages that have one."""
        return _sum(weights, [k[self._size :] for k in self._whole], y, dt)


def _sum(weights: Sequence[float], ks: Sequence[Tensor], y: Tensor, dt: Time) -> Tensor:
    """dt * sum_i weights[i] ks[i], dt in y's precision."""
    terms = [weight * k for weight, k in zip(weights, ks, strict=False) if weight]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return time_tensor(dt, y) * total


class StepKind(NamedTuple):
    """What one compiled step holds for, beside the shape of the state.

    `shape`: y's, where the state is [y, a, integral] of the adjoint. `integrands` says at which stages the integral's
    slope is wanted, `in_norm` whether it counts. All stages are kept for an interpolant, else the last one alone.
    """

    tableau: ButcherTableau
    norm: Norm | None
    packing: Packing
    all_stages: bool = False
    shape: torch.Size | None = None
    integrands: tuple[bool, ...] | None = None
    in_norm: bool = False


class TracedStep(NamedTuple):
    """The end of a step, its error ratio where there is a norm, its kept stages, and the leaves that f made use of."""

    y1: Tensor
    error_ratio: Tensor | None
    kept: list[Tensor]
    used: tuple[bool, ...]


class TracedSlope(NamedTuple):
    """f at one time, and the leaves that f made use of."""

    slope: Tensor
    used: tuple[bool, ...]


class Given(NamedTuple):
    """What every compiled function of a solve is called with: f(t, y, *args), and the leaves of an augmented system."""

    f: Callable[..., Any]
    args: tuple[Any, ...]
    leaves: tuple[Tensor, ...]

    def field(self, kind: StepKind) -> TracedField | TracedAugmentedField:
        """The field of the solve."""
        traced = TracedField(self.f, kind.packing, self.args)
        return traced if kind.shape is None else TracedAugmentedField(traced, self.leaves, kind.shape)


def take_step(
    kind: StepKind,
    given: Given,
    times: tuple[Tensor, Tensor, Tensor],
    y0: Tensor,
    k0: Tensor,
    tolerances: tuple[Tensor, Tensor] | None,
) -> TracedStep:
    """The step from y0, where the slope is k0, to be traced; see make_step."""
    tableau, norm, field = kind.tableau, kind.norm, given.field(kind)
    size = len(y0) - field.riding if field.riding else None
    stages = TracedStages(tableau, k0, size)
    y1 = rk_step(
        field,
        tableau,
        times,
        y0 if size is None else y0[:size],
        stages,
        with_last=kind.all_stages or norm is not None,
        integrands=kind.integrands,
    )
    if size is not None:
        y1 = stages.with_integrals(y1, y0, times[1])
    ratio = None
    if norm is not None and tolerances is not None:
        with torch.no_grad():
            error = stages.whole_error(times[1]) if kind.in_norm else stages.error(times[1])
            ratio = error_ratio(error, y0, y1, *tolerances, norm)
    kept = stages.from_second()
    return TracedStep(y1, ratio, kept if kind.all_stages else kept[-1:], used_of(field))


def used_of(field: TracedField | TracedAugmentedField) -> tuple[bool, ...]:
    """Of which leaves a field has made use."""
    return tuple(field.used) if isinstance(field, TracedAugmentedField) else ()


def make_step(kind: StepKind) -> Callable[..., TracedStep]:
    """(given, (t, dt, t1), y0, k0, (rtol, atol)) -> TracedStep.

    t and dt are 0-d and in float64, t1, where the last stages sit, 0-d as f takes its times. Without a norm there is no
    error ratio, and the stages are those that y1 needs.
    """

    def step(*inputs: Any) -> TracedStep:
        return take_step(kind, *inputs)

    return step


def make_slope(kind: StepKind, integrand: bool) -> Callable[..., TracedSlope]:
    """(given, t, y) -> TracedSlope: one evaluation, at the start of a step, t 0-d as f takes its times."""

    def slope(given: Given, t: Tensor, y: Tensor) -> TracedSlope:
        field = given.field(kind)
        (at_t,) = field.at_times([t], y, [integrand])
        return TracedSlope(kept(at_t(y)), used_of(field))

    return slope


def make_guess(kind: StepKind, order: int) -> Callable[..., Tensor]:
    """(given, interval, y0, f0, (rtol, atol)) -> what drive/first_step.py makes a first step of."""
    norm = kind.norm
    assert norm is not None, "a first step is guessed by its error"

    def guess(
        given: Given, interval: Interval, y0: Tensor, f0: Tensor, tolerances: tuple[Tensor, Tensor]
    ) -> Tensor:
        accuracy = Accuracy(*tolerances, norm)
        return guessed(given.field(kind), interval, y0, f0, order, accuracy)

    return guess
