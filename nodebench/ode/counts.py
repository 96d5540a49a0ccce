"""What solves did, in numbers.

What counts: each call of f, the two of the initial-step rule included, and one for each Jacobian of an implicit method
(the products that it is made of are none). Reusing a stage (FSAL) is not a call.
Forward and backward solves have a `Counts` each; nothing is ever reset. Those of several solves add up.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Counts:
    """What one solve did. `num_accepted` and `num_rejected` are None where a solver does not tell.

    `num_forced` of the accepted steps missed the tolerance at `min_step`; at `num_unconverged` of them the corrector
    of implicit_adams did not converge. `steps` holds (t, dt) of each accepted step where it was asked for.

    Of an implicit method: `num_unsolved` of the rejected steps were so because Newton's iteration did not solve their
    equations. It made `num_newton` turns in all, each an evaluation and a solve by one of `num_factorizations` batches
    of factorised matrices, which were made of `num_jacobians` batches of Jacobians.
    """

    nfe: int = 0
    num_accepted: int | None = 0
    num_rejected: int | None = 0
    num_forced: int = 0
    num_unconverged: int = 0
    num_unsolved: int = 0
    num_jacobians: int = 0
    num_factorizations: int = 0
    num_newton: int = 0
    steps: list[tuple[float, float]] | None = None

    def accept(self, t: float, dt: float) -> None:
        """Count one accepted step."""
        self.num_accepted = (self.num_accepted or 0) + 1
        if self.steps is not None:
            self.steps.append((t, dt))

    def reject(self) -> None:
        """Count one rejected step."""
        self.num_rejected = (self.num_rejected or 0) + 1

    @property
    def num_steps(self) -> int:
        """Accepted and rejected steps together."""
        return (self.num_accepted or 0) + (self.num_rejected or 0)

    def __add__(self, other: Counts) -> Counts:
        """What two solves did together, without their `steps`; a number that one of them does not tell is None."""
        return Counts(
            nfe=self.nfe + other.nfe,
            num_accepted=_sum(self.num_accepted, other.num_accepted),
            num_rejected=_sum(self.num_rejected, other.num_rejected),
            num_forced=self.num_forced + other.num_forced,
            num_unconverged=self.num_unconverged + other.num_unconverged,
            num_unsolved=self.num_unsolved + other.num_unsolved,
            num_jacobians=self.num_jacobians + other.num_jacobians,
            num_factorizations=self.num_factorizations + other.num_factorizations,
            num_newton=self.num_newton + other.num_newton,
        )


@dataclass
class SolveStats:
    """Counts of the forward solve, and of the backward one, filled in while backward() runs.

    `direct` leaves `backward` at 0: products with the Jacobian are no evaluations. `checkpointed` counts its
    recomputations there, `adjoint` its evaluations of the augmented system.
    """

    forward: Counts = field(default_factory=Counts)
    backward: Counts = field(default_factory=Counts)


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other
