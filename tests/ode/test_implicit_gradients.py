"""Gradients through implicit steps, by the implicit function theorem, against finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from nodebench.ode import AdjointDriftWarning, SolveStats, odeint
from nodebench.ode.methods.implicit.collocation import COLLOCATION
from nodebench.ode.methods.implicit.tableau import DIAGONAL

METHODS = pytest.mark.parametrize("method", [*DIAGONAL, *COLLOCATION])


class Relaxing(nn.Module):
    """Stiff towards a net's values, with a rate that grows in time."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2)).double()

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        values: Tensor = self.net(y) - 30 * y * (1 + t)
        return values


def loss_of(f: nn.Module, y0: Tensor, ts: Tensor, **options: object) -> Tensor:
    ys = odeint(f, y0, ts, rtol=1e-10, atol=1e-10, **options).ys  # type: ignore[arg-type]
    return (ys**2).sum() + ys[1, 0, 0]


def slope(loss: Callable[[], Tensor], leaf: Tensor, i: int, eps: float = 1e-5) -> float:
    """The central difference of a loss by entry i of a leaf."""
    values = []
    flat = leaf.detach().view(-1)
    start = flat[i].item()
    for shift in (eps, -eps):
        flat[i] = start + shift
        values.append(loss().item())
    flat[i] = start
    return (values[0] - values[1]) / (2 * eps)


@METHODS
@pytest.mark.parametrize("gradient", ["direct", "checkpointed"])
def test_the_gradient_of_a_discrete_solve_is_that_of_finite_differences(method: str, gradient: str) -> None:
    f = Relaxing()
    y0 = torch.tensor([[1.0, -0.5], [0.3, 2.0]], dtype=torch.float64, requires_grad=True)
    ts = torch.tensor([0.0, 0.3, 0.5], dtype=torch.float64, requires_grad=True)

    def loss() -> Tensor:
        return loss_of(f, y0, ts, method=method, gradient=gradient, dt=0.1)

    leaves = [y0, f.net[0].weight]
    grads = torch.autograd.grad(loss(), leaves)
    for leaf, grad in zip(leaves, grads, strict=True):
        for i in (0, 3):
            assert grad.view(-1)[i].item() == pytest.approx(slope(loss, leaf, i), rel=1e-5, abs=1e-9)


