"""The grids of fixed-step methods: the output times themselves, equal steps, or the user's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from nodebench.ode.clock import Clock
from nodebench.ode.compat.options import positive

Grid = Callable[[Clock], Sequence[float]]


def make_grid(options: Mapping[str, Any], func: Any, y0: Any, t: Tensor) -> Grid:
    """The grid that `options` lays over output times; y0 and t are what a grid_constructor gets beside func.

    Raises ValueError for both of `step_size` and `grid_constructor`.
    """
    constructor, step_size = options.get("grid_constructor"), positive(options, "step_size")
    if constructor is not None and step_size is not None:
        raise ValueError("`step_size` and `grid_constructor` both say where the steps are; pass one of them")
    if constructor is not None:
        return lambda clock: _of_user(
            constructor, func, y0, torch.tensor(clock.ts, dtype=t.dtype, device=t.device)
        )
    if step_size is not None:
        return lambda clock: _equal_steps(clock, t.dtype, step_size)
    return lambda clock: clock.ts


def _equal_steps(clock: Clock, dtype: torch.dtype, step_size: float) -> list[float]:
    """Steps of `step_size` from the first time on, the last one shorter; outputs between them are interpolated.

    A grid point that is an output but for rounding is that output, so nothing is interpolated there.
    """
    start, end = torch.tensor([clock.ts[0], clock.ts[-1]], dtype=dtype)
    # In the dtype of the times, as there: whether a sliver is left at the end is a matter of rounding.
    num_points = int(torch.ceil((end - start).abs() / step_size + 1))
    steps = torch.arange(1, num_points - 1, dtype=dtype) * step_size
    inner = start + steps.copysign(end - start)
    ahead = (end - inner) * (end - start) > 0
    return _meet_outputs(clock, [start.item(), *inner[ahead].tolist(), end.item()], clock.slack(step_size))


def _meet_outputs(clock: Clock, grid: Sequence[float], slack: float) -> list[float]:
    """The grid with every point that lies no farther than `slack` from an output moved onto it."""
    ts, nearest, met = clock.ts, 0, list[float]()
    for t in grid:
        while nearest + 1 < len(ts) and abs(ts[nearest + 1] - t) <= abs(ts[nearest] - t):
            nearest += 1
        point = ts[nearest] if abs(ts[nearest] - t) <= slack else t
        if not met or point != met[-1]:
            met.append(point)
    return met


def _of_user(constructor: Callable[..., Any], func: Any, y0: Any, ts: Tensor) -> list[float]:
    grid = constructor(func, y0, ts).tolist()
    direction = 1.0 if ts[-1] > ts[0] else -1.0
    if grid[:1] != [ts[0].item()] or grid[-1] != ts[-1].item():
        raise ValueError(
            f"`grid_constructor` returned a grid from {grid[0] if grid else None} to {grid[-1] if grid else None}; "
            f"it must begin at t[0]={ts[0].item()} and end at t[-1]={ts[-1].item()}"
        )
    stuck = [t for t, t1 in pairwise(grid) if not (t1 - t) * direction > 0]
    if stuck:
        raise ValueError(
            f"`grid_constructor` returned a grid that does not advance at t={stuck[0]}; "
            "it must be strictly monotonic from t[0] to t[-1]"
        )
    return grid
