"""Density matching: a flow q learns a density p that is known up to its normaliser, by minimising KL(q || p)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from nodebench.data import Data, EnergyData
from nodebench.models.flows import Flow
from nodebench.records import Column
from nodebench.records.declared import density_matching
from nodebench.tasks.flow_pictures import GRID_SIZE, grid_points
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

NUM_SAMPLES = {"val": 10_000, "test": 100_000}
INITIAL_BETA = 0.01


class Batch(NamedTuple):
    """noise: standard normal (N, 2), which a flow scales to its base; beta: the weight of the energy."""

    noise: Tensor
    beta: float


class DensityMatching(FlowTask[EnergyData]):
    """KL(q || p) = E_q[log q + U + wall] + ln Z in nats, over fresh samples of the flow q (Chen et al. 2018, fig. 4).

    `anneal_steps`: the energy's weight is min(1, 0.01 + step / anneal_steps) (Rezende and Mohamed 2015); 0: always 1.
    While it rises the loss is no KL, so `kl_train` is taken with weight 1.
    """

    name = "density_matching"
    data_type: ClassVar[type[Data]] = EnergyData
    columns: ClassVar[Sequence[Column]] = density_matching.COLUMNS
    best_by: ClassVar[str] = "kl_val"
    ends_within_run: ClassVar[Mapping[str, str]] = {
        "anneal_steps": "the energy would never have its whole weight"
    }
    z2_grows_down: ClassVar[bool] = True
    """As in the paper's Figure 4."""

    def __init__(
        self,
        data: EnergyData,
        seed: int,
        device: torch.device | str,
        steps_per_record: int = 250,
        num_frames: int = 1,
        anneal_steps: int = 0,
    ) -> None:
        super().__init__(data, seed, device, steps_per_record, num_frames)
        self.anneal_steps = anneal_steps

    def batch(self, step: int) -> Batch:
        """The noise of a step, counted from 0, and the weight of the energy."""
        beta = 1.0 if step >= self.anneal_steps else min(1.0, INITIAL_BETA + step / self.anneal_steps)
        return Batch(self._noise("training", self.seed, step, self.data.batch_size), beta)

    def size_of(self, batch: Batch) -> int:
        """See the protocol."""
        return len(batch.noise)

    def part(self, batch: Batch, rows: slice) -> Batch:
        """See the protocol."""
        return batch._replace(noise=batch.noise[rows])

    def loss(self, module: Flow, batch: Batch) -> StepOutput:
        """E_q[log q + beta (U + wall)] + ln Z, the KL at beta = 1, and `kl_train`."""
        _, log_q, potential = self._push(module, batch.noise)
        constant = self.data.log_normaliser
        loss = (log_q + batch.beta * potential).mean() + constant
        kl = loss if batch.beta == 1.0 else (log_q + potential).mean() + constant
        return StepOutput(loss, len(batch.noise), {"kl_train": kl.detach()})

    def evaluate(self, module: Flow, split: str, progress: ShowProgress = show_nothing) -> dict[str, float]:
        """val: `kl_val` over 10,000 samples. test: `kl`, its standard error `kl_stderr` and `mass_in_box`, the share
        of samples in the window, over 100,000 others; `kl_tight`, over the same solved to 1e-7 in float64.

        The samples of a split are the same in every run.
        """
        excesses, inside = [], 0
        with evaluating(module), counting(module) as counts:
            for noise in self._eval_noise(split, progress):
                z, excess = self._excess(module, noise)
                excesses.append(excess)
                inside += int((z.abs() <= self.data.window).all(1).sum())
        kl, stderr = mean_and_stderr(torch.cat(excesses))
        columns = nfe_column(counts(), num_batches=len(excesses))
        if split == "val":
            return {"kl_val": kl, **columns}
        share = inside / NUM_SAMPLES[split]
        return {
            "kl": kl,
            "kl_stderr": stderr,
            "kl_tight": self._kl_tight(module, progress),
            "mass_in_box": share,
            **columns,
        }

    def predictions(
        self, module: Flow, split: str = "test", progress: ShowProgress = show_nothing
    ) -> dict[str, Tensor]:
        """The samples that `evaluate` measures: `z1`, `z2`; `log_q` of the flow and `log_p` of the target, in nats."""
        rows = []
        with evaluating(module):
            for noise in self._eval_noise(split, progress):
                z, log_q, potential = self._push(module, noise)
                rows.append((z, log_q, -potential - self.data.log_normaliser))
        z, log_q, log_p = (torch.cat(column).cpu() for column in zip(*rows, strict=True))
        check_finite(log_q - log_p)
        return {**coordinates(z, "z"), "log_q": log_q, "log_p": log_p}

    def target(self) -> Tensor:
        """p on the pictures' grid."""
        log_p = -self.data.potential(grid_points(self.data.window).double()) - self.data.log_normaliser
        return log_p.exp().view(GRID_SIZE, GRID_SIZE)

    def _kl_tight(self, module: Flow, progress: ShowProgress) -> float:
        reference = module.reference_copy(TIGHT_TOLERANCE)
        with evaluating(reference):
            excesses = [
                self._excess(reference, noise.double())[1] for noise in self._eval_noise("test", progress)
            ]
        return mean_and_stderr(torch.cat(excesses))[0]

    def _eval_noise(self, split: str, progress: ShowProgress) -> Iterator[Tensor]:
        """The noise of a split, the same in every run, in batches. Raises ValueError for an unknown split."""
        if split not in NUM_SAMPLES:
            raise ValueError(f"`split` is {split!r}; allowed: {', '.join(NUM_SAMPLES)}")
        for index in progress(range(NUM_SAMPLES[split] // EVAL_BATCH_SIZE)):
            yield self._noise(split, 0, index, EVAL_BATCH_SIZE)

    def _excess(self, module: Flow, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Samples and their log q - log p, whose mean is the KL."""
        z, log_q, potential = self._push(module, noise)
        return z, log_q + potential + self.data.log_normaliser

    def _push(self, module: Flow, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Samples (N, 2), their log q and U + wall, both (N,)."""
        z, log_q = module.push_with_log_prob(module.base_std * noise)
        return z, log_q, self.data.potential(z)

    def _noise(self, purpose: str, seed: int, index: int, n: int) -> Tensor:
        return torch.randn(n, 2, generator=generator(f"{purpose} noise", seed, index)).to(self.device)
