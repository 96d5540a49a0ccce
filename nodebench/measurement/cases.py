"""What is to be measured, and in which order."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from nodebench.ode.settings import SolverSettings
from nodebench.records.measures import OWN, Key

BATCH_SIZE = 100


@dataclass(frozen=True)
class Case:
    """One solver at one tolerance with one gradient mode, on the first `num_batches` batches of the test set.

    Without `has_backward` it is solved forwards alone, as every case of another `library` is.
    """

    solver: SolverSettings
    gradient: str
    num_batches: int
    has_backward: bool = True
    library: str = OWN

    @property
    def name(self) -> str:
        """The solver as users know it: `dopri5`, `torchdiffeq dopri5`."""
        return self.solver.method if self.library == OWN else f"{self.library} {self.solver.method}"

    def key(self, batch: int) -> Key:
        return Key(self.library, self.solver.method, self.solver.rtol, self.gradient, batch)


def order(cases: Sequence[Case], done: Collection[Key] = ()) -> list[tuple[Case, int]]:
    """The (case, batch) that are left to do, batch by batch.

    So the reference of a batch is made once and need not be stored, and what an interruption leaves is comparable.
    """
    num_batches = max((case.num_batches for case in cases), default=0)
    return [
        (case, batch)
        for batch in range(num_batches)
        for case in cases
        if batch < case.num_batches and case.key(batch) not in done
    ]
