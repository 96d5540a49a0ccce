"""How a solve can end, and the error each failure raises. No numerics here.

SolverError
+-- NonFiniteError        the vector field or the state became NaN or infinite
+-- StepUnderflowError    the error stayed too large at the smallest step the clock resolves
+-- BudgetExhaustedError  max_steps or max_nfe was reached
"""

from __future__ import annotations

from enum import Enum


class Status(Enum):
    """Outcome of a solve; everything but SUCCESS is raised as an error unless a value was asked for."""

    SUCCESS = "success"
    MAX_STEPS = "max_steps"
    MAX_NFE = "max_nfe"
    DT_UNDERFLOW = "dt_underflow"
    NON_FINITE = "non_finite"


class SolverError(RuntimeError):
    """A solve that ended before its last output time; `status` says how."""

    def __init__(self, message: str, status: Status) -> None:
        super().__init__(message)
        self.status = status

    def __reduce__(self) -> tuple[type[SolverError], tuple[str, Status]]:
        """Errors cross processes as pickles, which would call the class with the message alone."""
        return type(self), (str(self), self.status)


class NonFiniteError(SolverError):
    """The vector field or the state became NaN or infinite."""


class StepUnderflowError(SolverError):
    """The step size fell below the resolution of the clock without meeting the tolerance."""


class BudgetExhaustedError(SolverError):
    """`max_steps` or `max_nfe` was reached before the last output time."""


ERROR_CLASSES: dict[Status, type[SolverError]] = {
    Status.MAX_STEPS: BudgetExhaustedError,
    Status.MAX_NFE: BudgetExhaustedError,
    Status.DT_UNDERFLOW: StepUnderflowError,
    Status.NON_FINITE: NonFiniteError,
}
