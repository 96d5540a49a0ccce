"""The continuous adjoint: right in the limit, at a rate, in each of its norms."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nodebench.ode import BudgetExhaustedError, SolverError, odeint
from nodebench.ode.budget import Limits
from nodebench.ode.clock import Clock, StepRecord
from nodebench.ode.counts import Counts
from nodebench.ode.drive.control import StepControl
from nodebench.ode.drive.solver import Start
from nodebench.ode.methods.explicit import ExplicitRungeKutta
from nodebench.ode.methods.tableaus import load_tableaus
from nodebench.ode.norms import Accuracy, LeadingNorm, rms_norm

DTYPE = torch.float64
NORMS = ["full", "joint", "seminorm", "state"]


def gradients(net: Any, gradient: str, **options: Any) -> Tensor:
    """dL/d(y0, ts, c, parameters), flat, for a loss on every output."""
    net.zero_grad()
    y0 = torch.tensor([[0.3, -0.8, 1.1], [0.9, 0.2, -0.4]], dtype=DTYPE, requires_grad=True)
    ts = torch.tensor([0.0, 0.4, 1.4], dtype=DTYPE, requires_grad=True)
    c = torch.tensor(0.7, dtype=DTYPE, requires_grad=True)
    odeint(net, y0, ts, (c,), gradient=gradient, **options).ys.square().sum().backward()
    leaves = [y0, ts, c, *net.parameters()]
    return torch.cat([leaf.grad.reshape(-1) for leaf in leaves])


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("method", ["dopri5", "tsit5", "bosh3"])
def test_it_approaches_the_gradient_of_the_ode_as_fast_as_the_tolerance_shrinks(
    method: str, norm: str, time_net: Any
) -> None:
    net = time_net()
    exact = gradients(net, "direct", rtol=1e-12, atol=1e-12, method="dopri8")
    tolerances = [1e-4, 1e-5, 1e-6, 1e-7, 1e-8]
    errors = []
    for tolerance in tolerances:
        got = gradients(net, "adjoint", rtol=tolerance, atol=tolerance, method=method, adjoint_norm=norm)
        errors.append(((got - exact).norm() / exact.norm()).item())
    x = torch.tensor([math.log10(t) for t in tolerances])
    y = torch.tensor([math.log10(e) for e in errors])
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    assert 0.8 < slope < 1.25
    assert errors[-1] < 1e-6


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("method", ["rk4", "heun3", "dopri5"])
def test_with_fixed_steps_it_approaches_at_the_order_of_the_method(
    method: str, norm: str, time_net: Any
) -> None:
    net = time_net()
    exact = gradients(net, "direct", rtol=1e-12, atol=1e-12, method="dopri8")
    coarse, fine = (
        (gradients(net, "adjoint", method=method, dt=dt, adjoint_norm=norm) - exact).norm().item()
        for dt in (0.1, 0.05)
    )
    assert math.log2(coarse / fine) == pytest.approx(load_tableaus()[method].order, abs=0.5)


def test_euler_forwards_and_backwards_reverses_no_step_and_says_so_in_its_gradient(growth: Any) -> None:
    # One Euler step of y' = theta y: y1 = y0 (1 + theta); the adjoint's one step back gives dL/dy0 = 1 + theta,
    # and the integrand of dL/dtheta at t1 is a(t1) y1, not y0 as for the discrete step.
    f, y0 = growth(0.5), torch.ones(1, dtype=DTYPE, requires_grad=True)
    odeint(f, y0, [0.0, 1.0], method="euler", dt=1.0, gradient="adjoint").ys[-1].sum().backward()
    assert y0.grad.item() == 1.5
    assert f.theta.grad.item() == 1.5


def test_the_state_starts_each_interval_backwards_from_its_stored_value(growth: Any, record: Any) -> None:
    f = growth(-3.0)
    calls = record(f.forward)
    f.forward = calls
    ts = torch.linspace(0, 1, 4, dtype=DTYPE)
    solution = odeint(f, torch.ones(1, dtype=DTYPE), ts, gradient="adjoint", rtol=1e-3, atol=1e-3)
    num_forward = len(calls.times)
    solution.ys.sum().backward()
    met = dict(zip(calls.times[num_forward:], calls.states[num_forward:], strict=True))
    starts = [(t, y) for t, y in zip(calls.times[num_forward:], calls.states[num_forward:], strict=True)]
    for i in (1, 2, 3):
        assert any(t == ts[i].item() and torch.equal(y, solution.ys[i].detach()) for t, y in starts)
    assert min(met) == 0.0


def test_its_own_method_and_tolerances_are_used_backwards_only(time_net: Any) -> None:
    net = time_net()
    y0 = torch.ones(3, dtype=DTYPE, requires_grad=True)

    def solve(**options: Any) -> Any:
        solution = odeint(net, y0, [0.0, 2.0], gradient="adjoint", rtol=1e-4, atol=1e-4, **options)
        solution.ys[-1].sum().backward()
        return solution.stats

    same, tight = solve(), solve(adjoint_rtol=1e-9, adjoint_atol=1e-9)
    other = solve(adjoint_method="bosh3")
    assert same.forward == tight.forward == other.forward
    assert same.backward.num_accepted < tight.backward.num_accepted
    assert other.backward.nfe == 2 + 3 * other.backward.num_steps


def test_rejected_steps_leave_nothing_in_the_parameters_integral(growth: Any) -> None:
    f = growth(0.7)
    f.forward = lambda t, y: f.theta * y * torch.cos(30 * t) * 10
    y0 = torch.ones(1, dtype=DTYPE)
    solution = odeint(
        f, y0, [0.0, 1.0], gradient="adjoint", rtol=1e-8, atol=1e-8, first_step=0.5, adjoint_norm="seminorm"
    )
    solution.ys[-1].sum().backward()
    assert solution.stats.backward.num_rejected > 0
    integral = math.sin(30) / 3
    assert f.theta.grad.item() == pytest.approx(integral * math.exp(0.7 * integral), rel=1e-5)


class Riding:
    """A state at rest and an integral that rides along, whose integrand at each stage is given; keeps what is asked."""

    def __init__(self, integrands: list[float]) -> None:
        self.riding, self.counts, self.integrands = 1, Counts(), integrands
        self.asked = [False] * len(integrands)

    def slope(self, stage: int, integrand: bool) -> Tensor:
        self.asked[stage] = integrand
        return torch.tensor([0.0, self.integrands[stage]][: 1 + integrand], dtype=DTYPE)

    def __call__(self, t: Any, y: Tensor, integrand: bool = True) -> Tensor:
        return self.slope(0, integrand)

    def at_times(self, ts: Any, y: Tensor, integrands: Any = None) -> list[Any]:
        return [lambda y, i=i: self.slope(i, integrands[i - 1]) for i in range(1, len(ts) + 1)]


@pytest.mark.parametrize("method", ["dopri5", "dopri8", "bosh3", "heun3", "fehlberg2", "midpoint"])
@pytest.mark.parametrize("in_norm", [False, True])
def test_an_integral_that_rides_along_asks_for_what_it_needs_and_sums_with_the_weights(
    method: str, in_norm: bool
) -> None:
    tableau = load_tableaus()[method]
    values = [1.0 + i * i for i in range(tableau.num_stages)]
    field, y0, clock = Riding(values), torch.zeros(2, dtype=DTYPE), Clock((0.0, 0.5))
    accuracy = Accuracy(norm=rms_norm if in_norm else LeadingNorm(rms_norm, 1))
    wants_error = tableau.has_error_estimate
    course = Start(field, y0, clock).course(Limits(), accuracy)
    course = course._replace(control=StepControl(accuracy) if wants_error else None)
    steps = ExplicitRungeKutta(tableau).begin(course)
    record = StepRecord(0.0, 0.5, 0.5, 0, 1, ())
    step = steps.take(record, y0, steps.first(record, y0))
    last = tableau.num_stages - 1
    for i in range(tableau.num_stages):
        in_error = wants_error and in_norm and tableau.b_err[i] != 0
        needed = tableau.b[i] != 0 or in_error or (wants_error and i == 0)
        assert field.asked[i] == (needed or (tableau.is_fsal and i == last))
    expected = 0.5 * sum(b * v for b, v in zip(tableau.b, values, strict=True))
    assert step.y1.tolist() == pytest.approx([0.0, expected])
    if wants_error:
        assert len(step.error) == 1 + in_norm
    if in_norm and wants_error:
        error = 0.5 * sum(b * v for b, v in zip(tableau.b_err, values, strict=True))
        assert step.error[1].item() == pytest.approx(error)


class Spectral(nn.Module):
    """A real state whose parameters are complex, as in a Fourier layer."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([0.3 + 0.2j, -0.5 + 0.7j, 0.1 - 0.4j], dtype=torch.complex128))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.fft.irfft(torch.fft.rfft(y) * self.w, n=4)


