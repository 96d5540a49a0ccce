"""Adjoint gradients: the continuous adjoint, solved backwards in time (the paper's ODE-Net).

With a(t) = +dL/dy(t) (adj_y here; the paper's z is y):

    da/dt     = -a^T df/dy                                  eq. 4
    dL/dtheta = integral from t0 to t1 of a^T df/dtheta dt  eq. 5 (there as minus the integral from t1 to t0)
    dL/dt1    = a(t1).f(t1)
    dL/dt0    = -a(t0).f(t0), a(t0) without the gradient that enters at ts[0] itself

Two slips that circulate: a = -dL/dy with the other signs kept, which flips every gradient; and dL/dtheta as the
integral from t1 to t0 of a^T df/dtheta without the minus.

At every output time y is reset to its stored value and the output's gradient is added to a (Algorithm 1 and
Appendix C). The result is the gradient of the ODE up to the tolerances of both solves, not that of the discrete solve.

With a Runge-Kutta method the parameters' integral rides along as a quadrature with the weights b: the same numbers
as integrating it as part of the state, without carrying it through the stages.

Source: Chen et al., "Neural Ordinary Differential Equations", NeurIPS 2018 (arXiv 1806.07366), section 2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from nodebench.ode.counting import CountedField, Counts, Time
from nodebench.ode.gradients.problem import (
    AdjointSolve,
    Outputs,
    Problem,
    Watched,
    inspecting,
    refuse_double_backward,
    watch,
)
from nodebench.ode.gradients.quadrature import ParameterQuadrature
from nodebench.ode.solvers import Solver


def solve_adjoint(problem: Problem) -> Outputs:
    """Solve without a graph; gradients flow to y0, the output times, tensor arguments and parameters."""
    watched = watch(problem)
    box: list[Outputs] = []
    ys = _Adjoint.apply(problem, watched, box, problem.y0, problem.clock.tensor, *watched.tensors)
    return Outputs(ys, box[0].error)


class _Adjoint(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        problem: Problem,
        watched: Watched,
        box: list[Outputs],
        y0: Tensor,
        ts: Tensor | None,
        *tensors: Tensor,
    ) -> Tensor:
        leaves = watched.leaves(tensors)
        f = CountedField(problem.f, watched.rebuild_args(leaves), problem.stats.forward)
        f.inspect_first(inspecting(leaves, "adjoint"))
        result = problem.solver.solve(
            f,
            y0.detach(),
            problem.clock.as_constants(),
            autograd=False,
            observers=problem.observers,
            make_stepper=problem.make_stepper,
        )
        box.append(problem.outputs(result))
        ctx.problem, ctx.watched = problem.without_tensors(), watched.without_tensors()
        ctx.num_reached = len(result.outputs)
        ctx.ts_like = None if ts is None else ts.new_zeros(len(ts))
        ctx.save_for_backward(box[0].ys, *tensors)
        return box[0].ys

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        refuse_double_backward("adjoint")
        (grad_ys,) = grad_outputs
        ys, *saved = ctx.saved_tensors
        tensors = ctx.watched.leaves(saved)
        args = ctx.watched.rebuild_args(tensors)
        leaves = [tensor for tensor in tensors if tensor.requires_grad]
        backward = _BackwardSolve(ctx.problem, args, ys, leaves)
        # Made anew: over a kept graph, an earlier backward() may have handed its own out.
        grad_ts = None if ctx.ts_like is None else torch.zeros_like(ctx.ts_like)
        adj_y0 = backward.run(grad_ys, grad_ts, ctx.num_reached)
        grads = iter(backward.parameter_grads())
        tensor_grads = [next(grads) if tensor.requires_grad else None for tensor in tensors]
        return None, None, None, adj_y0, grad_ts, *tensor_grads


class _BackwardSolve:
    """The augmented system solved from the last output time to the first."""

    def __init__(self, problem: Problem, args: tuple[Any, ...], ys: Tensor, leaves: list[Tensor]) -> None:
        adjoint = problem.adjoint
        assert adjoint is not None, "the front door sets how the adjoint is solved"
        self._ys, self._clock = ys, problem.clock
        self._leaves = leaves
        sizes = [leaf.numel() for leaf in leaves]
        self._solver = adjoint.make_solver(adjoint.make_norm(problem.block_sizes, sizes))
        self._f = CountedField(problem.f, args, problem.stats.backward)
        self._field = AugmentedField(self._f, ys[0], leaves, adjoint, self._solver)
        self._observers = adjoint.make_observers(self._field.split)
        self._make_stepper = adjoint.make_stepper
        self._next_step: float | None = None

    def run(self, grad_ys: Tensor, grad_ts: Tensor | None, num_reached: int) -> Tensor:
        """dL/dy0; dL/dts is written to grad_ts where it is wanted. grad_ys has the shape of ys.

        Outputs from index `num_reached` on are the constants of a failed solve.
        """
        ys, ts = self._ys, self._clock.ts
        adj_y = torch.zeros_like(ys[0])
        for i in range(num_reached - 1, 0, -1):
            if grad_ts is not None:
                grad_ts[i] = _inner(grad_ys[i], self._f(ts[i], ys[i]))
            adj_y = self._solve_interval(i, adj_y + grad_ys[i])
        if grad_ts is not None:
            grad_ts[0] = -_inner(adj_y, self._f(ts[0], ys[0]))
        return adj_y + grad_ys[0]

    def _solve_interval(self, i: int, adj_y: Tensor) -> Tensor:
        """adj_y at output i - 1 from adj_y at output i; the parameters' integral grows on the way."""
        start = self._field.pack(self._ys[i], adj_y)
        result = self._solver.solve(
            self._field,
            start,
            self._clock.between(i, i - 1),
            autograd=False,
            observers=self._observers,
            quadrature=self._field.quadrature,
            first_step=self._next_step,
            make_stepper=self._make_stepper,
        )
        if result.error is not None:
            raise type(result.error)(f"in the backward solve of the adjoint: {result.error}")
        # The controller's wish, not the step clipped to the output, is where the next interval starts.
        self._next_step = result.next_step
        return self._field.unpack(result.outputs[-1])

    def parameter_grads(self) -> list[Tensor | None]:
        """dL/d(leaf) for each leaf; None for one that f never used."""
        integrals = self._field.integrals().split([leaf.numel() for leaf in self._leaves])
        return [
            (integral if leaf.is_complex() else integral.real).view_as(leaf) if used else None
            for integral, leaf, used in zip(integrals, self._leaves, self._field.used, strict=True)
        ]


