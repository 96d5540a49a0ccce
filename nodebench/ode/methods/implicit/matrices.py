"""The matrices of Newton's equations from step to step: a Jacobian is kept while the iteration is fast with it."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from nodebench.ode.clock import Clock, StepRecord, start_time
from nodebench.ode.counts import Counts
from nodebench.ode.methods.implicit.jacobian import Jacobians
from nodebench.ode.methods.implicit.newton import Factors


class Matrices:
    """The factors of `build(jacobian, dt)` in one solve, (num_samples, m, m), made anew for another step length."""

    def __init__(
        self, jacobians: Jacobians, build: Callable[[Tensor, float], Tensor], clock: Clock, counts: Counts
    ) -> None:
        self._jacobians, self._build = jacobians, build
        self._clock, self._counts = clock, counts
        self._jacobian: Tensor | None = None
        self._t = self._dt = 0.0
        self._factors: Factors | None = None

    @property
    def num_samples(self) -> int:
        """Samples of the state; known for good once the first factors are."""
        return self._jacobians.num_samples

    def factors(self, record: StepRecord, y0: Tensor) -> Factors:
        """Those of a step from y0."""
        if self._jacobian is None:
            self._jacobian = self._jacobians.at(start_time(self._clock, record, y0), y0)
            self._t, self._factors = record.t, None
        if self._factors is None or self._dt != record.dt:
            self._factors = Factors(self._build(self._jacobian, record.dt), self._counts)
            self._dt = record.dt
        return self._factors

    def renew(self, t: float) -> bool:
        """Have the Jacobian made anew for the next step; False if it is already that of a step from t."""
        if self._t == t and self._jacobian is not None:
            return False
        self._jacobian = None
        return True
