"""Direct gradients: autograd through the accepted steps (the paper's RK-Net).

Exact for the discrete solve, second derivatives included; memory grows by one step's graph a step. Products with the
Jacobian are no evaluations, so nfe_backward is 0.
"""

from __future__ import annotations

import torch

from nodebench.ode.drive.solver import Start
from nodebench.ode.field import CountedField
from nodebench.ode.gradients.problem import Outputs, Problem


def solve_direct(problem: Problem) -> Outputs:
    """Solve, recording every accepted step where autograd records at all."""
    f = CountedField(problem.f, problem.args, problem.stats.forward)
    start = Start(
        f, problem.y0, problem.clock, torch.is_grad_enabled(), problem.observers, watch=problem.watch
    )
    return problem.outputs(problem.solver.solve(start))
