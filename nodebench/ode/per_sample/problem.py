"""An initial value problem whose samples have steps of their own, as the gradients are given it, and direct's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nodebench.ode.counts import SolveStats
from nodebench.ode.drive.control import StepControl
from nodebench.ode.gradients.problem import watch
from nodebench.ode.methods.tableau import ButcherTableau
from nodebench.ode.norms import Accuracy
from nodebench.ode.per_sample.course import SampleCourse, TrialObserver
from nodebench.ode.per_sample.loop import solve_rows
from nodebench.ode.per_sample.outputs import SampleResult
from nodebench.ode.per_sample.rows import RowField, RowFunction
from nodebench.ode.per_sample.step import RowSteps, to_device
from nodebench.ode.per_sample.times import SampleTimes


class AdjointControl(NamedTuple):
    """How the adjoint is solved backwards: by which tableau, and how its steps are chosen."""

    tableau: ButcherTableau
    control: StepControl


@dataclass(frozen=True)
class SampleProblem:
    """Rows y0 (B, n) from times.ts[:, 0] on, by the steps of a tableau.

    `make_steps` makes them, of a field and the accuracy that they are measured by, recorded by autograd or not.
    `is_whole`: f is always called with all rows. `raises`: a sample that fails is raised, not handed back.
    """

    f: RowFunction
    y0: Tensor
    times: SampleTimes
    tableau: ButcherTableau
    control: StepControl
    make_steps: Callable[[RowField, Accuracy | None, bool], RowSteps]
    args: tuple[Any, ...] = ()
    params: tuple[Tensor, ...] = ()
    stats: SolveStats = field(default_factory=SolveStats)
    is_whole: bool = False
    raises: bool = True
    adjoint: AdjointControl | None = None

    def without_tensors(self) -> SampleProblem:
        """What a backward pass may hold on to: its tensors come from save_for_backward alone."""
        return replace(self, y0=self.y0.new_empty(0), args=(), params=())

    def solve(self, f: RowField, y0: Tensor, observers: Sequence[TrialObserver] = ()) -> SampleResult:
        """The outputs at all times; f has the arguments and counts. Steps are recorded where autograd records."""
        autograd = torch.is_grad_enabled()
        course = SampleCourse(
            f,
            self.times,
            y0,
            self.control,
            f.counts,
            autograd=autograd,
            retakes=autograd,
            is_whole=self.is_whole,
            raises=self.raises,
            observers=observers,
        )
        steps = self.make_steps(f, self.control.accuracy, autograd)
        return solve_rows(course, steps, self.tableau.order)


def solve_direct(problem: SampleProblem) -> SampleResult:
    """Solve, recording every step where autograd records at all; rejected ones get no gradient."""
    return problem.solve(RowField(problem.f, problem.args, problem.stats.forward), problem.y0)


def still_samples(times: SampleTimes, like: Tensor) -> Tensor:
    """The samples whose every output is y0, as no time passes: their numbers, on the device of `like`."""
    return to_device(np.nonzero(times.spans == 0)[0], like)


def solve_by(function: type[torch.autograd.Function], problem: SampleProblem) -> SampleResult:
    """Solve in a function of autograd's, which is told of problem, watched tensors and where to leave the result."""
    watched = watch(problem)
    box: list[SampleResult] = []
    ys = function.apply(problem, watched, box, problem.y0, *watched.tensors)
    box[0].ys = ys
    return box[0]
