"""What the loop of a batch is told, and what its observers hear of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from torch import Tensor

from nodebench.ode.counts import Counts
from nodebench.ode.drive.control import StepControl
from nodebench.ode.per_sample.control import Booleans, Hits, Integers, Plan
from nodebench.ode.per_sample.step import Slopes
from nodebench.ode.per_sample.times import Floats, SampleTimes


class Trial(NamedTuple):
    """A step that was tried: of which samples, from where, what became of it, and the outputs it yields.

    `goes_on`: the accepted rows that have a step after it.
    """

    samples: Integers
    plan: Plan
    y0: Tensor
    accepted: Booleans
    goes_on: Booleans
    hits: Hits | None


class TrialObserver(Protocol):
    """Hears of a solve."""

    def on_start(self, samples: Integers, goes_on: Booleans) -> None:
        """f has been evaluated at the start, and where the first steps were guessed once more."""
        ...

    def on_trial(self, trial: Trial) -> None:
        """A step was tried."""
        ...


class SampleCourse(NamedTuple):
    """What is to be solved, from rows y0 (B, n). `autograd`: accepted steps are recorded for backward().

    `first_steps` are guesses (B,) that replace the initial-step rule, where they are no NaN. `retakes`: a step of which
    a row came to nothing finite is taken once more without the rejected rows, whose gradients would be NaN. `raises`:
    the first sample that fails ends the solve.
    """

    f: Slopes
    times: SampleTimes
    y0: Tensor
    control: StepControl
    counts: Counts
    autograd: bool = False
    retakes: bool = False
    is_whole: bool = False
    raises: bool = True
    first_steps: Floats | None = None
    observers: Sequence[TrialObserver] = ()
