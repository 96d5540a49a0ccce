"""What a solve with own steps hands back: outputs put together at its end, counts by sample, and who failed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nodebench.ode.per_sample.control import Integers
from nodebench.ode.per_sample.step import to_device
from nodebench.ode.status import SolverError


@dataclass
class Gathered:
    """Outputs as they are reached, in pieces: rows (m, n) with the sample and the output that each is."""

    num_samples: int
    num_outputs: int
    pieces: list[Tensor] = field(default_factory=list)
    places: list[Integers] = field(default_factory=list)

    def add(self, values: Tensor, samples: Integers, outputs: Integers) -> None:
        """Rows that are outputs of samples."""
        self.pieces.append(values)
        self.places.append(outputs * self.num_samples + samples)

    @property
    def is_reached(self) -> NDArray[np.bool_]:
        """Which outputs are there, (T, B)."""
        is_there = np.zeros(self.num_outputs * self.num_samples, dtype=bool)
        is_there[np.concatenate(self.places)] = True
        return is_there.reshape(self.num_outputs, self.num_samples)

    def together(self, y0: Tensor) -> Tensor:
        """All outputs (T, B, n), NaN where none was reached; y0 for samples whose every time is the first."""
        places, size = np.concatenate(self.places), self.num_outputs * self.num_samples
        order = np.full(size, len(places), dtype=np.int64)
        order[places] = np.arange(len(places))
        pieces = self.pieces
        if len(places) < size:
            pieces = [*pieces, torch.full_like(y0[:1], torch.nan)]
        ys = torch.cat(pieces).index_select(0, to_device(order, y0))
        return ys.view(self.num_outputs, self.num_samples, -1)


@dataclass
class SampleResult:
    """Outputs (T, B, n), the errors of samples that failed, and the step that each sample's controller wants next."""

    ys: Tensor
    is_reached: NDArray[np.bool_]
    failures: dict[int, SolverError]
    next_steps: NDArray[np.float64]
