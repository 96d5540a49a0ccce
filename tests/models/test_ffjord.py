from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from nodebench.models.flows import FFJORD, ConcatSquashField
from nodebench.models.flows.ffjord import ConcatSquash
from nodebench.models.ode_block import recorded_solves
from nodebench.ode.settings import SolverSettings

RK4 = SolverSettings(method="rk4", dt=0.5)
TIGHT = SolverSettings(rtol=1e-8, atol=1e-8)
NOISES = pytest.mark.parametrize("noise", ["rademacher", "gaussian"])
TIME = torch.tensor(0.6, dtype=torch.float64)


def make_flow(divergence: str = "hutchinson", solver: SolverSettings = RK4, **settings: Any) -> FFJORD:
    torch.manual_seed(0)
    flow = FFJORD(hidden_dims=(8, 8), divergence=divergence, solver=solver, **settings).double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.mul_(2)
    return flow


def field_of(flow: FFJORD) -> ConcatSquashField:
    field = flow.ode_block.vector_field
    assert isinstance(field, ConcatSquashField)
    return field


def some_points(n: int = 6, dim: int = 2) -> Tensor:
    return torch.randn(n, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def state(points: Tensor) -> Tensor:
    """The solver's state of points (N, D), with something in the log-determinant, which no field depends on."""
    return torch.cat([points.T, torch.full((1, len(points)), 3.0, dtype=points.dtype)])


def jacobians(field: ConcatSquashField, points: Tensor) -> Tensor:
    """df/dz at each of the points, (N, D, D), by autograd."""

    def velocity(z: Tensor) -> Tensor:
        return field(TIME, state(z[None]))[:-1, 0]

    return torch.stack([torch.autograd.functional.jacobian(velocity, z) for z in points])


@pytest.fixture
def noises(monkeypatch: pytest.MonkeyPatch) -> list[Tensor | None]:
    """The noise of each evaluation of a concatsquash field, None for the exact divergence."""
    seen: list[Tensor | None] = []
    at_times = ConcatSquashField.at_times

    def spied(evaluate: Callable[..., Tensor], y: Tensor, noise: Tensor | None = None) -> Tensor:
        seen.append(noise)
        return evaluate(y, noise)

    monkeypatch.setattr(
        ConcatSquashField, "at_times", lambda self, ts: [partial(spied, f) for f in at_times(self, ts)]
    )
    return seen


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_the_exact_divergence_is_the_trace_of_the_jacobian(dim: int) -> None:
    field, points = field_of(make_flow("exact", dim=dim)), some_points(dim=dim)
    expected = jacobians(field, points).diagonal(dim1=1, dim2=2).sum(1)
    torch.testing.assert_close(field(TIME, state(points))[-1], expected, rtol=0, atol=1e-13)
    assert expected.abs().max() > 0.01


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_hutchinsons_estimate_is_the_quadratic_form_of_its_noise(dim: int) -> None:
    field, points = field_of(make_flow(dim=dim)), some_points(dim=dim)
    noise = some_points(12, dim)[6:].T
    expected = torch.einsum("in,nij,jn->n", noise, jacobians(field, points), noise)
    dy = field(TIME, state(points), noise)
    torch.testing.assert_close(dy[-1], expected, rtol=0, atol=1e-13)
    torch.testing.assert_close(dy[:-1], field(TIME, state(points))[:-1])


def test_the_layers_are_concatsquash_with_tanh_between() -> None:
    field, points = field_of(make_flow("exact")), some_points()
    x = points
    for i, layer in enumerate(field.layers):
        assert isinstance(layer, ConcatSquash)
        t = TIME.reshape(1, 1)
        x = layer.linear(x) * torch.sigmoid(layer.gate(t)) + layer.shift(t)
        x = torch.tanh(x) if i < len(field.layers) - 1 else x
    torch.testing.assert_close(field(TIME, state(points))[:-1].T, x)


def test_all_times_at_once_are_the_field_at_each_time() -> None:
    field, y = field_of(make_flow()), state(some_points())
    times = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    noise = some_points().T
    stage_fields = field.at_times(times)
    assert len(stage_fields) == 3
    for t, stage_field in zip(times, stage_fields, strict=True):
        torch.testing.assert_close(stage_field(y, noise), field(t, y, noise))
    assert not torch.allclose(stage_fields[0](y), stage_fields[2](y))


def test_the_mean_estimate_over_all_signs_is_the_exact_log_determinant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Every sign pattern of Rademacher noise once: their mean is the expectation itself, also through a solve.
    flow, points = make_flow(), some_points(3)
    signs = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=2)), dtype=torch.float64)
    monkeypatch.setattr(flow, "field_args", lambda like: (signs.repeat(3, 1).T,))
    estimates = flow.push(points.repeat_interleave(4, 0))[1].view(3, 4)
    monkeypatch.undo()
    exact = flow.eval().push(points)[1]
    torch.testing.assert_close(estimates.mean(1), exact, rtol=0, atol=1e-12)
    assert (estimates - exact[:, None]).abs().max() > 1e-3


