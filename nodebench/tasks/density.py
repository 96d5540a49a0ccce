"""Density estimation: a flow learns a density that is known by samples, by maximum likelihood."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from nodebench.data import Data, DensityData
from nodebench.models.flows import Flow
from nodebench.records import Column
from nodebench.records.declared import density
from nodebench.tasks.flow_pictures import GRID_SIZE, NUM_SAMPLES, histogram
from nodebench.tasks.flow_task import (
    EVAL_BATCH_SIZE,
    TIGHT_TOLERANCE,
    FlowTask,
    check_finite,
    coordinates,
    mean_and_stderr,
)
from nodebench.tasks.generators import generator
from nodebench.tasks.measuring import counting, evaluating, nfe_column
from nodebench.training.protocols import ShowProgress, StepOutput, show_nothing


class Density(FlowTask[DensityData]):
    """NLL = -E_data[log q] in nats, the data solved back to the base (Chen et al. 2018, section 4.1, fig. 5)."""

    name = "density"
    data_type: ClassVar[type[Data]] = DensityData
    columns: ClassVar[Sequence[Column]] = density.COLUMNS
    best_by: ClassVar[str] = "nll_val"

    def batch(self, step: int) -> Tensor:
        """The points (N, dim) of a step, counted from 0."""
        return self.data.draw("train", self.data.batch_size, generator("data", self.seed, step)).to(
            self.device
        )

    def size_of(self, batch: Tensor) -> int:
        """See the protocol."""
        return len(batch)

    def part(self, batch: Tensor, rows: slice) -> Tensor:
        """See the protocol."""
        return batch[rows]

    def loss(self, module: Flow, batch: Tensor) -> StepOutput:
        """The mean negative log-likelihood of the points, and the same as `nll_train`."""
        loss = -module.log_prob(batch).mean()
        return StepOutput(loss, len(batch), {"nll_train": loss.detach()})

    def evaluate(self, module: Flow, split: str, progress: ShowProgress = show_nothing) -> dict[str, float]:
        """val: `nll_val`. test: `nll`, its standard error `nll_stderr` over the points, and `nll_tight`, solved to
        1e-7 in float64. 10,000 held-out points each (all, if a file has fewer), the same in every run.
        """
        points = self._held_out(split)
        with counting(module) as counts:
            nll, stderr = _nll(module, points, progress)
        columns = nfe_column(counts(), num_batches=1)
        if split == "val":
            return {"nll_val": nll, **columns}
        reference = module.reference_copy(TIGHT_TOLERANCE)
        nll_tight, _ = _nll(reference, points.double(), progress)
        return {"nll": nll, "nll_stderr": stderr, "nll_tight": nll_tight, **columns}

    def predictions(
        self, module: Flow, split: str = "test", progress: ShowProgress = show_nothing
    ) -> dict[str, Tensor]:
        """The held-out points that `evaluate` measures: coordinates `x1`, `x2`, ... and `log_prob` in nats."""
        points = self._held_out(split)
        log_prob = _log_prob(module, points, progress).cpu()
        check_finite(log_prob)
        return {**coordinates(points, "x"), "log_prob": log_prob}

    def target(self) -> Tensor:
        """A histogram of held-out points, as a density."""
        points = self.data.draw("test", NUM_SAMPLES, generator("target", 0, 0))
        counts = torch.from_numpy(histogram(points, self.data.window).astype("float64"))
        return counts / (len(points) * (2 * self.data.window / GRID_SIZE) ** 2)

    def _held_out(self, split: str) -> Tensor:
        if split not in ("val", "test"):
            raise ValueError(f"`split` is {split!r}; allowed: val, test")
        return self.data.draw(split, EVAL_BATCH_SIZE, generator(f"held-out {split}", 0, 0)).to(self.device)


def _nll(module: Flow, points: Tensor, progress: ShowProgress) -> tuple[float, float]:
    """Mean and standard error of -log q over the points."""
    return mean_and_stderr(-_log_prob(module, points, progress))


def _log_prob(module: Flow, points: Tensor, progress: ShowProgress) -> Tensor:
    """log q of the points (N,), which are solved as one batch."""
    with evaluating(module):
        (log_prob,) = [module.log_prob(batch) for batch in progress([points])]
    return log_prob