@METHODS
def test_checkpointed_is_direct_and_both_reach_the_times(method: str) -> None:
    f = Relaxing()
    y0 = torch.tensor([[1.0, -0.5], [0.3, 2.0]], dtype=torch.float64, requires_grad=True)
    ts = torch.tensor([0.0, 0.3, 0.5], dtype=torch.float64, requires_grad=True)
    leaves = [y0, ts, *f.parameters()]
    direct, checkpointed = (
        torch.autograd.grad(loss_of(f, y0, ts, method=method, gradient=gradient, dt=0.05), leaves)
        for gradient in ("direct", "checkpointed")
    )
    for one, other in zip(direct, checkpointed, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("method", [name for name, tableau in DIAGONAL.items() if tableau.b_err])
def test_the_adjoint_of_a_stiff_solve_is_the_gradient_of_the_system(method: str) -> None:
    f = Relaxing()
    y0 = torch.tensor([[1.0, -0.5], [0.3, 2.0]], dtype=torch.float64, requires_grad=True)
    leaves = [y0, *f.parameters()]
    tol = 1e-3 if method == "implicit_euler" else 1e-6

    def gradient(method: str, gradient: str, tol: float) -> Tensor:
        ys = odeint(f, y0, [0.0, 0.3, 0.5], method=method, gradient=gradient, rtol=tol, atol=tol).ys
        return torch.cat([g.reshape(-1) for g in torch.autograd.grad((ys**2).sum() + ys[1, 0, 0], leaves)])

    expected, found = gradient("dopri5", "direct", 1e-9), gradient(method, "adjoint", tol)
    assert (found - expected).abs().max() < 100 * tol * expected.abs().max()


def decay(rate: Tensor, **options: object) -> Tensor:
    """d y(1) / d rate of y' = -rate y, y(0) = 1: -exp(-rate)."""
    y0 = torch.ones(1, dtype=torch.float64)
    ys = odeint(lambda t, y, k: -k * y, y0, [0.0, 1.0], (rate,), **options).ys  # type: ignore[arg-type]
    return torch.autograd.grad(ys[-1].sum(), rate)[0]


def test_the_adjoint_of_a_fast_decay_is_right_or_says_that_it_is_not() -> None:
    rate = torch.tensor(50.0, dtype=torch.float64, requires_grad=True)
    with pytest.warns(AdjointDriftWarning, match="checkpointed"):
        assert decay(rate, method="dopri5", gradient="adjoint").abs() > 1e-6
    for gradient in ("adjoint", "checkpointed", "direct"):
        assert decay(rate, method="kvaerno5", gradient=gradient).abs() < 1e-6
    assert decay(rate, method="dopri5", gradient="checkpointed").abs() < 1e-3  # of the discrete solve


@pytest.mark.parametrize("steps", ["shared", "per_sample"])
def test_the_adjoint_of_samples_warns_of_those_that_decay_fast(steps: str) -> None:
    rates = torch.tensor([[1.0], [50.0], [2.0]], dtype=torch.float64, requires_grad=True)
    ys = odeint(lambda t, y, k: -k * y, torch.ones_like(rates.detach()), [0.0, 1.0], (rates,), steps=steps).ys
    with pytest.warns(AdjointDriftWarning, match="checkpointed"):
        torch.autograd.grad(ys[-1].sum(), rates)


@pytest.mark.parametrize("steps", ["shared", "per_sample"])
def test_a_solve_that_comes_back_does_not_warn(steps: str) -> None:
    def come_back(**options: object) -> Tensor:
        rate = torch.full((1, 1), 3.0, dtype=torch.float64, requires_grad=True)
        y0 = torch.ones(1, 1, dtype=torch.float64)
        ys = odeint(lambda t, y, k: -k * y, y0, [0.0, 1.0], (rate,), steps=steps, **options).ys  # type: ignore[arg-type]
        return torch.autograd.grad(ys[-1].sum(), rate)[0]

    assert come_back().isfinite()
    assert come_back(rtol=1e-10, atol=1e-10, adjoint_rtol=1e-3, adjoint_atol=1e-3).isfinite()


@pytest.mark.parametrize("steps", ["shared", "per_sample"])
@pytest.mark.parametrize(("method", "rtol"), [("dopri8", 1e-7), ("bosh3", 1e-9)])
def test_outputs_that_are_interpolated_more_coarsely_than_the_tolerance_are_no_drift(
    method: str, rtol: float, steps: str
) -> None:
    def pendulum(t: Tensor, y: Tensor) -> Tensor:
        return torch.stack([y[..., 1], -torch.sin(y[..., 0])], dim=-1)

    y0 = torch.tensor([[1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    ts = torch.linspace(0, 4, 30, dtype=torch.float64)
    solution = odeint(pendulum, y0, ts, method=method, rtol=rtol, atol=rtol / 100, steps=steps)
    by_adjoint = torch.autograd.grad(solution.ys.square().sum(), y0)[0]
    exact = odeint(pendulum, y0, ts, method="dopri8", rtol=1e-12, atol=1e-12, gradient="direct", dt=0.02)
    assert by_adjoint == pytest.approx(torch.autograd.grad(exact.ys.square().sum(), y0)[0], rel=1e-3)


def test_an_explicit_solve_may_have_an_implicit_adjoint() -> None:
    rate = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    stats = SolveStats()
    found = decay(rate, adjoint_method="kvaerno5", rtol=1e-8, atol=1e-8, stats=stats)
    assert found.item() == pytest.approx(-torch.exp(-rate).item(), rel=1e-5)
    assert stats.backward.num_newton > 0
    assert stats.forward.num_newton == 0


def test_samples_that_depend_on_each_other_have_the_gradient_that_they_have() -> None:
    y0 = torch.tensor([[1.0, -0.5], [0.3, 2.0]], dtype=torch.float64, requires_grad=True)
    ts = torch.tensor([0.0, 0.5], dtype=torch.float64)

    def coupled(t: Tensor, y: Tensor) -> Tensor:
        return -20 * (y - 0.5 * y.flip(0)) + y.mean(0)

    def loss() -> Tensor:
        return odeint(
            coupled, y0, ts, method="kvaerno5", gradient="direct", rtol=1e-10, atol=1e-10, dt=0.25
        ).ys[1, 0, 0]

    (grad,) = torch.autograd.grad(loss(), y0)
    for i in range(4):
        assert grad.view(-1)[i].item() == pytest.approx(slope(loss, y0, i), rel=1e-6, abs=1e-10)


@METHODS
def test_a_field_of_time_alone_and_a_state_without_axes_have_their_gradient(method: str) -> None:
    y0 = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    y1 = odeint(lambda t, y: t.cos(), y0, [0.0, 1.0], method=method, gradient="direct", dt=0.5).ys[-1]
    (grad,) = torch.autograd.grad(y1, y0)
    assert grad.item() == 1.0
    assert y1.item() == pytest.approx(2.0 + math.sin(1.0), abs=0.2)


def test_a_second_derivative_is_refused() -> None:
    y0 = torch.ones(2, dtype=torch.float64, requires_grad=True)
    ys = odeint(lambda t, y: -y * y, y0, [0.0, 1.0], method="kvaerno3", gradient="direct").ys
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(ys.sum(), y0, create_graph=True)