@NOISES
@torch.no_grad()
def test_the_mean_of_many_estimates_is_the_exact_log_density(noise: str) -> None:
    flow, n = make_flow(noise=noise), 20_000
    for x in some_points(2):
        estimates = flow.train().log_prob(x.expand(n, 2))
        exact = flow.eval().log_prob(x[None])
        error = float(estimates.std()) / math.sqrt(n)
        assert error > 0
        assert float(estimates.mean()) == pytest.approx(float(exact), abs=5 * error)


@NOISES
def test_noise_is_drawn_once_a_solve_and_used_at_every_evaluation(
    noise: str, noises: list[Tensor | None]
) -> None:
    flow, points = make_flow(noise=noise), some_points()
    drawn = []
    for solve in (flow.push, flow.pull, lambda z0: flow.trajectory(z0, [0.3, 0.5, 1.0])):
        noises.clear()
        with recorded_solves(flow) as solves:
            solve(points)
        (stats,) = solves
        assert len(noises) == stats.forward.nfe > 1
        first = noises[0]
        assert first is not None
        assert first.shape == (2, 6)
        assert all(other is not None and torch.equal(other, first) for other in noises)
        drawn.append(first)
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[1], drawn[2])


@NOISES
@pytest.mark.parametrize("gradient", ["checkpointed", "adjoint"])
def test_the_backward_pass_uses_the_noise_of_its_solve(
    noise: str, gradient: str, noises: list[Tensor | None]
) -> None:
    flow = make_flow(noise=noise, gradient=gradient)
    loss = flow.log_prob(some_points()).sum()
    first, num_forward = noises[0], len(noises)
    loss.backward()
    assert first is not None
    assert len(noises) > num_forward
    assert all(other is not None and torch.equal(other, first) for other in noises)


@NOISES
def test_evaluation_has_the_exact_divergence(noise: str, noises: list[Tensor | None]) -> None:
    flow, x = make_flow(noise=noise).eval(), some_points()
    torch.testing.assert_close(flow.log_prob(x), make_flow("exact").log_prob(x))
    assert set(noises) == {None}


def test_the_exact_divergence_draws_no_noise(noises: list[Tensor | None]) -> None:
    flow = make_flow("exact").train()
    before = torch.get_rng_state()
    flow.log_prob(some_points())
    assert torch.equal(torch.get_rng_state(), before)
    assert set(noises) == {None}


def test_rademacher_noise_is_of_signs_and_gaussian_noise_is_normal() -> None:
    like, n = torch.zeros(2, 50_000, dtype=torch.float64), 100_000
    (signs,) = make_flow(noise="rademacher").field_args(like)
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    (normal,) = make_flow(noise="gaussian").field_args(like)
    assert len(normal.unique()) > 0.99 * n
    for noise in (signs, normal):
        assert (noise.shape, noise.dtype) == (like.shape, like.dtype)
        assert abs(float(noise.mean())) < 5 / math.sqrt(n)
        assert abs(float((noise[0] * noise[1]).mean())) < 5 / math.sqrt(n / 2)
        assert float(noise.square().mean()) == pytest.approx(1, abs=5 * math.sqrt(2 / n))


def test_the_estimate_is_an_unbiased_one_of_the_gradient_too(monkeypatch: pytest.MonkeyPatch) -> None:
    flow, x = make_flow(solver=TIGHT), some_points(2)
    signs = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=2)), dtype=torch.float64)
    monkeypatch.setattr(flow, "field_args", lambda like: (signs.repeat(2, 1).T,))
    loss = flow.log_prob(x.repeat_interleave(4, 0)).mean()
    estimated = torch.autograd.grad(loss, list(flow.parameters()))
    monkeypatch.undo()
    exact = torch.autograd.grad(flow.eval().log_prob(x).mean(), list(flow.parameters()))
    for mean_estimate, gradient in zip(estimated, exact, strict=True):
        torch.testing.assert_close(mean_estimate, gradient, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"divergence": "exakt"}, "`model.divergence` is 'exakt'; allowed: exact, hutchinson"),
        ({"noise": "uniform"}, "`model.noise` is 'uniform'; allowed: rademacher, gaussian"),
        ({"hidden_dims": ()}, r"`model.hidden_dims` is \[\]; allowed: one width or more, each 1 or above"),
        ({"hidden_dims": (8, 0)}, r"`model.hidden_dims` is \[8, 0\]; allowed: one width or more"),
    ],
)
def test_what_no_ffjord_can_be_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FFJORD(**arguments)
