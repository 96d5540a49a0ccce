"""Fields that differentiate to compute dy/dt, as they are written for torchdiffeq: flows and Hamiltonian nets."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
import torchdiffeq
from torch import Tensor, nn

from nodebench.ode import CompileWarning, compat, odeint

DTYPE = torch.float64
GRADIENTS = ["direct", "checkpointed", "adjoint"]
WITHOUT_GRAPH = ["checkpointed", "adjoint"]
TOL: dict[str, Any] = {"rtol": 1e-6, "atol": 1e-6}
T = torch.tensor([1.0, 0.0], dtype=DTYPE)
STATE = (torch.ones(3, 2, dtype=DTYPE), torch.zeros(3, 1, dtype=DTYPE))

Variable = Callable[[Tensor], Tensor]
Solve = Callable[[nn.Module], Any]


class Flow(nn.Module):
    """(dz/dt, d log p/dt), the trace by autograd with respect to what `variable` makes of z."""

    def __init__(self, variable: Variable) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2)).to(DTYPE)
        self.variable = variable
        self.latest: Tensor | None = None

    def forward(self, t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            z = self.variable(state[0])
            dz = self.net(z)
            rows = [torch.autograd.grad(dz[:, i].sum(), z, create_graph=True)[0][:, i] for i in range(2)]
        self.keep(z)
        return dz, -sum(rows).view(-1, 1)

    def keep(self, z: Tensor) -> None: ...


class KeepingFlow(Flow):
    """Keeps what it differentiated by, and so the whole graph of its latest call."""

    def keep(self, z: Tensor) -> None:
        self.latest = z


VARIABLES: dict[str, Variable] = {
    "itself": lambda z: z.requires_grad_(True),  # torchdiffeq's examples/cnf.py
    "clone": lambda z: z.clone().requires_grad_(True),
    "where_needed": lambda z: z if z.requires_grad else z.detach().requires_grad_(),
    "cut_off": lambda z: z.detach().requires_grad_(),  # no gradient to z, in torchdiffeq neither
}
FLOWS: dict[str, Callable[[], Flow]] = {
    **{name: functools.partial(Flow, variable) for name, variable in VARIABLES.items()},
    "kept": functools.partial(KeepingFlow, VARIABLES["clone"]),
}


def train(flow: Flow, solve: Solve) -> tuple[Tensor, ...]:
    """log p at the end, and the parameters' gradients of sum(z) - sum(log p) there."""
    z, log_p = solve(flow)
    (z[-1].sum() - log_p[-1].sum()).backward()
    return log_p[-1].detach(), *(param.grad for param in flow.parameters())


def own(gradient: str, **settings: Any) -> Solve:
    return lambda f: odeint(f, STATE, T, gradient=gradient, **{**TOL, **settings}).ys


@functools.cache
def torchdiffeqs(name: str) -> tuple[Tensor, ...]:
    return train(FLOWS[name](), lambda f: torchdiffeq.odeint_adjoint(f, STATE, T, **TOL))


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize(
    "solve",
    [
        lambda f: compat.odeint(f, STATE, T, **TOL),
        lambda f: compat.odeint_adjoint(f, STATE, T, **TOL),
        *(own(gradient) for gradient in GRADIENTS),
    ],
    ids=["compat.odeint", "compat.odeint_adjoint", *GRADIENTS],
)
def test_a_flow_that_records_a_graph_of_its_own_has_torchdiffeqs_gradients(name: str, solve: Solve) -> None:
    torch.testing.assert_close(train(FLOWS[name](), solve), torchdiffeqs(name), rtol=1e-4, atol=1e-5)


def test_the_gradient_of_the_flow_is_the_one_that_was_reported_for_torchdiffeq() -> None:
    _, weight, *_ = train(FLOWS["itself"](), own("adjoint"))
    assert weight.norm().item() == pytest.approx(6.4816, abs=1e-4)


@pytest.mark.parametrize("gradient", WITHOUT_GRAPH)
def test_a_flow_that_records_a_graph_of_its_own_compiles_or_says_that_it_runs_eagerly(gradient: str) -> None:
    steps = {"method": "euler", "dt": 0.1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CompileWarning)  # not every torch sees through autograd.grad
        values = train(FLOWS["itself"](), own(gradient, compile="eager", **steps))
    torch.testing.assert_close(values, train(FLOWS["itself"](), own(gradient, **steps)))


@pytest.mark.parametrize("gradient", WITHOUT_GRAPH)
def test_only_a_flow_that_keeps_its_graph_costs_an_evaluation_more(gradient: str) -> None:
    nfe = {
        (name, mode): odeint(FLOWS[name](), STATE, T, gradient=mode, **TOL).stats.forward.nfe
        for name in ("clone", "kept")
        for mode in ("direct", gradient)
    }
    assert nfe["clone", gradient] == nfe["clone", "direct"]
    assert nfe["kept", gradient] == nfe["kept", "direct"] + 1


