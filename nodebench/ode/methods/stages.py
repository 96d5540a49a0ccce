"""Where an explicit Runge-Kutta step keeps its stages, and how it sums them.

Shapes: y, y1, k_i are of the state's shape; a step of a method with s stages has k_0, ..., k_(s-1), without dt.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Protocol

import torch
from torch import Tensor

from nodebench.ode.field import Time, kept
from nodebench.ode.methods.tableau import ButcherTableau


@lru_cache(maxsize=64)
def _rows_as_tensors(
    tableau: ButcherTableau, dtype: torch.dtype, device: torch.device
) -> tuple[tuple[Tensor, ...], Tensor, Tensor | None]:
    """a, b and b_err, made once for a dtype and device: no copy to the device happens inside a solve."""

    def row(values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=dtype, device=device)

    b_err = None if tableau.b_err is None else row(tableau.b_err)
    return tuple(row(values) for values in tableau.a), row(tableau.b), b_err


FEW = 1 << 18  # numbers, of which making some more at once costs less than an operation


class Stages(Protocol):
    """Where a step of a tableau keeps its stages, and how it sums them."""

    def __setitem__(self, i: int, k: Tensor) -> None: ...

    def __getitem__(self, i: int) -> Tensor: ...

    def state(self, i: int, y: Tensor, dt: Time) -> Tensor:
        """y + dt * sum_j a[i][j] k_j, where stage i evaluates f: a new tensor."""
        ...

    def end(self, y: Tensor, dt: Time) -> Tensor:
        """y + dt * sum_j b[j] k_j, a new tensor."""
        ...

    def error(self, dt: Time) -> Tensor:
        """dt * sum_j b_err[j] k_j, a new tensor outside of any graph."""
        ...


class _Leading(dict[int, Tensor]):
    """The first so many columns of a matrix (n, s) of contiguous columns; each view is made at its first use."""

    def __init__(self, columns: Tensor) -> None:
        self._columns = columns

    def __missing__(self, count: int) -> Tensor:
        view = self[count] = self._columns[:, :count]
        return view


class StageBuffer:
    """Stages in one contiguous (s, n) buffer, reused by every step of a solve. Without autograd.

    A sum over stages is one matrix-vector product, so the state passes through memory once a stage. In an autocast
    region, which is f's affair, it stays in the state's precision: a GPU would take such products in half.
    """

    def __init__(self, tableau: ButcherTableau, y: Tensor, stages: Tensor | None = None) -> None:
        self._a, self._b, self._b_err = _rows_as_tensors(tableau, y.dtype, y.device)
        if stages is None:
            stages = torch.empty((tableau.num_stages, *y.shape), dtype=y.dtype, device=y.device)
        # The views that steps use are made once, as each costs as much as a small sum.
        self._rows = stages.unbind()
        self._leading = _Leading(stages.view(len(self._rows), -1).t())
        self._is_flat = y.dim() == 1
        self._device_type = y.device.type
        self._is_autocast = torch.is_autocast_enabled(self._device_type)  # for a whole solve, or not
        self._start: Tensor | None = None  # where the step starts, and the same as a vector
        self._flat = y

    def __setitem__(self, i: int, k: Tensor) -> None:
        self._rows[i].copy_(k)

    def __getitem__(self, i: int) -> Tensor:
        return self._rows[i]

    def state(self, i: int, y: Tensor, dt: Time) -> Tensor:
        return self._add(y, dt, self._a[i], i)

    def end(self, y: Tensor, dt: Time) -> Tensor:
        return self._add(y, dt, self._b, len(self._rows))

    def _add(self, y: Tensor, dt: Time, weights: Tensor, count: int) -> Tensor:
        if self._is_autocast and torch.is_autocast_enabled(self._device_type):
            with torch.autocast(self._device_type, enabled=False):
                return self._add(y, dt, weights, count)
        if self._is_flat:
            return torch.addmv(y, self._leading[count], weights, alpha=float(dt))
        if y is not self._start:
            self._start, self._flat = y, y.reshape(-1)
        return torch.addmv(self._flat, self._leading[count], weights, alpha=float(dt)).view_as(y)

    def error(self, dt: Time) -> Tensor:
        assert self._b_err is not None, "only a method with an error estimate is asked for its error"
        if self._is_autocast and torch.is_autocast_enabled(self._device_type):
            with torch.autocast(self._device_type, enabled=False):
                return self.error(dt)
        total = torch.mv(self._leading[len(self._rows)], self._b_err).mul_(float(dt))
        return total if self._is_flat else total.view_as(self._rows[0])


class RidingBuffer:
    """Stages of a flat state whose last `riding` entries are integrals: those are summed at the end of a step alone.

    A slope that leaves the integrands out counts as 0 there: where they have no weight.
    """

    def __init__(self, tableau: ButcherTableau, y: Tensor, riding: int) -> None:
        self._size = size = len(y) - riding
        stages = y.new_zeros(tableau.num_stages, len(y))  # a stage may be left out, and 0 * NaN is NaN
        self._whole = StageBuffer(tableau, y, stages)
        self._lead = StageBuffer(tableau, y[:size], stages[:, :size])
        self._tail = StageBuffer(tableau, y[size:], stages[:, size:])

    def __setitem__(self, i: int, k: Tensor) -> None:
        (self._whole if k.numel() > self._size else self._lead)[i] = k

    def __getitem__(self, i: int) -> Tensor:
        return self._whole[i]

    def state(self, i: int, y: Tensor, dt: Time) -> Tensor:
        return self._lead.state(i, y, dt)

    def end(self, y: Tensor, dt: Time) -> Tensor:
        return self._lead.end(y, dt)

    def error(self, dt: Time) -> Tensor:
        return self._lead.error(dt)

    def with_integrals(self, y1: Tensor, y0: Tensor, dt: Time) -> Tensor:
        """The end of a step from y0, of which y1 are the entries that f reads."""
        return torch.cat([y1, self._tail.end(y0[self._size :], dt)])

    def whole_error(self, dt: Time) -> Tensor:
        """The error of a step, the integrals' too."""
        return self._whole.error(dt)


