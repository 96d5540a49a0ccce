"""What nodebench.ode offers: what `from nodebench.ode import ...` finds."""

from nodebench.ode.compiled import CompileWarning, hush_compiler, missing_compiler
from nodebench.ode.counts import Counts, SolveStats
from nodebench.ode.front_door import odeint
from nodebench.ode.methods.tableau import ButcherTableau
from nodebench.ode.methods.traits import list_methods
from nodebench.ode.solution import Solution
from nodebench.ode.status import (
    BudgetExhaustedError,
    ConvergenceWarning,
    NonFiniteError,
    SolverError,
    Status,
    StepUnderflowError,
)

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
