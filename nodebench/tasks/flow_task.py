"""What the two tasks of flows share: counted in steps, measured by solves and pictures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn

from nodebench.data import Data, DensityData, EnergyData
from nodebench.models.flows import ContinuousFlow, Flow
from nodebench.tasks.flow_pictures import flow_pictures
from nodebench.tasks.generators import generator
from nodebench.tasks.measuring import counting, evaluating, flops_of, recon_columns
from nodebench.training.protocols import NonFiniteValuesError, Pictures, ReadCounts, StepOutput

EVAL_BATCH_SIZE = 10_000
RECON_POINTS = 2000
TIGHT_TOLERANCE = 1e-7


FlowData = TypeVar("FlowData", DensityData, EnergyData)


class FlowTask(ABC, Generic[FlowData]):
    """A flow in training on `data`. It has no epochs: a record is written every `steps_per_record` steps.

    `num_frames`: how many times on the way, evenly spaced up to the end, the last pictures show.
    """

    name: str
    data_type: ClassVar[type[Data]]
    model_type: ClassVar[type[nn.Module]] = Flow
    net_kind: ClassVar[str] = Flow.net_kind
    has_epochs: ClassVar[bool] = False
    large_states: ClassVar[str] = f"an evaluation's batch of {EVAL_BATCH_SIZE:,} points"
    sample_unit = "samples"

    def __init__(
        self,
        data: FlowData,
        seed: int,
        device: torch.device | str,
        steps_per_record: int = 250,
        num_frames: int = 1,
    ) -> None:
        self.data: FlowData = data
        self.seed = seed
        self.device = torch.device(device)
        self.steps_per_epoch = steps_per_record
        self.num_frames = num_frames

    @classmethod
    def misfit(cls, data: FlowData, net: type[nn.Module]) -> tuple[str, str] | None:
        """None: a flow is made for the dimensions of its data."""
        return None

    @abstractmethod
    def batch(self, step: int) -> Any:
        """See the protocol."""

    @abstractmethod
    def loss(self, module: Flow, batch: Any) -> StepOutput:
        """See the protocol."""

    @abstractmethod
    def target(self) -> Tensor:
        """What the flow is to become, on the pictures' grid: a density (G, G)."""

    def counting(self, module: nn.Module) -> AbstractContextManager[ReadCounts]:
        """See the protocol."""
        return counting(module)

    def final_metrics(self, module: Flow) -> dict[str, Any]:
        """num_params; flops_forward, of one sample as its share of a batch's loss; recon_error and recon_ok.

        The reconstruction is of 2,000 points of the base, through time and back.
        """
        batch = self.batch(0)
        return {
            "num_params": sum(parameter.numel() for parameter in module.parameters()),
            "flops_forward": round(flops_of(module, lambda: self.loss(module, batch)) / self.data.batch_size),
            **self._reconstruct(module),
        }

    def pictures(self, module: Flow, is_final: bool) -> Pictures:
        """See flow_pictures; `target` beside, on the same grid, (G, G) float32."""
        frames = range(1, self.num_frames + 1) if is_final else (self.num_frames,)
        with evaluating(module):
            pictures = flow_pictures(module, self.data.window, [frame / self.num_frames for frame in frames])
        return {**pictures, "target": self.target().float().numpy()} if pictures else {}

    def _reconstruct(self, module: Flow) -> dict[str, Any]:
        if not isinstance(module, ContinuousFlow):
            return recon_columns([])
        z0 = module.draw_base(RECON_POINTS, generator("reconstruction", 0, 0))
        with evaluating(module):
            return recon_columns([module.reconstruction_error(z0)])


def mean_and_stderr(values: Tensor) -> tuple[float, float]:
    """The mean of independent values (N,) and its standard error, s / sqrt(N), in float64; of one value, 0.

    Raises NonFiniteValuesError if one of them is NaN or infinite.
    """
    check_finite(values)
    values = values.cpu().double()
    stderr = float(values.std() / len(values) ** 0.5) if len(values) > 1 else 0.0
    return float(values.mean()), stderr


def coordinates(points: Tensor, name: str) -> dict[str, Tensor]:
    """The columns of points (N, dim), on the CPU: `x1`, `x2`, ..."""
    return {f"{name}{number}": column for number, column in enumerate(points.cpu().unbind(1), start=1)}


def check_finite(values: Tensor) -> None:
    """Raises NonFiniteValuesError if a log-density (N,) is NaN or infinite."""
    if num_bad := int((~values.isfinite()).sum()):
        raise NonFiniteValuesError(
            f"the flow gives a log-density of NaN or infinity at {num_bad:,} of {len(values):,} points"
        )
