"""What the steps of all implicit methods have in common: their Jacobian, when it is made anew, and riding integrals."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence

from torch import Tensor

from nodebench.ode.clock import StepRecord, end_time, start_time
from nodebench.ode.field import Time, kept
from nodebench.ode.methods.implicit.jacobian import make_jacobians
from nodebench.ode.methods.implicit.matrices import Matrices
from nodebench.ode.methods.implicit.newton import KAPPA, MAX_TURNS, MAX_TURNS_ON_GRID, Newton, Trouble
from nodebench.ode.methods.method import Course, Step, Steps
from nodebench.ode.methods.stages import weighted_sum
from nodebench.ode.status import SolverError

FAST = 1e-3  # turns that shrink by no more keep the Jacobian for the next step (RADAU5's THET)


class ImplicitSteps(Steps):
    """The steps of one solve, by Newton's iteration.

    `max_turns` bounds an iteration on a grid, where there is no shorter step to try.
    """

    def __init__(self, name: str, course: Course, max_turns: int = MAX_TURNS_ON_GRID) -> None:
        assert course.accuracy is not None, "a method that iterates is told the tolerance"
        f, y0 = course.f, course.y0
        self.course, self.f, self.clock = course, f, course.clock
        self.matrices = Matrices(make_jacobians(f, y0, name), self.matrix, course.clock, f.counts)
        turns, kappa = (MAX_TURNS, KAPPA) if course.control else (max_turns, None)
        self.newton = Newton(course.accuracy, f.counts, y0.dtype, self._is_spent, turns, kappa)
        self._was_unsolved = False  # whether the latest step was so
        self.from_rest = (
            False  # whether iterations start from the state before them, and not from what is predicted
        )
        self._size = y0.numel() - f.riding  # of what f reads, where integrals ride along

    @abstractmethod
    def matrix(self, jacobian: Tensor, dt: float) -> Tensor:
        """That of Newton's equations, of each sample."""

    @abstractmethod
    def turn_cost(self) -> int:
        """Evaluations of a turn, and of what follows the last one of a stage."""

    def _is_spent(self) -> bool:
        return self.course.budget.spent(self.f.counts, self.turn_cost()) is not None

    @abstractmethod
    def attempt(self, record: StepRecord, y0: Tensor, f0: Tensor) -> Step | Trouble:
        """The step by the matrices that there are."""

    def first(self, record: StepRecord, y0: Tensor) -> Tensor:
        """See Steps."""
        return kept(self.f(start_time(self.clock, record, y0), y0))

    def take(self, record: StepRecord, y0: Tensor, f0: Tensor) -> Step | SolverError:
        """See Steps: tried again with a Jacobian made anew before it is given up.

        On a grid, where there is no shorter step to try, also from y0 itself: a long explicit step leads astray.
        """
        self.from_rest = False
        self.newton.begin_step()
        step = self.attempt(record, y0, f0)
        while isinstance(step, Trouble):
            if step is Trouble.SPENT:
                spent = self.course.failure.if_spent(self.course.budget, self.turn_cost(), record.t)
                assert spent is not None, "a budget that is spent says how"
                return spent
            if not self.matrices.renew(record.t):
                if self.from_rest or self.course.control is not None:
                    self._was_unsolved = True
                    return self.course.failure.not_solved(record.t, record.dt, y0, step.value)
                self.from_rest = True
            step = self.attempt(record, y0, f0)
        if self.newton.theta > FAST:
            self.matrices.renew(record.t1)
        step = step._replace(pace=self.newton.pace(was_unsolved=self._was_unsolved))
        self._was_unsolved = False
        return step

    def lead(self, x: Tensor) -> Tensor:
        """What f reads of a state, or of its slope."""
        return x[: self._size] if self.f.riding else x

    def fields(
        self, record: StepRecord, y0: Tensor, c: Sequence[float], *, integrands: bool = False
    ) -> list[Callable[[Tensor], Tensor]]:
        """y -> dy at each t + c dt of a step; with the integrals' slopes, where they are wanted."""
        t, dt = self.clock.start_and_size(record)
        t1 = end_time(self.clock, record, y0)
        times = [t1 if node == 1.0 else t + node * dt for node in c]
        return self.f.at_times(times, y0, None if integrands else [False] * len(times))

    def integrands(
        self, record: StepRecord, y0: Tensor, c: Sequence[float], states: Sequence[Tensor | None]
    ) -> list[Tensor]:
        """The integrals' slopes at the states of stages, where integrals ride along; none at those that are None."""
        fields = self.fields(record, y0, c, integrands=True)
        return [
            field(state)[self._size :]
            for field, state in zip(fields, states, strict=True)
            if state is not None
        ]

    def tail(self, x: Tensor) -> Tensor:
        """The integrals of a state, or of its slope."""
        return x[self._size :]


def weighted(y: Tensor, dt: Time, weights: Sequence[float], slopes: Sequence[Tensor]) -> Tensor:
    """y + dt * sum_j weights[j] slopes[j], a new tensor that autograd can follow."""
    used = [(w, k) for w, k in zip(weights, slopes, strict=True) if w]
    if isinstance(dt, Tensor):  # only where an output time requires grad
        return y + dt * sum(w * k for w, k in used)
    return weighted_sum(y, [(dt * w, k) for w, k in used])
