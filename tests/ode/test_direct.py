"""Direct gradients: exact for the discrete solve, second derivatives included."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from ode_fields import leaf
from torch import Tensor

from nodebench.ode import odeint
from nodebench.ode.methods.tableaus import load_tableaus

DTYPE = torch.float64


@pytest.mark.parametrize("dt", [0.21, 1.0], ids=["several steps a gap", "one step a gap"])
@pytest.mark.parametrize("method", sorted(load_tableaus()))
def test_gradients_of_fixed_steps_are_finite_differences(method: str, dt: float, time_net: Any) -> None:
    net = time_net(dim=2, hidden=3)
    # Of several steps in a gap those inside are held while the output's time moves; a finite difference moves them.
    ts = leaf(0.1, 0.4, 0.9).requires_grad_(dt == 1.0)

    def outputs(y0: Tensor, c: Tensor, w1: Tensor, *times: Tensor) -> Tensor:
        def f(t: Tensor, y: Tensor, c: Tensor) -> Tensor:
            return torch.tanh(y @ w1.T + net.b1 + t * net.v) @ net.w2.T + c * torch.sin(t * y)

        return odeint(f, y0, *(times or (ts,)), (c,), method=method, dt=dt, gradient="direct").ys

    inputs = (leaf(0.3, -0.8), leaf(0.7), net.w1.detach().requires_grad_())
    assert torch.autograd.gradcheck(outputs, (*inputs, ts) if ts.requires_grad else inputs)


def test_interior_steps_are_held_while_an_output_time_moves() -> None:
    y0, ts = leaf(1.0), leaf(0.0, 1.0)
    f = lambda t, y: torch.sin(3 * t + y)  # noqa: E731
    odeint(f, y0, ts, method="heun", dt=0.25, gradient="direct").ys[-1].sum().backward()

    def last(shift0: float, shift1: float) -> float:
        grid = [shift0, 0.25 + shift0, 0.5 + shift0, 0.75 + shift0, 1.0 + shift1]
        return odeint(f, y0.detach(), grid, method="heun", dt=9.0, gradient="direct").ys[-1].item()

    h = 1e-5
    assert ts.grad[0].item() == pytest.approx((last(h, 0) - last(-h, 0)) / (2 * h), rel=1e-8)
    assert ts.grad[1].item() == pytest.approx((last(0, h) - last(0, -h)) / (2 * h), rel=1e-8)


def test_second_derivatives_of_fixed_steps_are_finite_differences(time_net: Any) -> None:
    net = time_net(dim=2, hidden=3).requires_grad_(False)

    def outputs(y0: Tensor, ts: Tensor, c: Tensor) -> Tensor:
        return odeint(net, y0, ts, (c,), method="rk4", dt=1.0, gradient="direct").ys

    assert torch.autograd.gradgradcheck(outputs, (leaf(0.3, -0.8), leaf(0.1, 0.4, 0.9), leaf(0.7)))


@pytest.mark.parametrize("method", ["dopri5", "tsit5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun"])
def test_the_times_of_interior_outputs_have_the_slope_of_the_interpolant(method: str) -> None:
    y0, ts = leaf(1.0), leaf(0.0, 0.013, 0.021, 1.0)
    solution = odeint(
        lambda t, y: -y * torch.cos(t),
        y0,
        ts,
        method=method,
        first_step=0.03,
        rtol=1e-5,
        atol=1e-5,
        gradient="direct",
    )
    inside = solution.ys[1] + 2 * solution.ys[2]
    (grad,) = torch.autograd.grad(inside, ts)
    slopes = [-math.cos(t) * math.exp(-math.sin(t)) for t in (0.013, 0.021)]
    start = math.exp(-math.sin(0.013)) + 2 * math.exp(-math.sin(0.021))
    assert solution.stats.forward.num_steps < 200
    assert grad.tolist() == pytest.approx([start, slopes[0], 2 * slopes[1], 0.0], abs=2e-3)


def test_shifting_every_time_of_an_autonomous_problem_changes_nothing(time_net: Any) -> None:
    net = time_net()
    net.v.data.zero_()
    ts = leaf(0.0, 0.4, 0.7, 1.5)
    odeint(net, leaf(0.3, -0.2, 0.9), ts, gradient="direct").ys.sum().backward()
    assert ts.grad.abs().max() > 0.1
    assert ts.grad.sum().item() == pytest.approx(0.0, abs=1e-12)


def test_requiring_grad_of_single_precision_times_changes_no_value_in_double(growth: Any) -> None:
    f, y0 = growth(0.7), leaf(1.0)
    plain, travelling = (
        odeint(
            f, y0, torch.tensor([0.0, 0.3, 1.0], requires_grad=grad), gradient="direct", rtol=1e-9, atol=1e-9
        )
        for grad in (False, True)
    )
    torch.testing.assert_close(travelling.ys, plain.ys, rtol=1e-14, atol=0)


def test_no_gradient_flows_through_the_choice_of_the_step(growth: Any) -> None:
    f = growth()
    solution = odeint(f, leaf(1.0), [0.0, 1.0], gradient="direct", record_steps=True)
    grid = [0.0, *(t + dt for t, dt in solution.stats.forward.steps)]
    (adaptive,) = torch.autograd.grad(solution.ys[-1].sum(), f.theta)
    fixed = odeint(f, leaf(1.0), grid, dt=10.0, gradient="direct")
    (held,) = torch.autograd.grad(fixed.ys[-1].sum(), f.theta)
    assert adaptive.item() == pytest.approx(held.item(), rel=1e-13)


def test_a_closure_over_a_tensor_that_requires_grad_receives_its_gradient() -> None:
    w = leaf(0.7)
    odeint(lambda t, y: w * y, leaf(1.0).detach(), [0.0, 1.0], gradient="direct", rtol=1e-9, atol=1e-9).ys[
        -1
    ].sum().backward()
    assert w.grad.item() == pytest.approx(math.exp(0.7), rel=1e-8)


def test_gradients_flow_through_dense_output(growth: Any) -> None:
    f = growth(0.7)
    solution = odeint(f, leaf(1.0), [0.0, 1.0], gradient="direct", rtol=1e-8, atol=1e-8, dense_output=True)
    (grad,) = torch.autograd.grad(solution.evaluate(0.37).sum(), f.theta)
    assert grad.item() == pytest.approx(0.37 * math.exp(0.7 * 0.37), rel=1e-6)


@pytest.mark.parametrize("method", ["dopri5", "heun3"])
def test_dense_output_moves_with_the_initial_time_and_holds_while_the_last_one_moves(method: str) -> None:
    y0, ts = leaf(1.0), leaf(0.2, 1.0)
    options = {"rtol": 1e-9, "atol": 1e-9} if method == "dopri5" else {"dt": 0.01}
    solution = odeint(
        lambda t, y: t * y, y0, ts, method=method, gradient="direct", dense_output=True, **options
    )
    t = 0.777
    value = solution.evaluate(t)
    exact = math.exp((t**2 - 0.2**2) / 2)
    assert value.item() == pytest.approx(exact, rel=1e-6)
    (grad,) = torch.autograd.grad(value.sum(), ts)
    assert grad.tolist() == pytest.approx([-0.2 * exact, 0.0], abs=2e-5)


def test_a_gradient_penalty_can_be_trained(growth: Any) -> None:
    f, y0 = growth(0.7), leaf(1.0)
    ys = odeint(f, y0, [0.0, 1.0], gradient="direct", rtol=1e-10, atol=1e-10).ys
    (slope,) = torch.autograd.grad(ys[-1].sum(), y0, create_graph=True)  # exp(theta)
    (penalty,) = torch.autograd.grad(slope.square().sum(), f.theta)
    assert penalty.item() == pytest.approx(2 * math.exp(1.4), rel=1e-7)


def test_complex_states_work_forwards_and_in_every_gradient() -> None:
    y0 = torch.tensor([1 + 2j, 0.5], dtype=torch.complex128, requires_grad=True)
    omega = torch.tensor(0.3 + 1.1j, dtype=torch.complex128, requires_grad=True)
    theta = leaf(0.4)
    exact = y0 * torch.exp(omega * 1j + theta)
    expected = torch.autograd.grad(exact.real.sum() + exact.imag[0], (y0, omega, theta))
    for gradient in ("direct", "checkpointed", "adjoint"):
        ys = odeint(
            lambda t, y, w, p: (1j * w + p) * y, y0, [0.0, 1.0], (omega, theta), gradient=gradient,
            rtol=1e-10, atol=1e-10,
        ).ys  # fmt: skip
        torch.testing.assert_close(ys[-1], exact, rtol=1e-8, atol=1e-8)
        grads = torch.autograd.grad(ys[-1].real.sum() + ys[-1].imag[0], (y0, omega, theta))
        torch.testing.assert_close(grads, expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("gradient", ["direct", "checkpointed", "adjoint"])
@pytest.mark.parametrize("ts_dtype", [torch.float32, torch.float64])
def test_float32_works_and_stays_float32(gradient: str, ts_dtype: torch.dtype, growth: Any) -> None:
    f = growth(0.7).float()
    y0 = torch.ones(4, requires_grad=True)
    ts = torch.tensor([0.0, 0.5, 1.0], dtype=ts_dtype, requires_grad=True)
    ys = odeint(f, y0, ts, gradient=gradient, rtol=1e-5, atol=1e-5).ys
    ys[-1].sum().backward()
    assert {ys.dtype, y0.grad.dtype, f.theta.grad.dtype} == {torch.float32}
    assert ts.grad.dtype == ts_dtype
    assert f.theta.grad.item() == pytest.approx(4 * math.exp(0.7), rel=1e-4)
    assert ts.grad.tolist() == pytest.approx([-4 * 0.7 * math.exp(0.7), 0, 4 * 0.7 * math.exp(0.7)], rel=1e-4)
