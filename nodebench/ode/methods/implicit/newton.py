"""Newton's simplified iteration: one matrix for all turns, factorised once, for every sample at the same time.

With G(w) = 0 to be solved and M close to dG/dw, each turn is w <- w - M^-1 G(w). The turns shrink by theta, estimated
from the last two; the error left is at most theta / (1 - theta) of the last turn, in units of the tolerance and of the
sample that is farthest off, and is to be at most `kappa`.

How fast the turns were says more than the error of a step does about how long the next one may be (`pace`).

Source: Hairer & Wanner, Solving Ordinary Differential Equations II, 2nd edition, section IV.8 (eqs. 8.9 to 8.11, and
8.21 for the factor of safety).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum

import torch
from torch import Tensor

from nodebench.ode.counts import Counts
from nodebench.ode.drive.state import Pace
from nodebench.ode.norms import Accuracy

MAX_TURNS = 10
MAX_TURNS_ON_GRID = 50  # where there is no shorter step to try
KAPPA = 0.01  # of the tolerance, where it is the error of a step that is held to it
SAFETY = 0.8  # beside the controller's: a cycle's phase gathers errors that nothing damps (the Oregonator's)
GROWTH = 4.0  # of a step, at most
THETA = 0.15  # that a longer step may come to, taken for proportional to its length


class Trouble(Enum):
    """Why an iteration ended without a solution."""

    SLOW = "Newton's iteration did not converge"
    SINGULAR = "the matrix of Newton's equations is singular"
    MATRIX = "the vector field's Jacobian is NaN or Inf"
    SPENT = "the budget of evaluations is spent"
    NON_FINITE = "the vector field returned NaN or Inf in Newton's iteration"


class Factors:
    """A matrix a sample, factorised: (num_samples, size, size). Solutions by a singular one are not finite."""

    def __init__(self, matrices: Tensor, counts: Counts | None = None) -> None:
        self._lu, self._pivots, self._info = torch.linalg.lu_factor_ex(matrices)
        if counts is not None:
            counts.num_factorizations += 1

    @property
    def is_singular(self) -> bool:
        """Whether one of the matrices is, exactly; one wait for the device."""
        return bool(self._info.any().item())

    def solve(self, right: Tensor, *, transposed: bool = False) -> Tensor:
        """M^-1 right, or M^-T right, of (num_samples, size)."""
        solution = torch.linalg.lu_solve(self._lu, self._pivots, right.unsqueeze(-1), adjoint=transposed)
        return solution.squeeze(-1)


class Newton:
    """The iterations of one solve, which remember how fast they converge."""

    def __init__(
        self,
        accuracy: Accuracy,
        counts: Counts,
        dtype: torch.dtype,
        is_spent: Callable[[], bool],
        max_turns: int = MAX_TURNS_ON_GRID,
        kappa: float | None = None,
    ) -> None:
        self._accuracy, self._counts, self._max_turns = accuracy, counts, max_turns
        self._is_spent = is_spent  # whether the budget has no turn left
        rtol = float(torch.as_tensor(accuracy.rtol).min())
        wanted = min(0.03, math.sqrt(rtol)) if kappa is None else kappa
        self.kappa = max(10 * torch.finfo(dtype).eps / rtol, wanted)
        self._left = 1.0  # what was left of the last turn's size at the end of the last iteration
        self.begin_step()

    def begin_step(self) -> None:
        """Forget how fast earlier iterations were."""
        self.theta, self._most = 0.0, 1  # the slowest since, and the most turns of one

    def pace(self, *, was_unsolved: bool) -> Pace:
        """What the iterations of a step mean for the next one; behind one that was not solved, it is no longer."""
        growth = min(GROWTH, max(0.5, THETA / self.theta)) if self.theta else GROWTH
        turns = 2 * self._max_turns + 1
        return Pace(SAFETY * turns / (turns - 1 + self._most), min(growth, 1.0) if was_unsolved else growth)

    def scale(self, y: Tensor, num_samples: int) -> Tensor:
        """The tolerance of each number of the samples at the start of a state, (num_samples, size)."""
        tolerance = self._accuracy.rtol * y.abs() + self._accuracy.atol
        return tolerance.reshape(num_samples, -1)

    @torch.no_grad()
    def solve(
        self, equations: Callable[[Tensor], Tensor], w: Tensor, factors: Factors, scale: Tensor
    ) -> Tensor | Trouble:
        """The w with equations(w) = 0, all of (num_samples, size), or why it was not found.

        Each turn is one evaluation and one wait for the device.
        """
        theta, last = 0.0, 0.0
        left = max(self._left, torch.finfo(w.dtype).eps) ** 0.8
        for turn in range(1, self._max_turns + 1):
            if self._is_spent():
                return Trouble.SPENT
            residual = equations(w)
            change = factors.solve(residual)
            size = _largest(change / scale)
            self._counts.num_newton += 1
            self._most = max(self._most, turn)
            if not math.isfinite(size):
                return self._blame(residual, factors)
            if turn > 1:
                theta = size / last if last else 0.0
                self.theta = max(self.theta, theta)
                if size > self.kappa and theta ** (self._max_turns - turn) * size > self.kappa * (1 - theta):
                    break
                left = theta / (1 - theta) if theta < 1 else 1.0
            w, last = w - change, size
            if left * size <= self.kappa:
                self._left = left
                return w
        self._left = 1.0
        return Trouble.SLOW

    def _blame(self, residual: Tensor, factors: Factors) -> Trouble:
        self._left = 1.0
        if not torch.isfinite(residual).all():
            return Trouble.NON_FINITE
        return Trouble.SINGULAR if factors.is_singular else Trouble.MATRIX


def _largest(x: Tensor) -> float:
    """The largest RMS of a sample; one wait for the device."""
    return torch.linalg.vector_norm(x, dim=1).max().item() / math.sqrt(x.shape[1])
