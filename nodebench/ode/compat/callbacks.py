"""The functions a vector field may offer to be told of the steps: callback_step, _accept_step and _reject_step."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nodebench.ode.clock import StepRecord
from nodebench.ode.compat.options import ADAPTIVE, SCIPY
from nodebench.ode.seams import Observer
from nodebench.ode.step import StageBuffer, StageList

Callback = Callable[[Tensor, Any, Tensor], Any]
_NAMES = ("callback_step", "callback_accept_step", "callback_reject_step")


class Callbacks:
    """Observer that calls each of the three, where given, as callback(t0, y0, dt).

    t0 and dt are 0-d float64 tensors on the CPU, wherever the state lives; dt is positive in both directions of time.
    """

    def __init__(self, found: dict[str, Callback], view: Callable[[Tensor], Any]) -> None:
        self._step, self._accept, self._reject = (found.get(name) for name in _NAMES)
        self._view = view

    def on_step(self, t: float, dt: float, y0: Tensor) -> None:
        """See seams.Observer."""
        self._call(self._step, t, dt, y0)

    def on_accept(
        self, record: StepRecord, y0: Tensor, y1: Tensor, stages: StageBuffer | StageList, f1: Tensor | None
    ) -> None:
        """See seams.Observer."""
        self._call(self._accept, record.t, record.dt, y0)

    def on_reject(self, t: float, dt: float, y0: Tensor) -> None:
        """See seams.Observer."""
        self._call(self._reject, t, dt, y0)

    def _call(self, callback: Callback | None, t: float, dt: float, y0: Tensor) -> None:
        if callback is not None:
            times = torch.tensor([t, abs(dt)], dtype=torch.float64)
            callback(times[0], self._view(y0), times[1])


def find_callbacks(
    func: Any, method: str, view: Callable[[Tensor], Any], suffix: str = ""
) -> tuple[Observer, ...]:
    """The observer of func's callbacks, if it has any; those that the method never calls get a warning, as there.

    Fixed steps are neither accepted nor rejected, and SciPy tells nothing. `view` makes of a packed state what the
    callbacks are to see.
    """
    found = {name: getattr(func, name + suffix) for name in _NAMES if hasattr(func, name + suffix)}
    supported = _NAMES if method in ADAPTIVE else () if method in SCIPY else _NAMES[:1]
    silent = sorted(name + suffix for name in found if name not in supported)
    if silent:
        warnings.warn(f"method `{method}` never calls {', '.join(silent)}", stacklevel=3)
    heard = {name: callback for name, callback in found.items() if name in supported}
    return (Callbacks(heard, view),) if heard else ()
