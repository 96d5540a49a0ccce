"""The gradient of the solution of equations, by the implicit function theorem: not through the iteration that found it.

For G(w, p) = 0, dw/dp = -(dG/dw)^-1 dG/dp: a cotangent c of w is taken to -lambda of G, (dG/dw)^T lambda = c, and from
there autograd goes on to whatever G depends on. dG/dw is that at the solution. A matrix a sample solves for lambda, and
products with dG/dw as it is refine it, so that the gradient does not rest on what was taken for a sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nodebench.ode.methods.implicit.jacobian import pull_back, sample_blocks
from nodebench.ode.methods.implicit.newton import Factors
from nodebench.ode.status import ConvergenceError

_MAX_REFINEMENTS = 30


def implicitly(
    equations: Callable[[Tensor, Tensor], Tensor], w: Tensor, base: Tensor, *, requires_grad: bool
) -> Tensor:
    """w, the solution of equations(w, base) = 0, (num_samples, size), with the gradient that follows from them.

    One evaluation of the equations, which autograd records. `base` is where they go on from what was solved before,
    whose graph is kept apart: what is done here takes as long at the end of a solve as at its start. `requires_grad`:
    whether they are known to depend on another tensor that requires grad; w is handed back as it is where they do not.

    In backward(): raises RuntimeError for a second derivative, ConvergenceError where dG/dw is singular.
    """
    w = w.detach()
    with torch.enable_grad():
        anchor = torch.zeros((), device=w.device, requires_grad=True)
        inside: Tensor = _Cut.apply(w, anchor)
        start: Tensor = _Cut.apply(base.detach(), anchor)
        residual = equations(inside, start)
    if not (requires_grad or base.requires_grad or _has_leaf(residual, anchor)):
        return w
    solution: Tensor = _Root.apply(w, base, residual, (inside, start))
    return solution


class _Cut(torch.autograd.Function):
    """A tensor that autograd differentiates by, and beyond which it does not go."""

    @staticmethod
    def forward(ctx: Any, w: Tensor, anchor: Tensor) -> Tensor:
        return w.clone()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[None, None]:
        return None, None


class _Root(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, w: Tensor, base: Tensor, residual: Tensor, cut: tuple[Tensor, Tensor]) -> Tensor:
        ctx.residual, ctx.cut = residual, cut
        return w.clone()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "an implicit method's steps have no second derivative (backward with create_graph=True); use an "
                "explicit method such as dopri5 with gradient=`direct`"
            )
        (cotangent,) = grad_outputs
        inside, start = ctx.cut
        adjoint = -_solve_transposed(ctx.residual, inside, cotangent)
        to_base = pull_back(ctx.residual, start, adjoint) if ctx.needs_input_grad[1] else None
        return None, to_base, adjoint, None


def _solve_transposed(residual: Tensor, inside: Tensor, cotangent: Tensor) -> Tensor:
    """lambda with (dresidual/dinside)^T lambda = cotangent."""
    for num_samples in dict.fromkeys((len(inside), 1)):
        solution = _refined(residual, inside, cotangent, num_samples)
        if solution is not None or not torch.isfinite(cotangent).all():
            return cotangent if solution is None else solution
    raise ConvergenceError(
        "the gradient of an implicit step cannot be solved for: its matrix is singular at the solution of the step"
    )


def _refined(residual: Tensor, inside: Tensor, cotangent: Tensor, num_samples: int) -> Tensor | None:
    """The same by a matrix a sample; None where the samples are more coupled than they can be refined for."""
    matrices = sample_blocks(residual, inside, num_samples)
    factors, shape, eps = Factors(matrices), cotangent.shape, torch.finfo(cotangent.dtype).eps
    size_of_matrix = matrices.abs().sum(1).max()

    def solve(right: Tensor) -> Tensor:
        return factors.solve(right.reshape(num_samples, -1), transposed=True).view(shape)

    solution, last = solve(cotangent), math.inf
    for _ in range(_MAX_REFINEMENTS):
        missing = cotangent - pull_back(residual, inside, solution)
        scale = size_of_matrix * solution.abs().max() + cotangent.abs().max()
        size = (missing.abs().max() / scale.clamp(min=torch.finfo(scale.dtype).tiny)).item()
        if size <= 10 * eps or not size <= last / 2:
            break
        solution, last = solution + solve(missing), size
    return solution if size <= math.sqrt(eps) else None


def _has_leaf(values: Tensor, anchor: Tensor) -> bool:
    """Whether values were computed from a leaf other than the anchor."""
    pending: list[Any] = [values.grad_fn]
    seen = set()
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)  # only the node of a leaf has one
        if variable is not None and variable is not anchor:
            return True
        pending.extend(following for following, _ in node.next_functions)
    return False
