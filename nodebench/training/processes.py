"""Several processes that train one net, as torchrun starts them: each computes some rows of each batch.

All draw the same batch, and each takes its rows. The loss is that of the whole batch, so each differentiates its own
times its share of the weight; the gradients are summed in one vector, and every process takes the same optimizer step.
The first one, the leader, is an ordinary run with a folder; the others follow its steps. docs/decisions/0027 says why
this is no DistributedDataParallel.
"""

from __future__ import annotations

import io
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from nodebench.ranks import Share, of_batch
from nodebench.training.interruption import InterruptGuard
from nodebench.training.means import COUNTS
from nodebench.training.meetings import About, Meetings
from nodebench.training.protocols import SolveCounts, StepOutput, Task
from nodebench.training.state import TrainingState

_MOST = {"nfe_forward_max": "nfe_forward", "nfe_backward_max": "nfe_backward"}


class Processes(Protocol):
    """All that train one net, as the loop of one of them sees them."""

    @property
    def number(self) -> int: ...

    def cut(self, task: Task, batch: Any) -> Any:
        """The rows of a batch that are this process's."""

    def part(self, task: Task, batch: Any) -> AbstractContextManager[Any]:
        """These rows, and within the context what is drawn and solved is for the whole batch."""

    def agreed(self, output: StepOutput) -> tuple[Tensor, StepOutput]:
        """What to differentiate here, and what the whole batch gives."""

    def summed(
        self, module: nn.Module, counts: SolveCounts | None
    ) -> tuple[SolveCounts | None, dict[str, float]]:
        """Give the parameters the gradients of the whole batch; the counts of the step, and columns beside them."""

    def start(self, state: TrainingState, guard: InterruptGuard) -> None:
        """Give every process the state of the first; a signal that any of them gets is the guard's from now on."""


class Alone:
    """One process, whose rows are all of a batch."""

    number = 1

    def cut(self, task: Task, batch: Any) -> Any:
        """See Processes."""
        return batch

    @contextmanager
    def part(self, task: Task, batch: Any) -> Iterator[Any]:
        """See Processes."""
        yield batch

    def agreed(self, output: StepOutput) -> tuple[Tensor, StepOutput]:
        """See Processes."""
        return output.loss, output

    def summed(
        self, module: nn.Module, counts: SolveCounts | None
    ) -> tuple[SolveCounts | None, dict[str, float]]:
        """See Processes."""
        return counts, {}

    def start(self, state: TrainingState, guard: InterruptGuard) -> None:
        """See Processes."""


class Several:
    """One of several processes, which meet."""

    def __init__(self, meetings: Meetings) -> None:
        self.meetings = meetings
        self._guard: InterruptGuard | None = None

    @property
    def number(self) -> int:
        return self.meetings.place.number

    def cut(self, task: Task, batch: Any) -> Any:
        """See Processes."""
        share = self._share(task, batch)
        return self._rows(task, batch, share)

    @contextmanager
    def part(self, task: Task, batch: Any) -> Iterator[Any]:
        """See Processes."""
        share = self._share(task, batch)
        with of_batch(share):
            yield self._rows(task, batch, share)

    def _share(self, task: Task, batch: Any) -> Share:
        total, place = task.size_of(batch), self.meetings.place  # type: ignore[attr-defined]
        start, stop = (total * rank // place.number for rank in (place.rank, place.rank + 1))
        return Share(start, stop, total, self.meetings)

    def _rows(self, task: Task, batch: Any, share: Share) -> Any:
        return task.part(batch, slice(share.start, share.stop))  # type: ignore[attr-defined]

    def agreed(self, output: StepOutput) -> tuple[Tensor, StepOutput]:
        """See Processes: means by the weights of what each has."""
        own = {"loss": output.loss, **output.metrics}
        weight = _read(output.num_samples if output.weight is None else output.weight)
        told = self.meetings.gather(
            [weight, output.num_samples, *(_read(value) for value in own.values())], About.LOSS
        )
        total = sum(row[0] for row in told)
        loss, *metrics = (
            sum(row[0] / total * row[column] for row in told) for column in range(2, 2 + len(own))
        )
        whole = StepOutput(
            torch.tensor(loss, dtype=torch.float64),
            int(sum(row[1] for row in told)),
            dict(zip(output.metrics, metrics, strict=True)),
        )
        return output.loss * (weight / total), whole

    def summed(
        self, module: nn.Module, counts: SolveCounts | None
    ) -> tuple[SolveCounts | None, dict[str, float]]:
        """See Processes. A parameter that no process's rows used has no gradient, as of one process."""
        parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        received = 0 if self._guard is None or self._guard.received is None else int(self._guard.received)
        numbers = [] if counts is None else [_number(getattr(counts, name)) for name in COUNTS]
        told = self.meetings.gather(
            [received, *(parameter.grad is not None for parameter in parameters), *numbers], About.GRADIENT
        )
        if self._guard is not None and self._guard.received is None and any(row[0] for row in told):
            self._guard.received = signal.Signals(int(max(row[0] for row in told)))
        used = [any(row[1 + i] for row in told) for i in range(len(parameters))]
        self._sum_gradients(
            [parameter for parameter, is_used in zip(parameters, used, strict=True) if is_used]
        )
        return _counts_of([row[1 + len(parameters) :] for row in told], counts)

    def _sum_gradients(self, parameters: list[nn.Parameter]) -> None:
        if not parameters:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        whole = self.meetings.sum(torch.cat([gradient.reshape(-1) for gradient in gradients]))
        for gradient, part in zip(gradients, whole.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view(gradient.shape))

    def start(self, state: TrainingState, guard: InterruptGuard) -> None:
        """See Processes."""
        self._guard = guard
        self.meetings.is_asked_to_stop = lambda: guard.received is not None
        content: bytes | None = None
        if self.meetings.place.rank == 0:
            buffer = io.BytesIO()
            torch.save(state.state_dict(), buffer)
            content = buffer.getvalue()
        content = self.meetings.from_first(content)
        state.load_state_dict(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))


def _counts_of(
    told: list[list[float]], counts: SolveCounts | None
) -> tuple[SolveCounts | None, dict[str, float]]:
    """The mean of each count over the processes, None where one does not tell it, and the most evaluations of one."""
    if counts is None:
        return None, {}
    by_name = dict(zip(COUNTS, zip(*told, strict=True), strict=True))
    means: dict[str, Any] = {name: _mean(values) for name, values in by_name.items()}
    return replace(counts, **means), {column: max(by_name[name]) for column, name in _MOST.items()}


def _mean(values: tuple[float, ...]) -> float | None:
    if min(values) < 0:
        return None
    mean = sum(values) / len(values)
    return int(mean) if mean == int(mean) else mean


def _number(count: float | None) -> float:
    """A count as a number, below 0 where there is none."""
    return -1.0 if count is None else count


def _read(value: float | Tensor) -> float:
    return value.detach().item() if isinstance(value, Tensor) else float(value)
