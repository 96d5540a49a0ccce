"""Output times of a batch, each sample's own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nodebench.ode.clock import Times, make_clock, time_dtype

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SampleTimes:
    """Output times (B, T) on the host, each row increasing, or each decreasing, until it repeats its last to the end.

    `tensor`: the times as they were given, where gradients are to flow to them. `rounding`: see Clock.
    """

    ts: Floats
    tensor: Tensor | None = None
    rounding: float = 0.0

    @cached_property
    def direction(self) -> float:
        """1.0 forwards in time, -1.0 backwards."""
        return 1.0 if np.all(self.ts[:, -1] >= self.ts[:, 0]) else -1.0

    @cached_property
    def spans(self) -> Floats:
        """Length of each sample's interval, (B,)."""
        return np.abs(self.ts[:, -1] - self.ts[:, 0])

    @cached_property
    def finest(self) -> Floats:
        """A step that each sample's clock resolves wherever it is: ten spacings of float64 at its farthest time."""
        return np.maximum(10 * np.spacing(np.abs(self.ts).max(1)), 1e-20 * self.spans)

    def as_constants(self) -> SampleTimes:
        """The same times, to which no gradient flows."""
        return replace(self, tensor=None)

    def between(self, first: int, last: int) -> SampleTimes:
        """The constant times of two outputs, from `first` to `last`."""
        return SampleTimes(self.ts[:, [first, last]], None, self.rounding)

    def of_sample(self, sample: int) -> tuple[float, ...]:
        """The times of one sample."""
        return tuple(self.ts[sample].tolist())


def in_rows(ts: Times) -> Tensor | Sequence[float]:
    """Rows of times, one a sample, as a tensor (B, T); ValueError unless they are numbers, as many in each."""
    is_flat = isinstance(ts, Tensor) or not isinstance(ts, Iterable)
    if is_flat or not any(isinstance(t, (list, tuple)) or getattr(t, "ndim", 0) for t in ts):
        return cast(Tensor | Sequence[float], ts)
    rows: list[Any] = list(ts)
    try:
        is_stack = all(isinstance(row, Tensor) for row in rows)
        return torch.stack(rows) if is_stack else torch.from_numpy(np.array(rows, dtype=np.float64))
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(
            "`ts` has rows that are not as many numbers each; give a row of times for each sample "
            "(one that ends before the others repeats its last time)"
        ) from None


def sample_times(ts: Tensor | Sequence[float], y0: Tensor) -> SampleTimes:
    """Output times for the samples (rows) of y0: (T,) for all of them, or (B, T), a row for each.

    Raises TypeError and ValueError as `make_clock`, and ValueError for rows that are not one a sample, or that do not
    all go in one direction of time.
    """
    num_samples = len(y0)
    if not (isinstance(ts, Tensor) and ts.dim() == 2):
        clock = make_clock(ts, y0)
        return SampleTimes(np.tile(clock.ts, (num_samples, 1)), clock.tensor, clock.rounding)
    if len(ts) != num_samples:
        raise ValueError(
            f"`ts` has times for {len(ts)} samples and `y0` has {num_samples}; give a row for each"
        )
    if not ts.is_floating_point() or not ts.shape[1]:
        raise ValueError(f"`ts` is {ts.dtype} of shape {tuple(ts.shape)}; it must be floating-point, (B, T)")
    rows = ts.detach().to("cpu", torch.float64).numpy()
    _check_rows(rows)
    dtype, farthest = time_dtype(y0), float(np.abs(rows).max())
    if max(farthest, float(np.ptp(rows, axis=1).max())) > torch.finfo(dtype).max:
        raise ValueError(f"`ts` reaches to {farthest:g}, beyond the range of y0's {dtype}; scale time")
    wants_grad = ts.requires_grad and torch.is_grad_enabled()
    return SampleTimes(rows, ts if wants_grad else None, 4 * torch.finfo(ts.dtype).eps * farthest)


def _check_rows(rows: NDArray[Any]) -> None:
    """Raises ValueError unless each row is finite and goes in the direction that all have."""
    if not np.isfinite(rows).all():
        sample, k = np.argwhere(~np.isfinite(rows))[0]
        raise ValueError(f"`ts`[{sample}, {k}] is {rows[sample, k]}; times must be finite")
    ends = rows[:, -1] - rows[:, 0]
    if (ends > 0).any() and (ends < 0).any():
        forth, back = int(np.argmax(ends > 0)), int(np.argmax(ends < 0))
        raise ValueError(
            f"`ts` increases for sample {forth} and decreases for sample {back}; "
            "all samples of a solve go in one direction of time, so solve them in two"
        )
    gaps = np.diff(rows, axis=1) * (-1.0 if (ends < 0).any() else 1.0)
    later = np.cumsum(gaps[:, ::-1] != 0, axis=1)[:, ::-1] > 0  # whether a row still moves behind a gap
    wrong = np.argwhere((gaps < 0) | ((gaps == 0) & later))
    if len(wrong):
        sample, k = wrong[0]
        raise ValueError(
            f"`ts`[{sample}] is not strictly monotonic: {rows[sample, k]:g} is followed by {rows[sample, k + 1]:g}; "
            "sort the times (a row that ends before the others repeats its last time)"
        )
