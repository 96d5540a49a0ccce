"""What a solve may cost: one rule for every loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from nodebench.ode.counts import Counts
from nodebench.ode.status import Status


class Spent(NamedTuple):
    """The budget that is spent: how the solve ends, and its name and size."""

    status: Status
    what: str


class Budget(Protocol):
    """Asked before every step."""

    def spent(self, counts: Counts, cost: int) -> Spent | None:
        """The limit that one more step, or `cost` more evaluations, would exceed."""
        ...

    def allows(self, counts: Counts, evaluations: int) -> bool:
        """Whether so many more evaluations may be spent on the message of a failure."""
        ...

    def num_tries(self, counts: Counts, cost: int) -> int | None:
        """Steps of `cost` evaluations that no limit ends, and one more evaluation; None without a limit."""
        ...


@dataclass(frozen=True)
class Limits:
    """Most steps tried, and most evaluations; None is no limit."""

    max_steps: int | None = None
    max_nfe: int | None = None

    def spent(self, counts: Counts, cost: int) -> Spent | None:
        """See Budget."""
        if self.max_steps is not None and counts.num_steps >= self.max_steps:
            return Spent(Status.MAX_STEPS, f"max_steps={self.max_steps}")
        if self.max_nfe is not None and counts.nfe + cost > self.max_nfe:
            return Spent(Status.MAX_NFE, f"max_nfe={self.max_nfe}")
        return None

    def allows(self, counts: Counts, evaluations: int) -> bool:
        """See Budget."""
        return self.max_nfe is None or counts.nfe + evaluations <= self.max_nfe

    def num_tries(self, counts: Counts, cost: int) -> int | None:
        """See Budget."""
        left = []
        if self.max_steps is not None:
            left.append(self.max_steps - counts.num_steps)
        if self.max_nfe is not None:
            left.append((self.max_nfe - counts.nfe) // cost - 1)
        return max(0, min(left)) if left else None
