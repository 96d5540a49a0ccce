"""nodebench's solver library: Runge-Kutta, Adams and SciPy's solvers, with three gradients.

It imports torch (and scipy in its bridge) and knows no model, data set, config or file. See README.md beside this
file for the words and symbols used.
"""

from nodebench.ode.compiled import CompileWarning, hush_compiler, missing_compiler
from nodebench.ode.counting import Counts, SolveStats
from nodebench.ode.methods import list_methods
from nodebench.ode.odeint import odeint
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