@pytest.mark.parametrize("gradient", WITHOUT_GRAPH)
@pytest.mark.parametrize("name", FLOWS)
def test_a_tensor_from_outside_is_told_from_those_that_the_field_makes(name: str, gradient: str) -> None:
    flow, outside = FLOWS[name](), torch.full((4,), 0.5, dtype=DTYPE, requires_grad=True)
    variable = flow.variable
    flow.variable = lambda z: variable(z * outside.sum())
    if name == "cut_off":  # from the trace, that is; here it is cut off altogether
        flow.variable = lambda z: variable(z) * outside.sum()
    with pytest.raises(
        ValueError, match=rf"shape \(4,\) that requires grad .*`{gradient}` would give it none"
    ):
        own(gradient)(flow)


@pytest.mark.parametrize("gradient", WITHOUT_GRAPH)
def test_a_tensor_that_the_field_makes_once_and_uses_again_is_one_from_outside(gradient: str) -> None:
    made: list[Tensor] = []

    def f(t: Tensor, y: Tensor) -> Tensor:
        if not made:
            made.append(torch.ones(5, dtype=DTYPE, requires_grad=True))
        return y * made[0].sum()

    with pytest.raises(ValueError, match=r"shape \(5,\) that requires grad"):
        odeint(f, torch.ones(2, dtype=DTYPE), [0.0, 1.0], gradient=gradient)


class Hamiltonian(nn.Module):
    """dq/dt = dH/dp, dp/dt = -dH/dq of a net H; with `records`, also where autograd does not."""

    def __init__(self, records: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)).to(DTYPE)
        self.records = records

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        with torch.enable_grad() if self.records else nullcontext():
            y = y.requires_grad_() if self.records else y
            (slope,) = torch.autograd.grad(self.net(y).sum(), y, create_graph=True)
        return torch.stack([slope[1], -slope[0]])


def start() -> Tensor:
    return torch.tensor([0.3, 0.4], dtype=DTYPE, requires_grad=True)


def gradients(field: nn.Module, solve: Callable[[nn.Module, Tensor], Tensor]) -> list[Tensor]:
    """The state at the end, and its sum's gradients in y0 and the parameters."""
    y0 = start()
    y1 = solve(field, y0)[-1]
    y1.sum().backward()
    return [y1.detach(), y0.grad, *(param.grad for param in field.parameters() if param.grad is not None)]  # type: ignore[list-item]


@functools.cache
def torchdiffeqs_hamiltonian() -> list[Tensor]:
    times = torch.tensor([0.0, 1.0], dtype=DTYPE)
    return gradients(Hamiltonian(), lambda f, y0: torchdiffeq.odeint(f, y0, times, rtol=1e-9, atol=1e-9))


@pytest.mark.parametrize(
    "method", ["dopri5", "bosh3", "tsit5", "dopri8", "adaptive_heun", "fehlberg2", "rk4"]
)
def test_a_field_that_leaves_the_recording_to_the_solve_runs_with_every_method(method: str) -> None:
    steps: dict[str, Any] = {"dt": 0.02} if method == "rk4" else {"rtol": 1e-7, "atol": 1e-7}
    values = gradients(
        Hamiltonian(),
        lambda f, y0: odeint(f, y0, [0.0, 1.0], method=method, gradient="direct", **steps).ys,
    )
    torch.testing.assert_close(values, torchdiffeqs_hamiltonian(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["dopri5", "bosh3", "dopri8", "adaptive_heun", "fehlberg2"])
def test_it_runs_as_torchdiffeq_runs_it(method: str) -> None:
    times = torch.tensor([0.0, 1.0], dtype=DTYPE)
    values = gradients(
        Hamiltonian(), lambda f, y0: compat.odeint(f, y0, times, method=method, rtol=1e-7, atol=1e-7)
    )
    torch.testing.assert_close(values, torchdiffeqs_hamiltonian(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_a_field_that_records_by_itself_runs_under_every_gradient(gradient: str) -> None:
    values = gradients(
        Hamiltonian(records=True),
        lambda f, y0: odeint(f, y0, [0.0, 1.0], gradient=gradient, rtol=1e-8, atol=1e-8).ys,
    )
    torch.testing.assert_close(values, torchdiffeqs_hamiltonian(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("gradient", WITHOUT_GRAPH)
def test_one_that_does_not_is_told_how_where_nothing_is_recorded(gradient: str) -> None:
    with pytest.raises(RuntimeError, match="does not require grad") as raised:
        odeint(Hamiltonian(), start(), [0.0, 1.0], gradient=gradient)
    assert any("with torch.enable_grad()" in note for note in raised.value.__notes__)


def test_a_field_that_differentiates_runs_where_no_time_passes() -> None:
    ts = torch.zeros(2, dtype=DTYPE, requires_grad=True)
    odeint(Hamiltonian(), start(), ts, gradient="direct").ys[-1].sum().backward()
    assert ts.grad is not None
    slope = Hamiltonian()(ts[0], start())
    assert ts.grad.tolist() == pytest.approx([-slope.sum().item(), slope.sum().item()])


def test_the_time_may_be_what_a_field_differentiates_by() -> None:
    def f(t: Tensor, y: Tensor) -> Tensor:
        with torch.enable_grad():
            (rate,) = torch.autograd.grad(torch.sin(t.requires_grad_()), t)
        return rate * y

    for gradient in GRADIENTS:
        ys = odeint(f, start(), [0.0, 1.0], gradient=gradient, rtol=1e-8, atol=1e-8).ys
        torch.testing.assert_close(ys[-1], start() * math.exp(math.sin(1.0)), rtol=1e-6, atol=0.0)
