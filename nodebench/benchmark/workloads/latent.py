"""The latent ODE of the paper's time series: 100 output times, of the solve alone and of the whole model."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import torch
from torch import Tensor

from nodebench.benchmark.comparison import Effort, Setup, compare, contestants_for
from nodebench.benchmark.contestants import Contestant, Measured, Solved, State, memory_of, run_step
from nodebench.benchmark.libraries import (
    NODEBENCH,
    NODEBENCH_COMPILED,
    TORCHDIFFEQ,
    TORCHODE,
    Library,
    installed,
)
from nodebench.benchmark.problems import OWN, PUBLISHED_BY, Problem, Twin, seeded
from nodebench.benchmark.published import RecognitionRNN
from nodebench.benchmark.race import race
from nodebench.benchmark.ratios import COLUMNS as RATIO_COLUMNS
from nodebench.benchmark.ratios import make_ratios
from nodebench.benchmark.report import Report
from nodebench.benchmark.rows import COLUMNS, make_rows, to_markdown
from nodebench.data.spirals import spirals
from nodebench.data.trajectories import SeriesSet
from nodebench.models.sequences import LatentODE
from nodebench.models.sequences.encoders import RecurrentEncoder

TOL = 1e-5
NOISE_STD = 0.1  # that of the data
SCALE = (
    2.4  # of the field's weights: about 90 evaluations, as on Table 2's spirals after 1,000 steps of training
)
FULL = (256, 100, Effort(15, (1e-3, 1e-4, 1e-6), num_curve_rounds=3))
QUICK = (16, 20, Effort(2, (1e-3,)))


def latent(setup: Setup) -> Report:
    """Dopri5 at 1e-5 on t from 0 to 2 pi, of the field that the paper's section 5 has."""
    batch_size, num_times, effort = QUICK if setup.quick else FULL
    what = (
        "The ODE of the paper's latent ODE, latent dimension 4, one hidden layer of 20 tanh units, batch "
        f"{batch_size}: its values at {num_times} times on [0, 2 pi), dopri5 at {TOL:g}, half the sum of their squares "
        "over times and dimensions, and the gradient in start and parameters. Weights are "
        f"{SCALE:g} times those of a random start: a solve takes as many evaluations as late in training."
    )
    own = problem(batch_size, num_times, setup.device)
    report = compare("latent", what, own, None, TOL, effort, setup)
    start_rows = rows_at_start(batch_size, num_times, effort.num_rounds, setup)
    rows = model_rows(batch_size, num_times, effort.num_rounds, setup)
    page = "\n\n".join(
        [
            report.page.rstrip("\n"),
            "## At the random start",
            *_tables(start_rows),
            "## The whole model",
            "Value and gradient of the negative ELBO of as many spirals, all of whose points are observed: RNN encoder "
            "of 25 units, this solve, decoder of 20 units and likelihood. The solve alone differs from row to row; "
            "beside it, torchdiffeq's rows of its own field have the encoder of its example, cell by cell.",
            *_tables(rows),
        ]
    )
    tables = {"start": start_rows, "model": rows}
    return replace(report, page=page + "\n", tables=report.tables | tables)


def _tables(rows: pd.DataFrame) -> list[str]:
    """The ratios of rows, where there are any, and the rows."""
    ratios = make_ratios(rows, TOL)
    return [*([to_markdown(ratios, RATIO_COLUMNS)] if len(ratios) else []), to_markdown(rows, COLUMNS)]


def scaled(net: LatentODE, scale: float) -> LatentODE:
    """The net with the weights of its field so many times as large."""
    with torch.no_grad():
        for name, param in net.ode_block.vector_field.named_parameters():
            if name.endswith("weight"):
                param.mul_(scale)
    return net


def problem(batch_size: int, num_times: int, device: torch.device, scale: float = SCALE) -> Problem:
    """Starts drawn from the prior, N(0, I)."""
    with seeded():
        net = scaled(LatentODE(), scale)
        y0 = torch.randn(batch_size, 4).to(device).requires_grad_()

    def loss(zs: State) -> Tensor:
        assert isinstance(zs, Tensor), "this problem's state is one tensor"
        return 0.5 * zs.square().sum() / batch_size

    field = net.ode_block.vector_field.to(device)
    return Problem(field, OWN, y0, times_of(num_times), loss, twin=_twin)


