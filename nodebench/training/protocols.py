"""What the training loop asks of a task: batches, a loss, and numbers about the trained module.

A task holds data and a seed and no training state, so that stopping and resuming a run needs nothing from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
from torch import Tensor, nn

Pictures = Mapping[str, np.ndarray]
Item = TypeVar("Item")


class ShowProgress(Protocol):
    """Hands on what is to be worked through, one after the other, and may show how far it is."""

    def __call__(self, items: Sequence[Item], /) -> Iterable[Item]: ...


def show_nothing(items: Sequence[Item], /) -> Iterable[Item]:
    """The items as they are."""
    return items


class NonFiniteValuesError(ArithmeticError):
    """A loss, weights, or what a net gives are NaN or infinite: a number made of them would mean nothing."""


@dataclass(frozen=True)
class SolveCounts:
    """What the ODE solvers did in one training step, all solves together; None where one does not tell its steps.

    Of several processes, whose solves may differ, it is the mean over them.
    """

    nfe_forward: float
    nfe_backward: float
    num_accepted_forward: float | None = None
    num_rejected_forward: float | None = None
    num_accepted_backward: float | None = None
    num_rejected_backward: float | None = None
    nfe_of_samples: Sequence[int] | None = None
    """Forward, of each sample of each solve, where samples had steps of their own."""


ReadCounts = Callable[[], SolveCounts | None]
"""The counts of all solves so far; None for a net without an ODE."""


@dataclass
class StepOutput:
    """The loss of one batch, a 0-d tensor, and what else is worth a column.

    `metrics` is keyed by column name (`error_train`, in percent); 0-d tensors are read once, after backward.
    `weight`: what loss and metrics count by where they are means over parts of a batch; None: num_samples.
    """

    loss: Tensor
    num_samples: int
    metrics: Mapping[str, float | Tensor] = field(default_factory=dict)
    weight: float | Tensor | None = None


class Pace(Protocol):
    """How fast a run is, to one who holds it up."""

    def seconds_a_step(self) -> float:
        """The median of the last steps."""

    def seconds_left(self) -> float:
        """Of all steps that are left."""

    def pause(self, what: str) -> None:
        """Show on the bar what is done in the place of steps."""


Advise = Callable[[nn.Module, Pace], str | None]
"""Asked in the middle of a run, which goes on as if it had not been: the net stays as it is. A line for the screen."""


class Task(Protocol):
    """What is optimised and measured.

    A class of tasks may have further attributes:
    - `columns`, a sequence of nodebench.records.Column: numbers that nodebench does not know are charted by them, and
      are on the screen and in tables;
    - `large_states`, what its nets solve, in words, that is too much for a solver that stores a dense Jacobian;
    - `best_by`, the column of the split "val" whose lowest value tells the best weights; None where nothing is
      held out, and then there is no best checkpoint, and no training.patience;
    - `predictions(module, split, progress)`, what the module says of each sample of a split, as columns of equal
      length, for `nodebench evaluate --predictions`;
    - `precision`, of its net's products while it trains, float32 or bf16, where its class takes it as a keyword;
    - `ends_within_run`, the keys of its config that are a number of training steps, with what follows of one above
      training.num_steps;
    - `size_of(batch)` and `part(batch, rows)`, the rows of a batch and some of them (a slice) as a batch: with these,
      several processes train its nets;
    - `check_model(module)`, which raises ValueError, before a run begins, for a net of its kind that it cannot train.
    """

    name: str

    data_type: ClassVar[type]
    """The kind of data it takes (nodebench.data.Data)."""

    model_type: ClassVar[type[nn.Module]]
    """The kind of module it trains."""

    net_kind: ClassVar[str]
    """What that kind is called. A class of nets that says another `net_kind` of itself is none of them."""

    has_epochs: ClassVar[bool]
    """Whether it passes through a training set, so that a run's length may be given in epochs."""

    sample_unit: str
    """What one sample is called on the screen, in the plural."""

    steps_per_epoch: int
    """Steps between two records. A task counted in steps uses its number of steps a record."""

    @classmethod
    def misfit(cls, data: Any, net: type[nn.Module]) -> tuple[str, str] | None:
        """What data has and nets of a class have that does not go together (`26 classes`, `10 outputs`); else None."""

    def batch(self, step: int) -> Any:
        """The training batch of the given step (from 0): a function of (seed, step) alone."""

    def loss(self, module: nn.Module, batch: Any) -> StepOutput:
        """The loss of a batch, with the graph that backward needs."""

    def counting(self, module: nn.Module) -> AbstractContextManager[ReadCounts]:
        """Open for each training step, and no longer: every solve of the net adds to the counts that it gives.

        They are read after backward. In a step that takes long they are also read from another thread.
        """

    def evaluate(
        self, module: nn.Module, split: str, progress: ShowProgress = show_nothing
    ) -> dict[str, float]:
        """Columns of a split, "val" or "test" (`error_val`, `nfe_eval`); empty if the data has no such split.

        Its batches are taken from `progress`, which shows somebody who waits how many there are.
        Raises NonFiniteValuesError if what the module gives is NaN or infinite.
        """

    def final_metrics(self, module: nn.Module) -> dict[str, Any]:
        """Columns known once a run: num_params, flops_forward, recon_error, recon_ok (None without an ODE)."""

    def pictures(self, module: nn.Module, is_final: bool) -> Pictures:
        """What there is to see, as arrays for pictures.npz: `density` and `samples` (frames, G, G), and so on.

        Of the end of time alone, or with `is_final` of every frame on the way; empty where there is nothing to see.
        A task whose pictures are to be drawn with axis 0 growing downwards has an attribute `z2_grows_down`.
        """
