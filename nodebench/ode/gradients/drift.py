"""Whether y, solved backwards for an adjoint, went astray: where a system contracts fast, errors grow backwards.

A y that does not come back to a stored output says so only if it left another one that was right: an output inside of a
step is interpolated, and may be off by more than the tolerance, which y then brings along. So where y comes back far
off, the interval is solved once more forwards, from the one output to the other. What the other one is off by shows
there, as nothing that contracts forwards makes it grow.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from nodebench.ode.norms import Accuracy, Tolerance
from nodebench.ode.status import AdjointDriftWarning

MAX_DRIFT = 1000.0  # tolerances; healthy solves come back to within 25 of what their outputs are off by


def coarser(forward: Accuracy, backward: Accuracy) -> Accuracy:
    """What a y that was solved both ways is measured by: the larger tolerances, in the norm of the forward solve."""
    return Accuracy(_larger(forward.rtol, backward.rtol), _larger(forward.atol, backward.atol), forward.norm)


def _larger(one: Tolerance, other: Tolerance) -> Tolerance:
    if isinstance(one, Tensor):
        return one.clamp(min=other)
    return other.clamp(min=one) if isinstance(other, Tensor) else max(one, other)


def suspect(drifts: Sequence[Tensor]) -> int | None:
    """Of the intervals, the one in which y drifted most, if that is too far; one wait for the device if it is not."""
    if not drifts:
        return None
    largest = torch.stack([drift.nan_to_num(nan=0.0).max() for drift in drifts])
    return int(largest.argmax()) if largest.max().item() > MAX_DRIFT else None


def has_drifted(drift: Tensor, off: Tensor | float = 1.0) -> bool:
    """Whether y came back too far off, in tolerances, for outputs that were `off`; one wait for the device."""
    allowed = off if isinstance(off, float) else off.clamp(min=1.0)
    return bool((drift > MAX_DRIFT * allowed).any())


def warn_of_drift(cure: str) -> None:
    """Say that y did not come back, and what to do about it."""
    # No numbers: Python shows a text that comes again, as in every step of a training, once.
    warnings.warn(
        "gradient=`adjoint` is far off here: y, solved backwards, did not come back to what it was at the "
        f"output times, by more than {MAX_DRIFT:g} tolerances, as what contracts fast (a stiff system) "
        f"expands backwards; use gradient=`checkpointed` or `direct`, or {cure}",
        AdjointDriftWarning,
        stacklevel=1,  # one place for all who differentiate
    )
