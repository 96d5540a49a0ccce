"""Training steps of the whole MNIST net against those of torchdiffeq's example, extrapolated to an epoch."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nodebench.benchmark.comparison import Setup
from nodebench.benchmark.contestants import (
    COMPILED,
    EAGER,
    Contestant,
    Measured,
    Solved,
    State,
    flat_gradient,
    memory_of,
    run_step,
    solve_net,
)
from nodebench.benchmark.libraries import TORCHDIFFEQ, installed
from nodebench.benchmark.problems import OWN, PUBLISHED_BY, Problem, last, relative_error, seeded
from nodebench.benchmark.published import ConcatConvField
from nodebench.benchmark.race import race
from nodebench.benchmark.ratios import COLUMNS as RATIO_COLUMNS
from nodebench.benchmark.ratios import LEGEND as RATIO_LEGEND
from nodebench.benchmark.ratios import make_ratios
from nodebench.benchmark.report import Report, left_out, machine
from nodebench.benchmark.rows import COLUMNS as ROW_COLUMNS
from nodebench.benchmark.rows import make_rows, to_markdown
from nodebench.data.mnist import mnist
from nodebench.data.torchvision_images import SHAPES
from nodebench.models import ODENet
from nodebench.ode import odeint
from nodebench.ode.settings import AdjointSettings, SolverSettings

TOL = 1e-3
STEPS_AN_EPOCH = 468  # 60,000 images in batches of 128, the rest dropped
OWN_GRADIENTS = {
    EAGER: ("direct", "adjoint-state", "adjoint-seminorm", "adjoint-full"),
    COMPILED: (
        "direct",
        "adjoint-state",
        "adjoint-seminorm",
    ),  # nobody trains by the full norm: ten times the time
}
EXAMPLE_GRADIENTS = ("direct", "adjoint-full")  # without and with --adjoint
COLUMNS = {**ROW_COLUMNS, "time_epoch_s": ".4g"}
FULL = (128, 40, 1e-7)
QUICK = (8, 2, 1e-5)

Batch = tuple[Tensor, Tensor]  # images (B, 1, 28, 28) in [0, 1], labels (B,)


class ExampleNet(nn.Module):
    """The net of examples/odenet_mnist.py with the weights of `like`: stem, field with a time channel, head."""

    def __init__(self, like: ODENet) -> None:
        super().__init__()
        self.stem = copy.deepcopy(like.stem)
        self.field = ConcatConvField(like.ode_block.vector_field)  # type: ignore[arg-type]
        self.head = copy.deepcopy(like.head)


def epoch(setup: Setup) -> Report:
    """SGD with momentum as in the example, dopri5 at 1e-3; every net trains on the same batches in turn."""
    batch_size, num_steps, reference_tol = QUICK if setup.quick else FULL
    batches, source = load_batches(num_steps + 1, batch_size, setup.device)
    contestants, errors = [], []
    for net, library, gradient, execution in make_nets(setup.device, setup.compiles):
        forward = forward_of(net, gradient)
        setup.tells("epoch")(f"gradient error of {library} {gradient}, {execution}")
        contestants.append(_contestant(net, library, gradient, execution, forward, batches, setup.device))
        errors.append(gradient_error(net, forward, batches[0], reference_tol))
    results = race(contestants, num_steps, setup.tells("epoch"))
    rows = make_rows(results, [])
    rows["error_gradient"] = errors
    rows["time_epoch_s"] = rows["time_ms"] * STEPS_AN_EPOCH / 1e3
    ratios = make_ratios(rows, TOL, across_modes=True)
    paragraphs = [
        "# bench epoch",
        f"{num_steps} training steps of the whole MNIST net, batches of {batch_size} of {source}, dopri5 at {TOL:g}, "
        "SGD with momentum: nodebench's net against that of torchdiffeq's examples/odenet_mnist.py, every net in "
        f"turn; `time_epoch_s` is the median step times {STEPS_AN_EPOCH}. Gradient errors are those of the first "
        "batch at the start, against a float64 solve.",
        machine(setup.device),
        *left_out(),
        *(["## Ratios", to_markdown(ratios, RATIO_COLUMNS), RATIO_LEGEND] if len(ratios) else []),
        "## Times",
        to_markdown(rows, COLUMNS) + "\n",
    ]
    return Report("epoch", "\n\n".join(paragraphs), {"epoch": rows, "ratios": ratios})


def make_nets(device: torch.device, compiles: bool = False) -> Iterator[tuple[nn.Module, str, str, str]]:
    """(net, library, gradient mode, execution) of ours, and of the example where torchdiffeq is installed.

    All have the same weights. `compiles`: ours take part a second time, with their steps compiled.
    """
    for execution in (EAGER, COMPILED) if compiles else (EAGER,):
        for gradient in OWN_GRADIENTS[execution]:
            net = _own_net(gradient)
            net.ode_block.solver = replace(net.ode_block.solver, compile=execution == COMPILED)
            yield net.to(device), OWN, gradient, execution
    if installed(TORCHDIFFEQ):
        for gradient in EXAMPLE_GRADIENTS:
            yield ExampleNet(_own_net(gradient)).to(device), PUBLISHED_BY, gradient, EAGER


def forward_of(net: nn.Module, gradient: str) -> Callable[[Tensor], Solved]:
    """Images to logits, with the counts of the solves on the way."""

    def forward_example(images: Tensor) -> Solved:
        assert isinstance(net, ExampleNet)
        problem = Problem(net.field, PUBLISHED_BY, net.stem(images), (0.0, 1.0))
        solved = TORCHDIFFEQ.solve(problem, TOL, gradient)
        return solved._replace(outputs=net.head(last(solved.outputs)))

    return partial(solve_net, net) if isinstance(net, ODENet) else forward_example


def gradient_error(net: nn.Module, forward: Callable[[Tensor], Solved], batch: Batch, tol: float) -> float:
    """Relative error of the loss's gradient in all parameters against one in float64, solved to `tol`."""
    images, labels = batch
    params = list(net.parameters())
    F.cross_entropy(_tensor(forward(images).outputs), labels).backward()
    gradient = flat_gradient(params)
    for parameter in params:
        parameter.grad = None
    exact = copy.deepcopy(net).double()
    field = exact.ode_block.vector_field if isinstance(exact, ODENet) else exact.field
    solve = {"method": "dopri5", "rtol": tol, "atol": tol, "gradient": "checkpointed"}
    solution = odeint(field, exact.stem(images.double()), (0.0, 1.0), **solve)  # type: ignore[arg-type, operator]
    F.cross_entropy(exact.head(last(solution.ys)), labels).backward()  # type: ignore[operator]
    return relative_error(gradient, flat_gradient(exact.parameters()))


