"""Checkpointed gradients are the direct ones, to rounding, on the same steps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from nodebench.ode import odeint
from nodebench.ode.methods.tableaus import load_tableaus

DTYPE = torch.float64
ADAPTIVE = sorted(name for name, tableau in load_tableaus().items() if tableau.has_error_estimate)


def assert_same_gradients(net: Any, gradient: str, *, backwards: bool = False, **options: Any) -> None:
    """Values, dL/dy0, dL/dts, dL/dc and the parameters' gradients of a loss on every output."""
    results = []
    for mode in ("direct", gradient):
        net.zero_grad()
        y0 = torch.tensor([[0.3, -0.8, 1.1], [0.9, 0.2, -0.4]], dtype=DTYPE, requires_grad=True)
        times = [0.1, 0.13, 0.4, 0.45, 0.5, 1.4]
        ts = torch.tensor(times[::-1] if backwards else times, dtype=DTYPE, requires_grad=True)
        c = torch.tensor(0.3, dtype=DTYPE, requires_grad=True)
        ys = odeint(net, y0, ts, (c.exp(),), gradient=mode, **options).ys
        weights = torch.linspace(-1, 2, ys.numel(), dtype=DTYPE).view(ys.shape)
        (weights * ys.square()).sum().backward()
        results.append([ys, y0.grad, ts.grad, c.grad, *(p.grad.clone() for p in net.parameters())])
    torch.testing.assert_close(results[1], results[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backwards", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize("method", ADAPTIVE)
def test_adaptive_steps_with_outputs_inside_them(method: str, backwards: bool, time_net: Any) -> None:
    tolerance = 1e-3 if load_tableaus()[method].order == 2 else 1e-5
    # The first step is given: the rule's guess rests on differences that two orders of summation round apart.
    options = {
        "rtol": tolerance,
        "atol": tolerance,
        "first_step": 0.2,
        "max_step": 0.4,
        "backwards": backwards,
    }
    assert_same_gradients(time_net(), "checkpointed", method=method, **options)


@pytest.mark.parametrize("method", sorted(load_tableaus()))
def test_fixed_steps(method: str, time_net: Any) -> None:
    assert_same_gradients(time_net(), "checkpointed", method=method, dt=0.17)


@pytest.mark.parametrize("method", ADAPTIVE)
def test_steps_that_end_at_a_jump(method: str, time_net: Any) -> None:
    net = time_net()
    smooth = net.forward
    net.forward = lambda t, y, c: smooth(t, y, c) * torch.where(t < 0.4, 1.0, torch.where(t > 0.8, -2.0, 0.5))
    # 0.4 is an output as well; 0.8 is inside the last gap; 0.1 is where the solve starts.
    options = {"method": method, "jump_ts": (0.1, 0.4, 0.8), "first_step": 0.2}
    assert_same_gradients(net, "checkpointed", **options)
    assert_same_gradients(net, "checkpointed", backwards=True, **options)


def test_forced_and_rejected_steps(time_net: Any) -> None:
    options = {"method": "bosh3", "rtol": 1e-7, "atol": 1e-7, "first_step": 1.0, "min_step": 0.05}
    assert_same_gradients(time_net(), "checkpointed", **options)


def test_a_pi_controller_and_a_norm_of_samples(time_net: Any) -> None:
    assert_same_gradients(time_net(), "checkpointed", controller="pi", norm="max_sample", first_step=0.2)


def test_tuple_states(time_net: Any) -> None:
    grads = []
    for gradient in ("direct", "checkpointed"):
        net = time_net()
        x0 = torch.ones(2, 3, dtype=DTYPE, requires_grad=True)
        p0 = torch.zeros(2, dtype=DTYPE, requires_grad=True)

        def f(t: Tensor, state: tuple[Tensor, Tensor], net: Any = net) -> tuple[Tensor, Tensor]:
            dx = net(t, state[0])
            return dx, dx.square().sum(-1) + 0.1 * state[1]

        xs, ps = odeint(
            f, (x0, p0), [0.0, 0.3, 1.0], gradient=gradient, params=net.parameters(), first_step=0.1
        ).ys
        (xs[1].sum() + ps[-1].square().sum()).backward()
        grads.append([x0.grad, p0.grad, *(p.grad for p in net.parameters())])
    torch.testing.assert_close(grads[1], grads[0], rtol=1e-12, atol=1e-12)


def test_its_recomputations_are_counted_backwards(time_net: Any) -> None:
    solution = odeint(
        time_net(),
        torch.ones(3, dtype=DTYPE, requires_grad=True),
        [0.0, 2.0],
        gradient="checkpointed",
        rtol=1e-5,
    )
    accepted = solution.stats.forward.num_accepted
    solution.ys.sum().backward()
    # A step taken again needs no error estimate, and its first stage is not known from the step before.
    assert solution.stats.backward.nfe == 6 * accepted
