"""A step of the adjoint's backward solve as one compiled call: stages, products with the Jacobian, integrals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nodebench.ode.clock import Clock, StepRecord
from nodebench.ode.compiled.compiler import compiled_for
from nodebench.ode.compiled.inputs import OPTIONS, as_tensor, float64, layout
from nodebench.ode.compiled.traced import TracedField, TracedStages
from nodebench.ode.counting import Time, time_tensor
from nodebench.ode.gradients.adjoint import AugmentedField
from nodebench.ode.gradients.quadrature import ParameterQuadrature
from nodebench.ode.norms import Norm, error_ratio
from nodebench.ode.packing import Packing
from nodebench.ode.replay import end_time
from nodebench.ode.step import CompiledStages, StageBuffer, StageList, num_evaluations, rk_step
from nodebench.ode.step_control import StepControl
from nodebench.ode.steppers import Attempt, March, nan_at_overflow
from nodebench.ode.tableau import ButcherTableau


class AugmentedStep(NamedTuple):
    """State and parameters' integral at the end of a step; derivative and integrand at its last stage, if evaluated.

    `used` says of each leaf whether f depends on it.
    """

    state: Tensor
    integral: Tensor | None
    error_ratio: Tensor | None
    last: tuple[Tensor, Tensor | None] | None
    used: tuple[bool, ...]


class CompiledAugmentedStepper:
    """Steps of the augmented system [y, a] with the parameters' integral, a compiled call each."""

    def __init__(
        self,
        f: Callable[..., Any],
        packing: Packing,
        backend: str,
        field: AugmentedField,
        tableau: ButcherTableau,
        clock: Clock,
        control: StepControl | None,
        quadrature: ParameterQuadrature | None,
    ) -> None:
        self._f, self._packing, self._backend = f, packing, backend
        self._field, self._tableau, self._clock = field, tableau, clock
        self._control, self._quadrature = control, quadrature

    def new_stages(self, y: Tensor, autograd: bool) -> StageBuffer | StageList:
        """See Stepper."""
        return CompiledStages(self._tableau)

    def take(
        self, record: StepRecord, y0: Tensor, stages: StageBuffer | StageList, *, all_stages: bool
    ) -> Tensor:
        """See Stepper; a backward solve has no outputs inside its steps."""
        return self._call(None, record, y0, stages).state

    def attempt(self, record: StepRecord, y0: Tensor, stages: StageBuffer | StageList) -> Attempt:
        """See Stepper."""
        assert self._control is not None, "only an adaptive loop asks for errors"
        step = self._call(self._control, record, y0, stages)
        ratio = step.error_ratio
        assert ratio is not None, "a step with a control has an error ratio"
        if record.lands_on == len(self._clock.ts) - 1:
            ratio = nan_at_overflow(ratio, step.state)
            if self._quadrature is not None and self._quadrature.in_norm and step.integral is not None:
                ratio = nan_at_overflow(ratio, step.integral)
        return Attempt(step.state, ratio)

    def march(self, start: March, until: float, max_tries: int) -> None:
        """None: the integral rides along."""

    def _call(
        self, control: StepControl | None, record: StepRecord, state: Tensor, stages: StageBuffer | StageList
    ) -> AugmentedStep:
        field, tableau, quadrature = self._field, self._tableau, self._quadrature
        leaves = tuple(field.leaves)
        wants = tuple(leaf.requires_grad for leaf in leaves)
        norm = None if control is None else control.norm
        needed = frozenset() if quadrature is None else quadrature.needed
        in_norm = quadrature is not None and quadrature.in_norm
        parts = (tableau, norm, self._packing, field.shape, needed, in_norm)
        step = compiled_for(
            self._f,
            ("augmented", *parts, wants, *layout(state)),
            lambda: make_augmented_step(*parts),
            self._backend,
            options=OPTIONS,
        )
        integrals = (None, None) if quadrature is None else (quadrature.first, quadrature.integral)
        tolerances = (
            (None, None)
            if control is None
            else (as_tensor(control.rtol, state), as_tensor(control.atol, state))
        )
        t1 = time_tensor(end_time(self._clock, record, state), state)
        taken: AugmentedStep = step(
            self._f,
            field.args,
            leaves,
            float64(record.t, state),
            float64(record.dt, state),
            t1,
            state,
            stages[0],
            *integrals,
            *tolerances,
        )
        field.counts.nfe += num_evaluations(tableau, with_error=control is not None)
        for i, used in enumerate(taken.used):
            field.used[i] |= used
        if taken.last is not None:
            stages[-1] = taken.last[0]
        if quadrature is not None and taken.integral is not None:
            last = None if taken.last is None else taken.last[1]
            quadrature.foresee(taken.integral, quadrature.first if last is None else last)
        return taken


