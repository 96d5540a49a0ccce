"""How time and memory of a training step grow: with depth, batch, state and the number of parameters.

The middle of Table 1's nets alone: residual blocks, or one ODE block with rk4 at fixed steps, of value and gradient
in state and parameters. Stem and head are the same in all of them and grow with none of this but the batch. Depth is
L blocks of the ResNet, and L~ evaluations of RK-Net (direct) and ODE-Net (adjoint, checkpointed).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import pandas as pd
import torch
from torch import Tensor, nn

from nodebench.benchmark.comparison import Setup
from nodebench.benchmark.contestants import (
    Contestant,
    Measured,
    Solved,
    State,
    memory_of,
    run_step,
    solve_net,
)
from nodebench.benchmark.problems import OWN, seeded
from nodebench.benchmark.race import Result, race
from nodebench.benchmark.report import Report, machine
from nodebench.benchmark.rows import to_markdown
from nodebench.benchmark.slopes import fit_slope
from nodebench.models import ConvVectorField, ODEBlock
from nodebench.models.residual import ResidualBlock
from nodebench.ode.settings import AdjointSettings, SolverSettings

METHOD, EVALUATIONS_A_STEP = "rk4", 4
MODELS = (("resnet", ""), ("rknet", "direct"), ("odenet", "adjoint"), ("odenet", "checkpointed"))
QUANTITIES = ("time_ms", "memory_saved_mib", "memory_peak_mib")
COLUMNS = {
    "model": "",
    "gradient": "",
    "axis": "",
    "value": ".0f",
    "nfe": ".0f",
    "time_ms": ".4g",
    "memory_saved_mib": ".4g",
    "memory_peak_mib": ".4g",
}
SLOPE_COLUMNS = {
    "model": "",
    "gradient": "",
    "axis": "",
    "quantity": "",
    "exponent": "z.2f",
    "stderr": ".2f",
}


@dataclass(frozen=True)
class Shape:
    """The sizes of one training step. `depth`: blocks of the ResNet, or evaluations of the others."""

    depth: int = 8
    batch_size: int = 32
    channels: int = 64
    height: int = 6
    width: int = 6


Axes = dict[str, Sequence[Shape]]


def axes_around(base: Shape, depths: Sequence[int], batch_sizes: Sequence[int], sides: Sequence[int]) -> Axes:
    """One size at a time: depth, batch, state (more pixels), and parameters (more channels, as many fewer pixels)."""
    pixels_for_channels = ((16, 12, 12), (32, 12, 6), (64, 6, 6), (128, 6, 3))
    return {
        "depth": [replace(base, depth=depth) for depth in depths],
        "batch": [replace(base, batch_size=size) for size in batch_sizes],
        "state": [replace(base, height=side, width=side) for side in sides],
        "params": [replace(base, channels=c, height=h, width=w) for c, h, w in pixels_for_channels],
    }


FULL = (axes_around(Shape(), (4, 8, 16, 32, 64), (8, 16, 32, 64, 128), (4, 6, 8, 12, 16)), 7)
QUICK = (axes_around(Shape(batch_size=4), (4, 8, 16), (2, 4, 8), (4, 6, 8)), 2)


@dataclass(frozen=True)
class Case:
    """One point of one curve."""

    model: str
    gradient: str
    axis: str
    value: int
    contestant: Contestant


def scaling(setup: Setup) -> Report:
    """The growth of every model along every axis, and the exponents of straight lines through the logarithms."""
    axes, num_rounds = QUICK if setup.quick else FULL
    cases = list(make_cases(axes, setup.device))
    results = race([case.contestant for case in cases], num_rounds, setup.tells("scaling"))
    setup.tells("scaling")("memory")
    points = pd.DataFrame([_row(*pair) for pair in zip(cases, results, strict=True)], columns=list(COLUMNS))
    slopes = fit_slopes(points)
    page = _page(points, slopes, num_rounds, setup)
    return Report("scaling", page, {"scaling": points, "slopes": slopes})


def make_cases(axes: Axes, device: torch.device) -> Iterator[Case]:
    """Every model at every point of every axis. Sizes that two axes share are measured for each."""
    for axis, shapes in axes.items():
        for model, gradient in MODELS:
            for shape in shapes:
                middle = make_middle(model, gradient, shape).to(device)
                value = {
                    "depth": shape.depth,
                    "batch": shape.batch_size,
                    "state": shape.channels * shape.height * shape.width,
                    "params": sum(parameter.numel() for parameter in middle.parameters()),
                }[axis]
                name = f"{model} {gradient} at {axis} {value}"
                yield Case(model, gradient, axis, value, _contestant(name, gradient, middle, shape, device))


def make_middle(model: str, gradient: str, shape: Shape) -> nn.Module:
    """L residual blocks, or an ODE block of L~ evaluations. Raises ValueError for evaluations that no steps make."""
    with seeded():
        if model == "resnet":
            return nn.Sequential(*(ResidualBlock(shape.channels) for _ in range(shape.depth)))
        num_steps, rest = divmod(shape.depth, EVALUATIONS_A_STEP)
        if rest or not num_steps:
            raise ValueError(f"{shape.depth} evaluations; {METHOD} makes {EVALUATIONS_A_STEP} a step")
        solver = SolverSettings(method=METHOD, dt=1 / num_steps, adjoint=AdjointSettings(norm="state"))
        return ODEBlock(ConvVectorField(shape.channels), solver, gradient)


def fit_slopes(points: pd.DataFrame) -> pd.DataFrame:
    """One exponent a model, gradient, axis and quantity; none for a quantity that was not measured."""
    slopes = []
    for key, group in points.groupby(["model", "gradient", "axis"], sort=False):
        for quantity in QUANTITIES:
            if group[quantity].notna().all():
                slope = fit_slope(group["value"].tolist(), group[quantity].tolist())
                slopes.append((*key, quantity, slope.exponent, slope.stderr))
    return pd.DataFrame(slopes, columns=list(SLOPE_COLUMNS))


def _contestant(
    name: str, gradient: str, middle: nn.Module, shape: Shape, device: torch.device
) -> Contestant:
    with seeded(1):
        y0 = torch.randn(shape.batch_size, shape.channels, shape.height, shape.width).to(device)
    y0.requires_grad_()  # as the stem of the whole net would have it
    weights = torch.linspace(-1, 1, math.prod(y0.shape[1:]), device=device).view(y0.shape[1:])
    leaves = [y0, *middle.parameters()]

    def forward() -> Solved:
        return solve_net(middle, y0)

    def run() -> Measured:
        return run_step(forward, loss, leaves, device)

    def loss(y1: State) -> Tensor:
        assert isinstance(y1, Tensor), "images are one tensor"
        return (weights * y1).sum()

    measure: Callable[[], dict[str, float | None]] = lambda: memory_of(middle, forward, loss, device)  # noqa: E731
    return Contestant(name, OWN, OWN, gradient, run, measure_memory=measure)


def _row(case: Case, result: Result) -> dict[str, object]:
    measure = case.contestant.measure_memory
    return {
        "model": case.model,
        "gradient": case.gradient,
        "axis": case.axis,
        "value": case.value,
        "nfe": result.last.nfe_forward or None,
        "time_ms": result.time_ms,
        **(measure() if measure is not None else {}),
    }


def _page(points: pd.DataFrame, slopes: pd.DataFrame, num_rounds: int, setup: Setup) -> str:
    what = (
        "Time and memory of one training step of the middle of Table 1's nets: residual blocks, or one ODE block "
        f"with {METHOD} at fixed steps; value and gradient, {num_rounds} rounds, every case in turn. `depth` is blocks "
        "for the ResNet and evaluations for RK-Net (direct) and ODE-Net (adjoint, checkpointed); `state` numbers a "
        "sample at a fixed number of parameters, `params` parameters at a fixed state."
    )
    legend = (
        "quantity ~ value^exponent, least squares on logarithms, with the standard error of the exponent. The paper's "
        "Table 1: time O(L), O(L~), O(L~) and memory O(L), O(L~), O(1) in depth."
    )
    return "\n\n".join(
        [
            "# bench scaling",
            what,
            machine(setup.device),
            "## Exponents",
            to_markdown(slopes, SLOPE_COLUMNS),
            legend,
            "## Measurements",
            to_markdown(points, COLUMNS) + "\n",
        ]
    )
