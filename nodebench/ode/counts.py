"""What solves did, in numbers.

What counts: each call of f, the two of the initial-step rule included, and one for each Jacobian of an implicit method
(the products that it is made of are none). Reusing a stage (FSAL) is not a call.
Forward and backward solves have a `Counts` each; nothing is ever reset. Those of several solves add up.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class SampleCounts:
    """What was done for each sample that had steps of its own, int64 (B,) on the CPU.

    `nfe`: evaluations at states of that sample while it was under way; f was called for others beside it, and may have
    been called with it once it had arrived.
    """

    num_accepted: Tensor
    num_rejected: Tensor
    nfe: Tensor

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SampleCounts):
            return NotImplemented
        mine, theirs = ((c.num_accepted, c.num_rejected, c.nfe) for c in (self, other))
        return all(one.tolist() == another.tolist() for one, another in zip(mine, theirs, strict=True))

    def __add__(self, other: SampleCounts) -> SampleCounts:
        """What two solves did for each of the samples that both are of."""
        return SampleCounts(
            self.num_accepted + other.num_accepted,
            self.num_rejected + other.num_rejected,
            self.nfe + other.nfe,
        )

    def beside(self, other: SampleCounts) -> SampleCounts:
        """Those of the samples of one solve, and then of another."""
        pairs = (
            (self.num_accepted, other.num_accepted),
            (self.num_rejected, other.num_rejected),
            (self.nfe, other.nfe),
        )
        return SampleCounts(*(one.new_tensor([*one.tolist(), *another.tolist()]) for one, another in pairs))


@dataclass
class Counts:
    """What one solve did. `num_accepted` and `num_rejected` are None where a solver does not tell.

    `num_forced` of the accepted steps missed the tolerance at `min_step`; at `num_unconverged` of them the corrector
    of implicit_adams did not converge. `steps` holds (t, dt) of each accepted step where it was asked for.
    `samples` says what was done for each sample where each had steps of its own: accepted and rejected are sums over
    them then, and nfe is still calls of f, each for all that were in the batch.

    Of an implicit method: `num_unsolved` of the rejected steps were so because Newton's iteration did not solve their
    equations. It made `num_newton` turns in all, each an evaluation and a solve by one of `num_factorizations` batches
    of factorised matrices, which were made of `num_jacobians` batches of Jacobians.

    `is_stiff`: at the end of many steps, or of a budget, it was the stability of an explicit method that limited them
    and not their error: an implicit method such as kvaerno5 takes far fewer. Eager dopri5, tsit5 and dopri8 can tell at
    no cost; of other explicit methods, compiled, and where each sample has steps of its own, it is found by 5
    evaluations more where max_steps is spent.
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
    is_stiff: bool = False
    steps: list[tuple[float, float]] | None = None
    samples: SampleCounts | None = None

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

    def add_samples(self, done: SampleCounts) -> None:
        """Count what was done for samples with steps of their own; what is counted next is of the same samples."""
        self.num_accepted = (self.num_accepted or 0) + int(done.num_accepted.sum())
        self.num_rejected = (self.num_rejected or 0) + int(done.num_rejected.sum())
        self.samples = done if self.samples is None else self.samples + done

    def __add__(self, other: Counts) -> Counts:
        """What two solves did together, without their `steps`; a number that one of them does not tell is None.

        `samples` are those of both, one solve's beside the other's.
        """
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
            is_stiff=self.is_stiff or other.is_stiff,
            samples=_beside(self, other),
        )


@dataclass
class SolveStats:
    """Counts of the forward solve, and of the backward one, filled in while backward() runs.

    `direct` leaves `backward` at 0: products with the Jacobian are no evaluations. `checkpointed` counts its
    recomputations there, `adjoint` its evaluations of the augmented system.
    """

    forward: Counts = field(default_factory=Counts)
    backward: Counts = field(default_factory=Counts)


def _beside(one: Counts, other: Counts) -> SampleCounts | None:
    """The samples of both; None where one that did anything has none."""
    if one.samples is None or other.samples is None:
        silent, told = (one, other.samples) if one.samples is None else (other, one.samples)
        return told if silent.nfe == 0 else None
    return one.samples.beside(other.samples)


def _sum(one: Any, other: Any) -> Any:
    return None if one is None or other is None else one + other