def times_of(num_times: int) -> tuple[float, ...]:
    """So many equally spaced times on [0, 2 pi)."""
    return tuple(2 * math.pi * i / num_times for i in range(num_times))


class RacedLatentODE(LatentODE):
    """A latent ODE whose latent state a library solves for; `solved` is the last such solve."""

    def __init__(self, library: Library, gradient: str) -> None:
        super().__init__()
        self.library, self.solve_gradient = library, gradient
        self.solved: Solved | None = None

    def latent(self, z0: Tensor, times: Tensor, t0: float, others: Tensor | None = None) -> Tensor:
        """See LatentODE; `times` begin at t0."""
        solve = Problem(self.ode_block.vector_field, OWN, z0, tuple(times.tolist()))
        self.solved = self.library.solve(solve, TOL, self.solve_gradient)
        outputs = self.solved.outputs
        assert isinstance(outputs, Tensor), "a latent state is one tensor"
        return torch.cat([z0[None], outputs]).transpose(0, 1)

    def negative_elbo(self, seen: SeriesSet) -> Solved:
        """Its mean over the series, with the counts of the solve; the noise is the same in every call."""
        losses = self.losses(seen, 0.0, NOISE_STD, torch.Generator().manual_seed(0))
        assert self.solved is not None, "the loss is of a solve"
        return self.solved._replace(outputs=losses.negative_elbo.mean())


def rows_at_start(batch_size: int, num_times: int, num_rounds: int, setup: Setup) -> pd.DataFrame:
    """The rows of the solve alone with the field's weights as they are drawn, at this tolerance alone."""
    own = problem(batch_size, num_times, setup.device, scale=1.0)
    contestants = contestants_for(own, None, TOL, setup.compiles)
    return make_rows(race(contestants, num_rounds, setup.tells("latent, random start")), [own])


def model_rows(batch_size: int, num_times: int, num_rounds: int, setup: Setup) -> pd.DataFrame:
    """A row for every library and gradient mode, each with a model of its own of the same weights.

    torchdiffeq takes part a second time, with the encoder of its example.
    """
    data = spirals(num_observed=num_times, num_points=num_times, num_train=batch_size, num_test=1, horizon=1)
    seen = data.train.to(setup.device)
    compiled = (NODEBENCH_COMPILED,) if setup.compiles else ()
    contestants = [
        _contestant(library, gradient, OWN, seen, setup.device)
        for library in installed(NODEBENCH, *compiled, TORCHDIFFEQ, TORCHODE)
        for gradient in library.gradients
    ]
    contestants += [
        _contestant(library, gradient, PUBLISHED_BY, seen, setup.device)
        for library in installed(TORCHDIFFEQ)
        for gradient in library.gradients
    ]
    return make_rows(race(contestants, num_rounds, setup.tells("latent, whole model")), [])


def make_net(library: Library, gradient: str, field_name: str) -> RacedLatentODE:
    """The model whose solves a library makes, with our encoder, or with that of torchdiffeq's example."""
    with seeded():
        net = RacedLatentODE(library, gradient)
        scaled(net, SCALE)
    if field_name == PUBLISHED_BY:
        assert isinstance(net.encoder, RecurrentEncoder), "a latent ODE's default encoder"
        net.add_module("encoder", RecognitionRNN(net.encoder, net.to_posterior))
    return net


def _contestant(
    library: Library, gradient: str, field_name: str, seen: SeriesSet, device: torch.device
) -> Contestant:
    net = make_net(library, gradient, field_name).to(device)

    def forward() -> Solved:
        return net.negative_elbo(seen)

    def run() -> Measured:
        return run_step(forward, _itself, list(net.parameters()), device)

    return Contestant(
        name=f"{library.name} {gradient}, {library.execution}, in the whole model of {field_name}",
        library_name=library.name,
        field=field_name,
        gradient=gradient,
        run=run,
        tol=TOL,
        execution=library.execution,
        measure_memory=lambda: memory_of(net, forward, _itself, device),
    )


def _itself(value: State) -> Tensor:
    assert isinstance(value, Tensor), "a loss is one tensor"
    return value


def _twin() -> Twin:
    from nodebench.benchmark import twins

    return twins.latent_field()
