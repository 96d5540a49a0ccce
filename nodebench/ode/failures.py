"""The sentences of a failed solve: what happened, where, with which counts, and what to try."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nodebench.ode.budget import Budget
from nodebench.ode.clock import Clock
from nodebench.ode.counts import Counts
from nodebench.ode.norms import Accuracy
from nodebench.ode.status import ERROR_CLASSES, ConvergenceError, SolverError, Status


def is_finite(x: Tensor) -> bool:
    """Whether no entry is NaN or infinite; one wait for the device."""
    return bool(torch.isfinite(x).all())


class SolveFailure:
    """Makes the error of one solve; `last_ratio` is the error ratio of the latest step, if steps have one.

    `is_overflow`: the latest ratio that was not finite came of a finite field, so of too small a tolerance.
    """

    def __init__(
        self,
        clock: Clock,
        counts: Counts,
        accuracy: Accuracy | None,
        dtype: torch.dtype,
    ) -> None:
        self._clock = clock
        self._counts = counts
        self._rtol = None if accuracy is None else accuracy.rtol
        self._atol = None if accuracy is None else accuracy.atol
        self._dtype, self._eps = str(dtype).removeprefix("torch."), torch.finfo(dtype).eps
        self.last_ratio: float | None = None
        self.is_overflow = False
        self.stiff_remedy = "use method=`kvaerno5`"
        self.unsolved: ConvergenceError | None = None  # the latest step, if its equations were not solved

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
        if self.unsolved is not None:
            return self.unsolved
        if self.last_ratio is not None and not self.last_ratio < float("inf"):
            if self.is_overflow:
                return self.overflow(t, dt, y)
            return self.non_finite(t, dt, y, "the vector field is NaN or Inf however small the step")
        return self._error(
            Status.DT_UNDERFLOW,
            f"step size underflow at t={t:.6g}: dt={dt:.3g} with {self._tolerance()} in {self._dtype}"
            f"{self._resolution()}",
            f"loosen the tolerance, {self._more_digits()}or suspect a singularity or a stiff vector field",
        )

    def overflow(self, t: float, dt: float, y: Tensor) -> SolverError:
        """f is finite, but an error in units of the tolerance is not: the one is too large, or the other too small."""
        if not self._resolution():
            return self.non_finite(
                t, dt, y, f"the vector field is so large that the error overflows {self._dtype}"
            )
        return self._error(
            Status.DT_UNDERFLOW,
            f"no step at t={t:.6g} can meet {self._tolerance()}: an error in units of it overflows {self._dtype}"
            f"{self._resolution()}",
            f"{self._more_digits()}or loosen the tolerance"
            if self._more_digits()
            else "loosen the tolerance",
        )

    def not_solved(self, t: float, dt: float, y: Tensor, trouble: str) -> ConvergenceError:
        """The equations of an implicit step from y were not solved: on to a shorter step, where there is one."""
        largest = y.detach().abs().max().item()
        return ConvergenceError(
            f"implicit step from t={t:.6g} (dt={dt:.3g}) not solved: {trouble}; the largest |y| there is {largest:.3g} "
            f"({self._tally()}); take shorter steps, and check that the vector field is smooth there"
        )

    def if_spent(
        self, budget: Budget, cost: int, t: float, is_stiff: Callable[[], bool] | None = None
    ) -> SolverError | None:
        """The error of a budget that one more step, or `cost` more evaluations, would exceed.

        `is_stiff` tells whether stability limits the steps, where a loop can; it is asked once the budget is spent.
        """
        spent = budget.spent(self._counts, cost)
        if spent is None:
            return None
        return self.budget(spent.status, spent.what, t, is_stiff is not None and is_stiff())

    def budget(self, status: Status, budget: str, t: float, is_stiff: bool = False) -> SolverError:
        """max_steps or max_nfe is spent; `is_stiff`: by steps that stability limits."""
        remedy = "raise the budget or take longer steps"
        if is_stiff:
            self._counts.is_stiff = True
            what_limits = "steps are as long as an explicit method's stability allows, whatever the tolerance"
            remedy = f"{what_limits}: the system is stiff, so {self.stiff_remedy}"
        elif self._rtol is not None:
            remedy = "raise the budget or loosen the tolerance; a step count that keeps growing points to stiffness"
        what = f"{budget} reached at t={t:.6g}"
        if not self._clock.is_open:
            what += f" of {self._clock.ts[-1]:.6g}"
        if self._resolution():
            what += f" with {self._tolerance()} in {self._dtype}{self._resolution()}"
        return self._error(status, what, remedy)

    def _tolerance(self) -> str:
        return ", ".join(
            f"{name}={tolerance:g}" if isinstance(tolerance, float) else f"an {name} for each entry"
            for name, tolerance in (("rtol", self._rtol), ("atol", self._atol))
        )

    def _resolution(self) -> str:
        """A half-sentence for tolerances that ask for digits the dtype does not have."""
        tolerances = (self._rtol, self._atol)
        too_small = all(isinstance(tolerance, float) and tolerance < self._eps for tolerance in tolerances)
        return f", which resolves {self._eps:.1e} of |y|" if too_small else ""

    def _more_digits(self) -> str:
        return "" if self._dtype in ("float64", "complex128") else "use float64, "

    def _error(self, status: Status, what: str, remedy: str) -> SolverError:
        return ERROR_CLASSES[status](f"{what} ({self._tally()}); {remedy}")

    def _tally(self) -> str:
        counts = self._counts
        rejected = "" if counts.num_rejected is None else f"rejected {counts.num_rejected}, "
        ratio = "" if self.last_ratio is None else f", last error ratio {self.last_ratio:.3g}"
        unsolved = f"{counts.num_unsolved} of them unsolved, " if counts.num_unsolved else ""
        return f"accepted {counts.num_accepted}, {rejected}{unsolved}nfe {counts.nfe}{ratio}"