def weighted_sum(y: Tensor, terms: Sequence[tuple[float, Tensor]]) -> Tensor:
    """y + the sum of weight * k over the terms (weight, k), a new tensor that autograd can follow.

    Autograd keeps the weights of such sums and none of their tensors.
    """
    if not terms:
        return y.clone()
    (weight, k), *rest = terms
    total = torch.add(y, k, alpha=weight)
    for weight, k in rest:
        total.add_(k, alpha=weight)
    return total


class _CombineMany(torch.autograd.Function):
    """Row i: y + sum_j weights[i, j] k_j with constant weights (m, s); keeps nothing else for its backward.

    A product with one stage at a time, as a matrix product of all would be taken in less than y's precision where the
    user has allowed it for the products of nets.
    """

    @staticmethod
    def forward(ctx: Any, y: Tensor, weights: Tensor, *ks: Tensor) -> Tensor:
        ctx.weights = weights
        total = y.expand(len(weights), *y.shape).clone(memory_format=torch.contiguous_format)
        for column, k in zip(_columns(weights, y.dim()), ks, strict=True):
            total.addcmul_(column, k)
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grad_outputs
        columns, wanted = _columns(ctx.weights, grad.dim() - 1), ctx.needs_input_grad[2:]
        grads: Iterable[Tensor | None]
        if all(wanted) and len(wanted) * grad.numel() <= FEW and not grad.is_complex():
            # To the last bit the same, which sums of single complex numbers would not be.
            grads = (grad * torch.stack(columns)).sum(1).unbind()
        else:
            grads = ((grad * c).sum(0) if wants else None for c, wants in zip(columns, wanted, strict=True))
        return grad.sum(0) if ctx.needs_input_grad[0] else None, None, *grads


def _columns(weights: Tensor, num_dims: int) -> list[Tensor]:
    """The columns of (m, s) weights, each of shape (m, 1, ..., 1) beside a state of so many dimensions."""
    return [column.view(-1, *[1] * num_dims) for column in weights.unbind(1)]


def weighted_sums(y: Tensor, weights: Tensor, ks: Sequence[Tensor]) -> Tensor:
    """`weighted_sum` for every row of weights (m, s), float64 on the CPU: (m, *y.shape)."""
    weights = weights.to(y.dtype).to(y.device, non_blocking=True)  # in this order, as mps has no float64
    result: Tensor = _CombineMany.apply(y, weights, *ks)
    return result


class StageList:
    """Stages as separate tensors that autograd can follow; copies of those it does not.

    A field may hand out the same memory at every call, as long as autograd need not remember it.
    """

    def __init__(self, tableau: ButcherTableau, rounds_once: bool = False) -> None:
        self._tableau, self._rounds_once = tableau, rounds_once
        self._stages: list[Tensor] = []

    def __setitem__(self, i: int, k: Tensor) -> None:
        assert i == len(self._stages), "stages are evaluated in turn"
        self._stages.append(kept(k))

    def __getitem__(self, i: int) -> Tensor:
        return self._stages[i]

    def state(self, i: int, y: Tensor, dt: Time) -> Tensor:
        return self._add(y, dt, self._tableau.a[i])

    def end(self, y: Tensor, dt: Time) -> Tensor:
        return self._add(y, dt, self._tableau.b)

    def _add(self, y: Tensor, dt: Time, weights: Sequence[float]) -> Tensor:
        used = [(w, k) for w, k in zip(weights, self._stages, strict=True) if w]
        if isinstance(dt, Tensor):  # only where an output time requires grad
            return y + dt * sum(w * k for w, k in used)
        if self._rounds_once and used:
            (w, k), *rest = used
            return y + weighted_sum(dt * w * k, [(dt * w, k) for w, k in rest])
        return weighted_sum(y, [(dt * w, k) for w, k in used])

    @torch.no_grad()
    def error(self, dt: Time) -> Tensor:
        assert self._tableau.b_err is not None, "only a method with an error estimate is asked for its error"
        (weight, k), *rest = [
            (float(dt) * w, k) for w, k in zip(self._tableau.b_err, self._stages, strict=True) if w
        ]
        total = k * weight
        for weight, k in rest:
            total.add_(k, alpha=weight)
        return total
