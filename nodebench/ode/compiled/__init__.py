"""Whole steps under torch.compile: the stages, their sums and the error in one call, instead of one call an operation.

The numbers are those of the eager steps to rounding, and so are the counts. What is evaluated outside of a step, the
first stage of a solve and the trial of the initial-step rule, stays eager.
"""

from nodebench.ode.compiled.compiler import DEFAULT_BACKEND, CompileWarning, forgotten, missing_compiler
from nodebench.ode.compiled.steps import CompiledSteps

__all__ = ["DEFAULT_BACKEND", "CompileWarning", "CompiledSteps", "forgotten", "missing_compiler"]
