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
from nodebench.ode.compiled.march import CARRIED, LOOP_OPTIONS, MOST_CARRIED, Bounds, make_turn, march
from nodebench.ode.compiled.traced import (
    Given,
    StepKind,
    TracedSlope,
    TracedStep,
    make_guess,
    make_slope,
    make_step,
)
from nodebench.ode.drive.first_step import Interval, first_interval
from nodebench.ode.drive.state import LoopState
from nodebench.ode.field import CHANGED, CountedField, Time, kept, time_tensor, time_tensors, version_of
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
        assert isinstance(course.f, (CountedField, AugmentedField)), "what the gradients solve"
        self._f, self._tableau = course.f, method.method.tableau
        self._weights = Weights(self._tableau, course)
        self._leaves = tuple(course.f.leaves) if isinstance(course.f, AugmentedField) else ()
        self._tolerances: tuple[Tensor, Tensor] | None = None
        self._steps: dict[tuple[bool, bool], CompiledFunction] = {}  # by what differs from step to step
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
        self._given = Given(method.f, course.f.args, self._leaves)

    def first(self, record: StepRecord, y0: Tensor) -> Tensor:
        """See Steps."""
        t, wanted = start_time(self._clock, record, y0), self._weights.of_first
        found = self._compiled_slope(t, y0, wanted) if self._compiles_calls(y0) else None
        if found is None:
            return kept(self._f(t, y0, wanted))
        self._count(1, found.used)
        return found.slope

    def _compiled_slope(self, t: Time, y: Tensor, wanted: bool) -> TracedSlope | None:
        """f(t, y) in compiled code, None where there is none; the ValueError of a field that changes y."""
        run = self._compile(
            ("slope", self._kind, wanted, torch.is_grad_enabled(), y.requires_grad),
            lambda: make_slope(self._kind, wanted),
            y,
            is_call=True,
        )
        version = version_of(y)
        found: TracedSlope | None = run(
            self._given, time_tensor(t, y), requiring_grad(y) if y.requires_grad else y
        )
        if version_of(y) != version:
            raise ValueError(CHANGED)
        return found

    def guess(self, f0: Tensor, order: int) -> Tensor | None:
        """See Steps."""
        y0 = self._course.y0
        if self._tolerances is None or not self._compiles_calls(y0):
            return None
        with torch.no_grad():
            run = self._compile(
                ("guess", self._kind, order), lambda: make_guess(self._kind, order), y0, is_call=True
            )
            *numbers, ends = first_interval(self._clock)
            t, direction, longest, first, last = time_tensors((*numbers, *ends), y0)
            interval = Interval(t, direction, longest, (first, last))
            guess: Tensor | None = run(self._given, interval, y0.detach(), f0.detach(), self._tolerances)
        if guess is not None:
            self._count(1)
        return guess

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

    def march(
        self, state: LoopState[float], until: float, max_tries: int, lands: bool
    ) -> LoopState[float] | None:
        """See Steps. On the CPU alone, and without autograd: elsewhere each step waits for the device anyway."""
        control = self._course.control
        if control is None or self._tolerances is None or not control.controller.takes_tensors:
            return None
        if not self._compiles_calls(state.y) or torch.is_grad_enabled():
            return None
        kind, controller, clock = self._kind, control.controller, self._clock
        key = "march", kind, controller
        run = self._compile(key, lambda: make_turn(kind, controller), state.y, is_loop=True)
        least = max(control.min_step, clock.resolution(max(state.t, until, key=abs)))
        bounds = Bounds(
            until, clock.rounding, clock.direction, least, control.max_step, max_tries, float(lands)
        )
        end = march(run, self._given, state._replace(y=state.y.detach()), bounds, self._tolerances)
        if end is not None:
            self._count((end.num_accepted + end.num_rejected) * (self._tableau.num_stages - 1))
        return end

    def _compiles_calls(self, y: Tensor) -> bool:
        """Whether calls cost an evaluation more than its arithmetic does: then more than single steps are compiled."""
        accuracy, field = self._course.accuracy, self._f
        is_alone = accuracy is None or not accuracy.is_shared
        is_plain = isinstance(field, AugmentedField) or not field.is_inspected
        return is_plain and is_alone and y.device.type == "cpu" and y.numel() <= MOST_CARRIED

    def _call(self, record: StepRecord, y0: Tensor, f0: Tensor) -> TracedStep:
        all_stages = self._is_read(record)
        autograd = torch.is_grad_enabled() and (y0.requires_grad or f0.requires_grad)
        # The first state of a solve may require grad where none that follow does, and the other way round.
        y0, f0 = (requiring_grad(y) if autograd else y.detach() for y in (y0, f0))
        step = self._steps.get((all_stages, autograd))
        if step is None:
            kind = self._kind._replace(all_stages=True) if all_stages else self._kind
            step = self._compile(("step", kind, autograd), lambda: make_step(kind), y0)
            self._steps[all_stages, autograd] = step
        t1 = time_tensor(end_time(self._clock, record, y0), y0)
        times = float64(record.t, y0), float64(record.dt, y0), t1
        taken: TracedStep = step(self._given, times, y0, f0, self._tolerances)
        self._count(self.cost(record), taken.used)
        return taken

    def _count(self, num_evaluations: int, used: tuple[bool, ...] = ()) -> None:
        """Have evaluations counted, and the leaves remembered that they made use of."""
        self._f.counts.nfe += num_evaluations
        if used and isinstance(self._f, AugmentedField):
            self._f.note(used)

    def _compile(
        self,
        key: tuple[Any, ...],
        make: Callable[[], Callable[..., Any]],
        y: Tensor,
        is_loop: bool = False,
        is_call: bool = False,
    ) -> CompiledFunction:
        """The compiled function of this solve's field under a key, for states like y."""
        wants = tuple(leaf.requires_grad for leaf in self._leaves)
        return compiled_for(
            self._method.f,
            (*key, wants, *layout(y)),
            make,
            self._method.backend,
            options=LOOP_OPTIONS if is_loop else OPTIONS,
            is_loop=is_loop,
            is_call=is_call,
            carried=CARRIED if is_loop else (),
        )
