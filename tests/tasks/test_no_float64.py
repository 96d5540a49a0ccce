"""A training step makes no float64 tensor, which mps does not have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nodebench.data import ImageData, ImageSet
from nodebench.data.energies import u3
from nodebench.data.toy_densities import eight_gaussians
from nodebench.models import ODENet
from nodebench.models.flows import CNF, FFJORD, ContinuousFlow
from nodebench.ode.settings import SolverSettings
from nodebench.tasks.classification import Classification
from nodebench.tasks.density import Density
from nodebench.tasks.density_matching import DensityMatching


class _Float64Watch(TorchDispatchMode):
    """Notes every operation that returns a float64 tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if any(isinstance(leaf, Tensor) and leaf.dtype == torch.float64 for leaf in tree_leaves(result)):
            self.found.append(str(func))
        return result


def _task() -> Classification:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (4, 1, 28, 28), dtype=torch.uint8, generator=generator)
    split = ImageSet(images, torch.arange(4))
    data = ImageData("toy", split, None, split, num_classes=10, augment="affine", batch_size=4)
    return Classification(data, seed=0, device="cpu", label_smoothing=0.05)


@pytest.mark.parametrize(
    ("gradient", "solver"),
    [
        ("adjoint", SolverSettings(rtol=1e-2, atol=1e-2)),
        ("checkpointed", SolverSettings(rtol=1e-2, atol=1e-2)),
        ("direct", SolverSettings(rtol=1e-2, atol=1e-2)),
        ("adjoint", SolverSettings(method="rk4", dt=0.5)),
        ("direct", SolverSettings(method="implicit_adams", dt=0.25)),
    ],
)
def test_a_training_step_and_an_evaluation_make_no_float64_tensor(
    gradient: str, solver: SolverSettings
) -> None:
    torch.manual_seed(0)
    task, net = _task(), ODENet(gradient=gradient, solver=solver)
    optimizer = torch.optim.AdamW(net.parameters())
    with _Float64Watch() as watch:
        task.loss(net, task.batch(0)).loss.backward()
        optimizer.step()
        task.evaluate(net, "test")
    assert watch.found == []


@pytest.mark.parametrize("gradient", ["adjoint", "direct"])
@pytest.mark.parametrize("flow_type", [CNF, FFJORD])
def test_a_training_step_of_a_flow_makes_no_float64_tensor(
    flow_type: type[CNF] | type[FFJORD], gradient: str
) -> None:
    torch.manual_seed(0)
    matching = DensityMatching(u3(batch_size=4), seed=0, device="cpu")
    assert matching.data.log_normaliser > 0  # computed once, on the CPU, in float64
    flow: ContinuousFlow = flow_type(gradient=gradient, solver=SolverSettings(rtol=1e-2, atol=1e-2))
    optimizer = torch.optim.Adam(flow.parameters())
    tasks: list[Any] = [matching, Density(eight_gaussians(batch_size=4), seed=0, device="cpu")]
    for task in tasks:
        with _Float64Watch() as watch:
            task.loss(flow, task.batch(0)).loss.backward()
            optimizer.step()
        assert watch.found == []


def test_the_watch_sees_a_float64_tensor() -> None:
    with _Float64Watch() as watch:
        torch.ones(2) * torch.ones(2, dtype=torch.float64)
    assert watch.found != []
