"""How a solve can end, and the error each failure raises. No numerics here.

SolverError
+-- NonFiniteError        the vector field or the state became NaN or infinite
+-- StepUnderflowError    the error stayed too large at the smallest step the clock resolves
+-- ConvergenceError      the equations of an implicit step could not be solved
+-- BudgetExhaustedError
    +-- StepBudgetError        max_steps was reached
    +-- EvaluationBudgetError  max_nfe was reached
"""

from __future__ import annotations

from enum import Enum


class Status(Enum):
    """Outcome of a solve: it came to its end, an event ended it, or it failed.

    A failure is raised as an error unless a value was asked for.
    """

    SUCCESS = "success"
    EVENT = "event"
    MAX_STEPS = "max_steps"
    MAX_NFE = "max_nfe"
    DT_UNDERFLOW = "dt_underflow"
    NON_FINITE = "non_finite"
    UNSOLVED = "unsolved"


class SolverError(RuntimeError):
    """A solve that ended before its last output time; `status` says how.

    A class a status: an error that crosses processes may be made anew there from its message alone.
    """

    status: Status


class NonFiniteError(SolverError):
    """The vector field or the state became NaN or infinite."""

    status = Status.NON_FINITE


class StepUnderflowError(SolverError):
    """The step size fell below the resolution of the clock without meeting the tolerance."""

    status = Status.DT_UNDERFLOW


class ConvergenceError(SolverError):
    """The equations of an implicit step could not be solved."""

    status = Status.UNSOLVED


class BudgetExhaustedError(SolverError):
    """`max_steps` (StepBudgetError) or `max_nfe` (EvaluationBudgetError) was reached before the last output time."""


class StepBudgetError(BudgetExhaustedError):
    """`max_steps` was reached before the last output time."""

    status = Status.MAX_STEPS


class EvaluationBudgetError(BudgetExhaustedError):
    """`max_nfe` was reached before the last output time."""

    status = Status.MAX_NFE


class ConvergenceWarning(UserWarning):
    """Steps of an implicit method were taken whose equations were not solved to the tolerance."""


class AdjointDriftWarning(UserWarning):
    """A state solved backwards for the adjoint did not come back to what it had been, so the gradient is wrong."""


ERROR_CLASSES: dict[Status, type[SolverError]] = {
    error.status: error
    for error in (
        NonFiniteError,
        StepUnderflowError,
        ConvergenceError,
        StepBudgetError,
        EvaluationBudgetError,
    )
}