def load_batches(num_batches: int, batch_size: int, device: torch.device) -> tuple[list[Batch], str]:
    """Batches of MNIST's training set, or of noise where its files are missing, and the name of what they are of."""
    root = os.environ.get("NODEBENCH_DATA", "data")
    num_images = num_batches * batch_size
    if all((Path(root).expanduser() / "MNIST" / "raw" / name).is_file() for name in SHAPES):
        train = mnist(root, val_size=0, augment="none").train
        images, labels, source = train.images[:num_images] / 255, train.labels[:num_images], "MNIST"
    else:
        with seeded():
            images, labels = torch.rand(num_images, 1, 28, 28), torch.randint(10, (num_images,))
        source = "noise, as MNIST's files are not there"
    batches = zip(images.to(device).split(batch_size), labels.to(device).split(batch_size), strict=True)
    return list(batches), source


def _own_net(gradient: str) -> ODENet:
    mode, _, norm = gradient.partition("-")
    adjoint = AdjointSettings(norm=norm) if norm else AdjointSettings()
    with seeded():
        return ODENet(gradient=mode, solver=SolverSettings(rtol=TOL, atol=TOL, adjoint=adjoint))


def _contestant(
    net: nn.Module,
    library: str,
    gradient: str,
    execution: str,
    forward: Callable[[Tensor], Solved],
    batches: list[Batch],
    device: torch.device,
) -> Contestant:
    params = list(net.parameters())
    optimizer = torch.optim.SGD(params, lr=0.1 * len(batches[0][0]) / 128, momentum=0.9)
    steps = count()

    def run() -> Measured:
        images, labels = batches[next(steps) % len(batches)]
        return run_step(lambda: forward(images), cross_entropy(labels), params, device, optimizer.step)

    def cross_entropy(labels: Tensor) -> Callable[[State], Tensor]:
        return lambda logits: F.cross_entropy(_tensor(logits), labels)

    images, labels = batches[0]
    return Contestant(
        name=f"{library} {gradient}, {execution}",
        library_name=library,
        field=library,
        gradient=gradient,
        run=run,
        tol=TOL,
        execution=execution,
        measure_memory=lambda: memory_of(net, lambda: forward(images), cross_entropy(labels), device),
    )


def _tensor(state: State) -> Tensor:
    assert isinstance(state, Tensor), "logits are one tensor"
    return state
