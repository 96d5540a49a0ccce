"""Steps that are one compiled call each."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from nodebench.ode.clock import StepRecord, end_time, start_time
from nodebench.ode.compiled.compiler import CompiledFunction, CompileWarning, compiled_for
from nodebench.ode.compiled.inputs import OPTIONS, float64, layout, requiring_grad
from nodebench.ode.compiled.march import LOOP_OPTIONS, Bounds, MarchKind, make_march, march
from nodebench.ode.compiled.traced import StepKind, TracedStep, make_step
from nodebench.ode.drive.state import LoopState
from nodebench.ode.field import CountedField, kept, time_tensor
from nodebench.ode.gradients.augmented import AugmentedField
from nodebench.ode.methods.explicit import (
    ExplicitRungeKutta,
    Weights,
    interpolated,
    interpolated_many,
    num_evaluations,
)
from nodebench.ode.methods.method import Course, Step, Steps
from nodebench.ode.methods.traits import Traits
from nodebench.ode.packing import Packing
from nodebench.ode.together import SharedAccuracy


@dataclass(frozen=True)
class CompiledRungeKutta:
    """The method of a tableau, for solves of one vector field, called as the user wrote it, on packed states.

    `backend` is torch.compile's. What is compiled is kept as long as the vector field lives.
    """

    method: ExplicitRungeKutta
    f: Callable[..., Any]
    packing: Packing
    backend: str

    @property
    def traits(self) -> Traits:
        """See Method."""
        return self.method.traits

    def begin(self, course: Course) -> Steps:
        """See Method. Where output times or complex parameters require grad, steps are eager."""
        is_complex = isinstance(course.f, AugmentedField) and any(
            leaf.is_complex() for leaf in course.f.leaves
        )
        if course.clock.tensor is not None or is_complex:
            return self.method.begin(course)
        accuracy = course.accuracy
        if isinstance(accuracy, SharedAccuracy) and not accuracy.is_one_number:
            warnings.warn(
                "steps run eagerly: several processes share their errors, which in this norm are more than one number "
                "each; norms `rms` and, of the adjoint, `state` are one",
                CompileWarning,
                stacklevel=1,
            )
            return self.method.begin(course)
        return CompiledSteps(self, course)


class CompiledSteps(Steps):
    """The steps of one solve: of the user's field, or of the augmented system of the adjoint with its products."""

    def __init__(self, method: CompiledRungeKutta, course: Course) -> None:
        self._method, self._course, self._clock = method, course, course.clock
        self._f, self._tableau = course.f, method.method.tableau
        self._weights = Weights(self._tableau, course)
        self._leaves = tuple(course.f.leaves) if isinstance(course.f, AugmentedField) else ()
        self._tolerances: tuple[Tensor, Tensor] | None = None
        self._compiled: dict[tuple[bool, bool], CompiledFunction] = {}  # by what differs from step to step
        norm = None
        if course.control is not None and course.accuracy is not None:
            norm = course.accuracy.norm
            # As tensors: another tolerance is no reason to compile again.
            self._tolerances = course.accuracy.tolerances(course.y0)
        self._kind = StepKind(self._tableau, norm, method.packing)
        if isinstance(course.f, AugmentedField):
            self._kind = self._kind._replace(
                shape=course.f.shape, integrands=self._weights.of_others, in_norm=self._weights.in_norm
            )

    def first(self, record: StepRecord, y0: Tensor) -> Tensor:
        """See Steps."""
        return kept(self._f(start_time(self._clock, record, y0), y0, self._weights.of_first))

    def take(self, record: StepRecord, y0: Tensor, f0: Tensor) -> Step:
        """See Steps."""
        taken = self._call(record, y0, f0)
        with_last = self._kind.norm is not None or self._is_read(record)
        f1 = taken.kept[-1] if with_last and self._tableau.is_fsal else None
        if self._tableau.interpolant is None or not self._is_read(record):
            return Step(taken.y1, f1, error_ratio=taken.error_ratio)
        inputs = self._tableau, y0, record.dt, [f0, *taken.kept]
        at, at_many = partial(interpolated, *inputs), partial(interpolated_many, *inputs)
        return Step(taken.y1, f1, at=at, at_many=at_many, error_ratio=taken.error_ratio)

    def cost(self, record: StepRecord) -> int:
        """See Steps."""
        with_last = self._kind.norm is not None or self._is_read(record)
        return num_evaluations(self._tableau, with_last=with_last)

    @property
    def stability_limit(self) -> float:
        """See Steps."""
        return self._tableau.stability_limit

    def _is_read(self, record: StepRecord) -> bool:
        """Whether anybody looks inside the step."""
        return self._course.dense or bool(record.inside)

    def march(self, state: LoopState[float], until: float, max_tries: int) -> LoopState[float] | None:
        """See Steps. On the CPU alone, and without autograd: elsewhere each step waits for the device anyway."""
        control = self._course.control
        if control is None or self._tolerances is None or not control.controller.takes_tensors:
            return None
        if not isinstance(self._f, CountedField) or state.y.device.type != "cpu" or torch.is_grad_enabled():
            return None
        method, clock, y = self._method, self._clock, state.y
        assert self._kind.norm is not None, "a solve with tolerances has a norm"
        kind = MarchKind(self._tableau, self._kind.norm, control.controller, method.packing)
        run = compiled_for(
            method.f,
            ("march", kind, y.shape, y.dtype),
            lambda: make_march(kind),
            method.backend,
            options=LOOP_OPTIONS,
            is_loop=True,
        )
        least = max(control.min_step, clock.resolution(max(state.t, until, key=abs)))
        bounds = Bounds(until, clock.rounding, clock.direction, least, control.max_step, max_tries)
        end = march(run, method.f, self._f.args, state, bounds, self._tolerances)
        if end is None:
            return None
        self._f.counts.nfe += (end.num_accepted + end.num_rejected) * (self._tableau.num_stages - 1)
        return end

    def _call(self, record: StepRecord, y0: Tensor, f0: Tensor) -> TracedStep:
        method, field = self._method, self._f
        assert isinstance(field, (CountedField, AugmentedField)), "what the gradients solve"
        all_stages = self._is_read(record)
        autograd = torch.is_grad_enabled() and (y0.requires_grad or f0.requires_grad)
        if autograd:  # the first state of a solve may not require grad, where all that follow do
            y0, f0 = requiring_grad(y0), requiring_grad(f0)
        step = self._compiled.get((all_stages, autograd))
        if step is None:
            step = self._compiled[all_stages, autograd] = self._compile(all_stages, autograd, y0)
        t1 = time_tensor(end_time(self._clock, record, y0), y0)
        times = float64(record.t, y0), float64(record.dt, y0), t1
        taken: TracedStep = step(method.f, field.args, self._leaves, times, y0, f0, self._tolerances)
        field.counts.nfe += self.cost(record)
        if isinstance(field, AugmentedField):
            field.note(taken.used)
        return taken

    def _compile(self, all_stages: bool, autograd: bool, y0: Tensor) -> CompiledFunction:
        """The compiled step of this solve from states that require grad, or do not."""
        kind = self._kind._replace(all_stages=True) if all_stages else self._kind
        wants = tuple(leaf.requires_grad for leaf in self._leaves)
        key = ("step", kind, autograd, wants, *layout(y0))
        backend = self._method.backend
        return compiled_for(self._method.f, key, lambda: make_step(kind), backend, options=OPTIONS)
