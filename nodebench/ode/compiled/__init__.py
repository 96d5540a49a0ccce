"""Whole steps under torch.compile: the stages, their sums and the error in one call, instead of one call an operation.

The numbers are those of the eager steps to rounding, and the counts the same: sums may be taken in another order, and
tanh in float32 on the CPU is within 4e-7 of itself (fusible.py). What is evaluated outside of a step stays
eager: the trial of the initial-step rule, and first stages that are no other step's last.
"""

from nodebench.ode.compiled.compiler import (
    DEFAULT_BACKEND,
    CompileWarning,
    check_backend,
    forgotten,
    hush_compiler,
    missing_compiler,
)
from nodebench.ode.compiled.steps import CompiledRungeKutta

__all__ = [
    "DEFAULT_BACKEND",
    "CompileWarning",
    "CompiledRungeKutta",
    "check_backend",
    "forgotten",
    "hush_compiler",
    "missing_compiler",
]