def make_augmented_step(
    tableau: ButcherTableau,
    norm: Norm | None,
    packing: Packing,
    shape: torch.Size,
    needed: frozenset[int],
    in_norm: bool,
) -> Callable[..., AugmentedStep]:
    """(f, args, leaves, t, dt, t1, state, k0, g0, integral, rtol, atol) -> AugmentedStep.

    g_i = -a^T df/d(leaves), flat, at the stages in `needed`; see ParameterQuadrature.
    """

    def step(
        f: Callable[..., Any],
        args: tuple[Any, ...],
        leaves: tuple[Tensor, ...],
        t: Tensor,
        dt: Tensor,
        t1: Tensor,
        state: Tensor,
        k0: Tensor,
        g0: Tensor | None,
        integral: Tensor | None,
        rtol: Tensor | None,
        atol: Tensor | None,
    ) -> AugmentedStep:
        field = _TracedAugmentedField(TracedField(f, packing, args), leaves, shape, needed)
        field.integrands[0] = g0
        stages = TracedStages(tableau, k0)
        with_last = norm is not None
        state1 = rk_step(field, tableau, t, dt, state, stages, with_error=with_last, last_time=t1)
        integral1 = None
        if integral is not None:
            integral1 = integral + field.sum(tableau.b, dt, state)
        ratio = None
        if norm is not None and rtol is not None and atol is not None:
            y_error, start, end = stages.error(dt), state, state1
            if in_norm and integral is not None and integral1 is not None and tableau.b_err is not None:
                y_error = torch.cat([y_error, field.sum(tableau.b_err, dt, state)])
                start, end = torch.cat([state, integral]), torch.cat([state1, integral1])
            ratio = error_ratio(y_error, start, end, rtol, atol, norm)
        last = (stages.from_second()[-1], field.integrands.get(tableau.num_stages - 1)) if with_last else None
        return AugmentedStep(state1, integral1, ratio, last, tuple(field.used))

    return step


class _TracedAugmentedField:
    """d/dt of [y, a], as AugmentedField has it, in a form that can be traced; keeps g of the stages that need it."""

    def __init__(
        self, f: TracedField, leaves: tuple[Tensor, ...], shape: torch.Size, needed: frozenset[int]
    ) -> None:
        self._f, self._leaves, self._shape, self._needed = f, leaves, shape, needed
        self.integrands: dict[int, Tensor | None] = {}
        self.used = [False] * len(leaves)

    def at_times(self, ts: Sequence[Time], y: Tensor) -> list[Callable[[Tensor], Tensor]]:
        """See StageFields."""
        with torch.enable_grad():
            stage_fields = self._f.at_times(ts, y[: len(y) // 2])
        return [partial(self._evaluate, f, i) for i, f in enumerate(stage_fields, start=1)]

    def sum(self, weights: Sequence[float], dt: Time, y: Tensor) -> Tensor:
        """dt * sum_i weights[i] g_i."""
        total: Tensor | None = None
        for i, weight in enumerate(weights):
            g = self.integrands.get(i)
            if weight and g is not None:
                total = weight * g if total is None else total + weight * g
        assert total is not None, "a tableau has weights, and their stages have integrands"
        return time_tensor(dt, y) * total

    def _evaluate(self, stage_field: Callable[[Tensor], Tensor], stage: int, state: Tensor) -> Tensor:
        n = len(state) // 2
        y = state[:n].view(self._shape).detach().requires_grad_()
        adj_y = state[n:].view(self._shape)
        with torch.enable_grad():
            dy = stage_field(y)
        wanted = [y, *self._leaves] if stage in self._needed else [y]
        products: Sequence[Tensor | None] = [None] * len(wanted)
        if dy.requires_grad:
            products = torch.autograd.grad(dy, wanted, adj_y, allow_unused=True, retain_graph=True)
        vjp_y = torch.zeros_like(y) if products[0] is None else products[0]
        if stage in self._needed and self._leaves:
            self.used = [used or g is not None for used, g in zip(self.used, products[1:], strict=True)]
            flat = [
                torch.zeros_like(leaf).reshape(-1) if product is None else product.reshape(-1)
                for product, leaf in zip(products[1:], self._leaves, strict=True)
            ]
            self.integrands[stage] = -torch.cat(flat)
        return torch.cat([dy.detach().reshape(-1), -vjp_y.reshape(-1)])
