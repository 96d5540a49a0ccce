"""The sentences of a failed solve: what happened, where, with which counts, and what to try."""

from __future__ import annotations

import torch
from torch import Tensor

from nodebench.ode.clock import Clock
from nodebench.ode.counting import Counts
from nodebench.ode.norms import Tolerance
from nodebench.ode.status import ERROR_CLASSES, SolverError, Status


class SolveFailure:
    """Makes the error of one solve; `last_ratio` is the error ratio of the latest step, if steps have one."""

    def __init__(self, clock: Clock, counts: Counts, rtol: Tolerance | None, dtype: torch.dtype) -> None:
        self._clock = clock
        self._counts = counts
        self._rtol = rtol
        self._dtype = str(dtype).removeprefix("torch.")
        self.last_ratio: float | None = None

    def non_finite(self, t: float, dt: float, y: Tensor, what: str) -> SolverError:
        """f, or the state itself, is NaN or infinite."""
        finite = y.detach()[torch.isfinite(y.detach())]
        size = f"{finite.abs().max().item():.3g}" if finite.numel() else "not finite"
        return self._error(
            Status.NON_FINITE,
            f"non-finite solve at t={t:.6g} (dt={dt:.3g}): {what}; the largest |y| there is {size}",
            "check the vector field at that state, or bound it (normalise, clip, a smaller learning rate)",
        )

    def underflow(self, t: float, dt: float, y: Tensor) -> SolverError:
        """The step is too small for the clock and the error still too large, or f never finite ahead of t."""
        if self.last_ratio is not None and not self.last_ratio < float("inf"):
            return self.non_finite(t, dt, y, "the vector field is NaN or Inf however small the step")
        tolerance = (
            "" if self._rtol is None or isinstance(self._rtol, Tensor) else f" with rtol={self._rtol:g}"
        )
        more_digits = "" if self._dtype in ("float64", "complex128") else "use float64, "
        return self._error(
            Status.DT_UNDERFLOW,
            f"step size underflow at t={t:.6g}: dt={dt:.3g}{tolerance} in {self._dtype}",
            f"loosen the tolerance, {more_digits}or suspect a singularity or a stiff vector field",
        )

    def budget(self, status: Status, budget: str, t: float) -> SolverError:
        """max_steps or max_nfe is spent."""
        remedy = "raise the budget or take longer steps"
        if self._rtol is not None:
            remedy = "raise the budget or loosen the tolerance; a step count that keeps growing points to stiffness"
        return self._error(status, f"{budget} reached at t={t:.6g} of {self._clock.ts[-1]:.6g}", remedy)

    def _error(self, status: Status, what: str, remedy: str) -> SolverError:
        counts = self._counts
        rejected = "" if counts.num_rejected is None else f"rejected {counts.num_rejected}, "
        ratio = "" if self.last_ratio is None else f", last error ratio {self.last_ratio:.3g}"
        tally = f"accepted {counts.num_accepted}, {rejected}nfe {counts.nfe}{ratio}"
        return ERROR_CLASSES[status](f"{what} ({tally}); {remedy}")