class AugmentedField:
    """d/dt of the packed state [y, a], and where the parameters' integral is kept.

    With a Runge-Kutta solver the integrand -a^T df/dtheta of each stage goes to `quadrature`; otherwise the integral
    is a third block of the state.
    """

    def __init__(
        self,
        f: CountedField,
        y: Tensor,
        leaves: Sequence[Tensor],
        adjoint: AdjointSolve,
        solver: Solver,
    ) -> None:
        self._f = f
        self._shape, self._n = y.shape, y.numel()
        self._leaves = list(leaves)
        self.used = [False] * len(leaves)
        num_params = sum(leaf.numel() for leaf in leaves)
        # Complex parameters of a field of real states have complex integrals.
        dtype = y.dtype.to_complex() if any(leaf.is_complex() for leaf in leaves) else y.dtype
        self._integral = torch.zeros(num_params, dtype=dtype, device=y.device)
        self.quadrature: ParameterQuadrature | None = None
        if solver.tableau is not None and leaves:
            self.quadrature = ParameterQuadrature(solver.tableau, self._integral, adjoint.params_in_norm)
        self._in_state = solver.tableau is None

    @property
    def counts(self) -> Counts:
        """Counts of the backward solve."""
        return self._f.counts

    @property
    def args(self) -> tuple[Any, ...]:
        """What f takes beside t and y."""
        return self._f.args

    @property
    def leaves(self) -> list[Tensor]:
        """What the parameters' integral is of."""
        return self._leaves

    @property
    def shape(self) -> torch.Size:
        """y's shape; a state is y and adj_y, flat."""
        return self._shape

    def pack(self, y: Tensor, adj_y: Tensor) -> Tensor:
        """The state at the start of an interval."""
        blocks = [y.reshape(-1), adj_y.reshape(-1)]
        return torch.cat([*blocks, self._integral] if self._in_state else blocks)

    def unpack(self, state: Tensor) -> Tensor:
        """adj_y of a state; remembers the integral if it is part of the state."""
        _, adj_y, self._integral = self.split(state)
        return adj_y

    def split(self, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """y, adj_y and the parameters' integral (flat) of a state."""
        y, adj_y = state[: self._n].view(self._shape), state[self._n : 2 * self._n].view(self._shape)
        return y, adj_y, state[2 * self._n :] if self._in_state else self._integral

    def integrals(self) -> Tensor:
        """All parameters' integrals so far, flat."""
        return self._integral

    def __call__(self, t: Time, y: Tensor) -> Tensor:
        return self._evaluate(partial(self._f, t), False, 0, y)

    def at_times(self, ts: Sequence[Time], y: Tensor) -> list[Callable[[Tensor], Tensor]]:
        with torch.enable_grad():
            stage_fields = self._f.at_times(ts, y)
        shared = self._f.shares_stages
        return [partial(self._evaluate, f, shared, i) for i, f in enumerate(stage_fields, start=1)]

    def _evaluate(
        self, stage_field: Callable[[Tensor], Tensor], shared: bool, stage: int, state: Tensor
    ) -> Tensor:
        n, shape = self._n, self._shape
        y = state[:n].view(shape).detach().requires_grad_()
        adj_y = state[n : 2 * n].view(shape)
        with torch.enable_grad():
            dy = stage_field(y)
        with_params = self.quadrature is None or self.quadrature.needs(stage)
        wanted = [y, *self._leaves] if with_params else [y]
        products: Sequence[Tensor | None] = [None] * len(wanted)
        if dy.requires_grad:
            # What f computed from time alone is shared by all stages of a step and must outlive this one.
            products = torch.autograd.grad(dy, wanted, adj_y, allow_unused=True, retain_graph=shared)
        vjp_y = torch.zeros_like(y) if products[0] is None else products[0]
        blocks = [dy.detach().reshape(-1), vjp_y.reshape(-1).neg()]
        if with_params and self._leaves:
            integrand = self._flatten(products[1:])
            if self.quadrature is not None:
                self.quadrature.record(stage, integrand)
            else:
                blocks.append(integrand)
        return torch.cat(blocks)

    def _flatten(self, products: Sequence[Tensor | None]) -> Tensor:
        """-a^T df/dtheta as one vector; zeros for parameters that f did not use."""
        flat = []
        for i, (product, leaf) in enumerate(zip(products, self._leaves, strict=True)):
            self.used[i] |= product is not None
            flat.append(torch.zeros_like(leaf).view(-1) if product is None else product.reshape(-1))
        return torch.cat(flat).neg_()


def _inner(adj_y: Tensor, dy: Tensor) -> Tensor:
    """Re <adj_y, dy>: how the loss changes along dy."""
    return (adj_y.conj() * dy).real.sum() if adj_y.is_complex() else (adj_y * dy).sum()
