"""Steppers that take a step in one compiled call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nodebench.ode.clock import Clock, StepRecord
from nodebench.ode.compiled.augmented import CompiledAugmentedStepper
from nodebench.ode.compiled.compiler import compiled_for
from nodebench.ode.compiled.inputs import OPTIONS, as_tensor, float64, layout
from nodebench.ode.compiled.march import march
from nodebench.ode.compiled.traced import make_step
from nodebench.ode.controllers import PIDController
from nodebench.ode.counting import CountedField, Field, time_tensor
from nodebench.ode.gradients.adjoint import AugmentedField
from nodebench.ode.gradients.quadrature import ParameterQuadrature
from nodebench.ode.norms import Norm
from nodebench.ode.packing import Packing
from nodebench.ode.replay import end_time
from nodebench.ode.seams import Quadrature
from nodebench.ode.step import CompiledStages, StageBuffer, StageList, num_evaluations
from nodebench.ode.step_control import StepControl
from nodebench.ode.steppers import Attempt, EagerStepper, March, Stepper, nan_at_overflow
from nodebench.ode.tableau import ButcherTableau


@dataclass(frozen=True)
class CompiledSteps:
    """Makes steppers for solves of one vector field, called as the user wrote it, on states packed by `packing`.

    `backend` is torch.compile's. What is compiled is kept as long as the vector field lives.
    """

    f: Callable[..., Any]
    packing: Packing
    backend: str

    def stepper(
        self,
        f: Field,
        tableau: ButcherTableau,
        clock: Clock,
        control: StepControl | None,
        quadrature: Quadrature | None,
    ) -> Stepper:
        """A MakeStepper for the forward solve. Where output times require grad, steps are eager: times are tensors."""
        if clock.tensor is not None:
            return EagerStepper(f, tableau, clock, control, quadrature)
        assert isinstance(f, CountedField), "what a gradient mode solves forwards is the user's field"
        return CompiledStepper(self, f, tableau, clock, control)

    def augmented_stepper(
        self,
        f: Field,
        tableau: ButcherTableau,
        clock: Clock,
        control: StepControl | None,
        quadrature: Quadrature | None,
    ) -> Stepper:
        """A MakeStepper for the backward solve of the adjoint."""
        assert isinstance(f, AugmentedField), "what the adjoint solves backwards"
        if any(leaf.is_complex() for leaf in f.leaves):
            return EagerStepper(f, tableau, clock, control, quadrature)
        assert quadrature is None or isinstance(quadrature, ParameterQuadrature), "the parameters' integrals"
        return CompiledAugmentedStepper(
            self.f, self.packing, self.backend, f, tableau, clock, control, quadrature
        )


class CompiledStepper:
    """Steps of a user's field, a compiled call each."""

    def __init__(
        self,
        steps: CompiledSteps,
        f: CountedField,
        tableau: ButcherTableau,
        clock: Clock,
        control: StepControl | None,
    ) -> None:
        self._steps, self._f, self._tableau, self._clock = steps, f, tableau, clock
        self._control = control
        self._tolerances: tuple[Tensor, Tensor] | None = None

    def new_stages(self, y: Tensor, autograd: bool) -> StageBuffer | StageList:
        """See Stepper."""
        return CompiledStages(self._tableau)

    def take(
        self, record: StepRecord, y0: Tensor, stages: StageBuffer | StageList, *, all_stages: bool
    ) -> Tensor:
        """See Stepper."""
        y1, _, kept = self._call(None, all_stages, record, y0, stages[0], (None, None))
        self._f.counts.nfe += num_evaluations(self._tableau, with_error=all_stages)
        _keep(stages, kept, all_stages)
        return y1

    def attempt(self, record: StepRecord, y0: Tensor, stages: StageBuffer | StageList) -> Attempt:
        """See Stepper."""
        control = self._control
        assert control is not None, "only an adaptive loop asks for errors"
        all_stages = bool(record.inside)
        y1, ratio, kept = self._call(
            control.norm, all_stages, record, y0, stages[0], self.tolerances(y0, control)
        )
        self._f.counts.nfe += num_evaluations(self._tableau, with_error=True)
        _keep(stages, kept, all_stages)
        assert ratio is not None, "a step with a norm has an error ratio"
        if record.lands_on == len(self._clock.ts) - 1:
            ratio = nan_at_overflow(ratio, y1)
        return Attempt(y1, ratio)

    def march(self, start: March, until: float, max_tries: int) -> March | None:
        """See Stepper. On the CPU alone, and without autograd: elsewhere each step waits for the device anyway."""
        control = self._control
        if control is None or type(control.controller) is not PIDController:
            return None
        if start.y.device.type != "cpu" or torch.is_grad_enabled():
            return None
        end = march(
            self._steps,
            self._f.args,
            self._tableau,
            control,
            self.tolerances(start.y, control),
            self._clock,
            start,
            until,
            max_tries,
        )
        if end is None:
            return None
        tried = end.num_accepted + end.num_rejected
        self._f.counts.nfe += tried * num_evaluations(self._tableau, with_error=True)
        return end

    def tolerances(self, y: Tensor, control: StepControl) -> tuple[Tensor, Tensor]:
        """rtol and atol as tensors: another tolerance is no reason to compile again."""
        if self._tolerances is None:
            self._tolerances = (as_tensor(control.rtol, y), as_tensor(control.atol, y))
        return self._tolerances

    def _call(
        self,
        norm: Norm | None,
        all_stages: bool,
        record: StepRecord,
        y0: Tensor,
        k0: Tensor,
        tolerances: tuple[Tensor, Tensor] | tuple[None, None],
    ) -> tuple[Tensor, Tensor | None, list[Tensor]]:
        steps, tableau = self._steps, self._tableau
        autograd = torch.is_grad_enabled() and (y0.requires_grad or k0.requires_grad)
        if autograd:  # the first state of a solve may not require grad, where all that follow do
            y0, k0 = _requiring_grad(y0), _requiring_grad(k0)
        key = ("step", tableau, norm, steps.packing, all_stages, autograd, *layout(y0))
        step = compiled_for(
            steps.f,
            key,
            lambda: make_step(tableau, norm, steps.packing, all_stages),
            steps.backend,
            options=OPTIONS,
        )
        t1 = time_tensor(end_time(self._clock, record, y0), y0)
        t, dt = float64(record.t, y0), float64(record.dt, y0)
        y1, ratio, kept = step(steps.f, self._f.args, t, dt, t1, y0, k0, *tolerances)
        return y1, ratio, kept


def _keep(stages: StageBuffer | StageList, kept: list[Tensor], all_stages: bool) -> None:
    for i, k in enumerate(kept, start=1) if all_stages else ((-1, k) for k in kept):
        stages[i] = k


def _requiring_grad(tensor: Tensor) -> Tensor:
    """The tensor as one that requires grad, and no nn.Parameter, which would be another kind to the compiler."""
    if not tensor.requires_grad:
        return tensor.detach().requires_grad_()
    return tensor.view_as(tensor) if isinstance(tensor, nn.Parameter) else tensor
