"""What nodebench.ode offers: what `from nodebench.ode import ...` finds."""

from nodebench.ode.compiled import CompileWarning, hush_compiler, missing_compiler
from nodebench.ode.counts import Counts, SolveStats
from nodebench.ode.drive.controllers import Controller
from nodebench.ode.events import Crossings, Event
from nodebench.ode.front_door import odeint, solve
from nodebench.ode.gradients.problem import Problem
from nodebench.ode.methods.method import Method, OneStep, Step
from nodebench.ode.methods.tableau import ButcherTableau
from nodebench.ode.methods.traits import Traits, list_methods
from nodebench.ode.solution import Solution
from nodebench.ode.status import (
    AdjointDriftWarning,
    BudgetExhaustedError,
    ConvergenceError,
    ConvergenceWarning,
    EvaluationBudgetError,
    NonFiniteError,
    SolverError,
    Status,
    StepBudgetError,
    StepUnderflowError,
)

__all__ = [
    "AdjointDriftWarning",
    "BudgetExhaustedError",
    "ButcherTableau",
    "CompileWarning",
    "Controller",
    "ConvergenceError",
    "ConvergenceWarning",
    "Counts",
    "Crossings",
    "EvaluationBudgetError",
    "Event",
    "Method",
    "NonFiniteError",
    "OneStep",
    "Problem",
    "Solution",
    "SolveStats",
    "SolverError",
    "Status",
    "Step",
    "StepBudgetError",
    "StepUnderflowError",
    "Traits",
    "hush_compiler",
    "list_methods",
    "missing_compiler",
    "odeint",
    "solve",
]
