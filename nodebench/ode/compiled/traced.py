"""A step as one pure function of tensors, time and step size among them: what torch.compile is given.

The step is the one of step.py; only the field, which counts nothing here, and the stages are others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from nodebench.ode.counting import Time, checked, stage_fields_of, time_tensor
from nodebench.ode.norms import Norm, error_ratio
from nodebench.ode.packing import Packing
from nodebench.ode.step import rk_step
from nodebench.ode.tableau import ButcherTableau


class TracedField:
    """f(t, y, *args) behind `StageFields`: CountedField without its counts, which are made outside of a step."""

    def __init__(self, f: Callable[..., Any], packing: Packing, args: tuple[Any, ...]) -> None:
        self._f, self._args = packing.wrap(f), args

    def at_times(self, ts: Sequence[Time], y: Tensor) -> list[Callable[[Tensor], Tensor]]:
        """See StageFields."""
        times = [time_tensor(t, y) for t in ts]
        at_times = getattr(self._f, "at_times", None)
        if at_times is None or not times:
            return [partial(self._call, partial(self._f, time)) for time in times]
        return [partial(self._call, stage_field) for stage_field in stage_fields_of(at_times, times)]

    def _call(self, stage_field: Callable[..., Any], y: Tensor) -> Tensor:
        return checked(stage_field(y, *self._args), y)


class TracedStages:
    """Stages as separate tensors and their sums as expressions, which a compiler is free to fuse.

    As in StageList, what a field hands out is copied where autograd need not remember it: the next stage may reuse it.
    """

    def __init__(self, tableau: ButcherTableau, k0: Tensor) -> None:
        self._tableau = tableau
        self._stages = [k0]

    def __setitem__(self, i: int, k: Tensor) -> None:
        assert i == len(self._stages), "stages are evaluated in turn"
        self._stages.append(k if k.requires_grad else k.clone())

    def __getitem__(self, i: int) -> Tensor:
        return self._stages[i]

    def state(self, i: int, y: Tensor, dt: Time) -> Tensor:
        """See Stages."""
        return y + self._sum(self._tableau.a[i], y, dt)

    def end(self, y: Tensor, dt: Time) -> Tensor:
        """See Stages."""
        return y + self._sum(self._tableau.b, y, dt)

    def error(self, dt: Time) -> Tensor:
        """See Stages."""
        assert self._tableau.b_err is not None, "only a method with an error estimate is asked for its error"
        return self._sum(self._tableau.b_err, self._stages[0], dt)

    def from_second(self) -> list[Tensor]:
        """k_1, k_2, ..."""
        return self._stages[1:]

    def _sum(self, weights: Sequence[float], y: Tensor, dt: Time) -> Tensor:
        terms = [weight * k for weight, k in zip(weights, self._stages, strict=False) if weight]
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        return time_tensor(dt, y) * total


def make_step(
    tableau: ButcherTableau, norm: Norm | None, packing: Packing, all_stages: bool
) -> Callable[..., tuple[Tensor, Tensor | None, list[Tensor]]]:
    """(f, args, t, dt, t1, y0, k0, rtol, atol) -> (y1, error ratio, stages).

    t and dt are 0-d and in float64, t1, where the last stages sit, 0-d as f takes its times. `stages` are k_1, k_2,
    ... with `all_stages`, else the last one alone. Without a norm there is no error ratio, and the stages are those
    that y1 needs.
    """

    def step(
        f: Callable[..., Any],
        args: tuple[Any, ...],
        t: Tensor,
        dt: Tensor,
        t1: Tensor,
        y0: Tensor,
        k0: Tensor,
        rtol: Tensor | None,
        atol: Tensor | None,
    ) -> tuple[Tensor, Tensor | None, list[Tensor]]:
        stages = TracedStages(tableau, k0)
        with_last = all_stages or norm is not None
        field = TracedField(f, packing, args)
        y1 = rk_step(field, tableau, t, dt, y0, stages, with_error=with_last, last_time=t1)
        ratio = None
        if norm is not None and rtol is not None and atol is not None:
            with torch.no_grad():
                ratio = error_ratio(stages.error(dt), y0, y1, rtol, atol, norm)
        kept = stages.from_second()
        return y1, ratio, kept if all_stages else kept[-1:]

    return step