@pytest.mark.parametrize("norm", NORMS)
def test_complex_parameters_of_a_real_state_have_the_direct_gradient(norm: str) -> None:
    grads = []
    for gradient in ("direct", "adjoint"):
        f, y0 = Spectral(), torch.tensor([1.0, -0.3, 0.7, 0.2], dtype=DTYPE, requires_grad=True)
        odeint(f, y0, [0.0, 1.0], gradient=gradient, rtol=1e-9, atol=1e-9, adjoint_norm=norm).ys[
            -1
        ].square().sum().backward()
        grads.append((y0.grad, f.w.grad))
    torch.testing.assert_close(grads[1], grads[0], rtol=1e-7, atol=1e-7)


def test_a_failure_of_the_backward_solve_says_that_it_was_backwards(growth: Any) -> None:
    y0 = torch.ones(1, dtype=DTYPE, requires_grad=True)
    ys = odeint(
        growth(-5.0), y0, [0.0, 1.0], gradient="adjoint", max_steps=20, adjoint_rtol=1e-12, adjoint_atol=1e-12
    ).ys
    with pytest.raises(
        BudgetExhaustedError, match="in the backward solve of the adjoint: max_steps=20 reached"
    ):
        ys.sum().backward()
    assert issubclass(BudgetExhaustedError, SolverError)


def test_tolerances_of_entries_do_not_say_what_the_adjoints_is() -> None:
    state = (torch.ones(2, dtype=DTYPE), torch.ones(1, dtype=DTYPE))

    def f(t: Tensor, y: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return (-y[0], -y[1])

    with pytest.raises(
        ValueError, match=r"`rtol` has one entry for each tensor.*pass adjoint_rtol as one number"
    ):
        odeint(f, state, [0.0, 1.0], gradient="adjoint", rtol=(1e-3, 1e-4))
    solution = odeint(f, state, [0.0, 1.0], gradient="adjoint", rtol=(1e-3, 1e-4), adjoint_rtol=1e-3)
    assert solution.ys[0].shape == (2, 2)
    direct = odeint(f, state, [0.0, 1.0], gradient="direct", rtol=(1e-3, 1e-4))
    assert direct.stats.forward == solution.stats.forward
