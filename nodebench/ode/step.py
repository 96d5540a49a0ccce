"""One explicit Runge-Kutta step: no tolerance, no loop, no state.

Shapes: y, y1, k_i are of the state's shape; a step of a method with s stages has k_0, ..., k_(s-1), without dt.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from nodebench.ode.counting import Field, Time
from nodebench.ode.tableau import ButcherTableau


class Weights(NamedTuple):
    """One row of a tableau: as floats for autograd, as a tensor of the state's dtype for the buffer."""

    floats: tuple[float, ...]
    tensor: Tensor


class TableauWeights(NamedTuple):
    """A tableau's rows ready for use with states of one dtype and device."""

    a: tuple[Weights, ...]
    b: Weights
    b_err: Weights | None


@lru_cache(maxsize=64)
def tableau_weights(tableau: ButcherTableau, dtype: torch.dtype, device: torch.device) -> TableauWeights:
    """The tableau's rows as tensors, made once: no copy to the device happens inside a solve."""

    def row(values: Sequence[float]) -> Weights:
        return Weights(tuple(values), torch.tensor(values, dtype=dtype, device=device))

    return TableauWeights(
        a=tuple(row(values) for values in tableau.a),
        b=row(tableau.b),
        b_err=None if tableau.b_err is None else row(tableau.b_err),
    )


class Stages(Protocol):
    """Where a step keeps its stages, and how it sums them."""

    def __setitem__(self, i: int, k: Tensor) -> None: ...

    def __getitem__(self, i: int) -> Tensor: ...

    def combine(self, y: Tensor, dt: Time, weights: Weights) -> Tensor:
        """y + dt * sum_j weights[j] k_j, a new tensor."""
        ...

    def increment(self, dt: Time, weights: Weights) -> Tensor:
        """dt * sum_j weights[j] k_j, a new tensor outside of any graph."""
        ...


class StageBuffer:
    """Stages in one contiguous (s, n) buffer, reused by every step of a solve. Without autograd.

    A sum over stages is one matrix-vector product, so the state passes through memory once a stage.
    """

    def __init__(self, num_stages: int, y: Tensor) -> None:
        self._hold(torch.empty((num_stages, *y.shape), dtype=y.dtype, device=y.device))

    def _hold(self, stages: Tensor) -> None:
        """Keep `stages` and the views of it that steps use: made once, as each costs as much as a small sum."""
        self._stages = stages
        self._rows = [stages[i] for i in range(len(stages))]
        columns = stages.view(len(stages), -1).t()  # (n, s): each column contiguous
        self._leading = [columns[:, :count] for count in range(len(stages) + 1)]

    def __setitem__(self, i: int, k: Tensor) -> None:
        self._rows[i].copy_(k)

    def __getitem__(self, i: int) -> Tensor:
        return self._rows[i]

    def combine(self, y: Tensor, dt: Time, weights: Weights) -> Tensor:
        columns = self._leading[len(weights.floats)]
        if y.dim() == 1:
            return torch.addmv(y, columns, weights.tensor, alpha=float(dt))
        return torch.addmv(y.reshape(-1), columns, weights.tensor, alpha=float(dt)).view(y.shape)

    def increment(self, dt: Time, weights: Weights) -> Tensor:
        columns = self._leading[len(weights.floats)]
        return torch.mv(columns, weights.tensor).mul_(float(dt)).view(self._stages.shape[1:])

    def copy(self) -> StageBuffer:
        """The stages as they are now, for an interpolant that outlives its step."""
        twin = StageBuffer.__new__(StageBuffer)
        twin._hold(self._stages.clone())
        return twin


class _Combine(torch.autograd.Function):
    """y + sum_j coefficients[j] k_j with constant coefficients: keeps nothing for its backward."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, coefficients: tuple[float, ...], *ks: Tensor) -> Tensor:
        ctx.coefficients = coefficients
        total = y.clone()
        for coefficient, k in zip(coefficients, ks, strict=True):
            if coefficient:
                total.add_(k, alpha=coefficient)
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grad_outputs
        wanted = ctx.needs_input_grad[2:]
        grads = (grad * c if c and wants else None for c, wants in zip(ctx.coefficients, wanted, strict=True))
        return grad, None, *grads


def weighted_sum(y: Tensor, terms: Sequence[tuple[float, Tensor]]) -> Tensor:
    """y + the sum of weight * k over the terms (weight, k), a new tensor that autograd can follow."""
    return _Combine.apply(y, tuple(weight for weight, _ in terms), *(k for _, k in terms))


class StageList:
    """Stages as separate tensors that autograd can follow; copies of those it does not.

    A field may hand out the same memory at every call, as long as autograd need not remember it.
    """

    def __init__(self, num_stages: int) -> None:
        self._stages: list[Tensor | None] = [None] * num_stages

    def __setitem__(self, i: int, k: Tensor) -> None:
        self._stages[i] = k if k.requires_grad else k.clone()

    def __getitem__(self, i: int) -> Tensor:
        stage = self._stages[i]
        assert stage is not None, f"stage {i} was not evaluated"
        return stage

    def combine(self, y: Tensor, dt: Time, weights: Weights) -> Tensor:
        if isinstance(dt, Tensor):  # only where an output time requires grad
            return y + dt * sum(w * self[j] for j, w in enumerate(weights.floats) if w)
        return weighted_sum(y, [(dt * w, self[j]) for j, w in enumerate(weights.floats) if w])

    @torch.no_grad()
    def increment(self, dt: Time, weights: Weights) -> Tensor:
        used = [(float(dt) * w, self[j]) for j, w in enumerate(weights.floats) if w]
        total = used[0][1] * used[0][0]
        for weight, k in used[1:]:
            total.add_(k, alpha=weight)
        return total

    def copy(self) -> StageList:
        """The same stages in a list of their own."""
        twin = StageList(len(self._stages))
        twin._stages = list(self._stages)
        return twin


def rk_step(
    f: Field,
    tableau: ButcherTableau,
    t: Time,
    dt: Time,
    y0: Tensor,
    stages: Stages,
    *,
    with_error: bool,
    last_time: Time | None = None,
) -> Tensor:
    """y1 = y0 + dt * sum_i b_i k_i, given k_0 = f(t, y0) in stages[0]; fills stages 1, 2, ...

    Without an error estimate the last stage of a FSAL method is not evaluated (its weight is 0). `last_time`
    replaces t + dt where a stage sits at the end of the step: t + dt may round to a time beyond it.
    """
    weights = tableau_weights(tableau, y0.dtype, y0.device)
    num_stages = tableau.num_stages - (1 if tableau.is_fsal and not with_error else 0)
    times: list[Time] = [t + c * dt for c in tableau.c[1:num_stages]]
    if last_time is not None:
        times = [last_time if c == 1.0 else time for c, time in zip(tableau.c[1:], times, strict=False)]
    y_stage = y0
    for i, stage_field in enumerate(f.at_times(times, y0), start=1):
        y_stage = stages.combine(y0, dt, weights.a[i])
        stages[i] = stage_field(y_stage)
    if tableau.is_fsal and with_error:
        return y_stage  # the last row of a is b
    return stages.combine(y0, dt, weights.b if num_stages == tableau.num_stages else weights.a[-1])
