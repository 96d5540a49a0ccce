"""What nodebench.ode offers: what `from nodebench.ode import ...` finds."""

from nodebench.ode.compiled import CompileWarning, hush_compiler, missing_compiler
from nodebench.ode.counting import Counts, SolveStats
from nodebench.ode.front_door import odeint
from nodebench.ode.methods import list_methods
from nodebench.ode.solution import Solution
from nodebench.ode.status import (
    BudgetExhaustedError,
    ConvergenceWarning,
    NonFiniteError,
    SolverError,
    Status,
    StepUnderflowError,
)
from nodebench.ode.tableau import ButcherTableau

__all__ = [
    "BudgetExhaustedError",
    "ButcherTableau",
    "CompileWarning",
    "ConvergenceWarning",
    "Counts",
    "NonFiniteError",
    "Solution",
    "SolveStats",
    "SolverError",
    "Status",
    "StepUnderflowError",
    "hush_compiler",
    "list_methods",
    "missing_compiler",
    "odeint",
]
