"""compat.odeint_adjoint by itself: every setting of the backward solve acts."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from ode_fields import ListeningSwing, Swing
from torch import Tensor

from nodebench.ode.compat import odeint_adjoint

T = torch.tensor([0.0, 0.4, 2.0], dtype=torch.float64)
Y0 = torch.tensor([1.0, -0.5], dtype=torch.float64)


def test_max_num_steps_counts_anew_in_each_backward_interval() -> None:
    field = ListeningSwing("_adjoint")
    options = {"first_step": 0.05, "max_step": 0.05, "max_num_steps": 33}
    odeint_adjoint(field, Y0, T, rtol=1e-3, atol=1e-3, options=options).sum().backward()
    assert len(field.tried) >= 40


def test_adjoint_callbacks_hear_the_backward_solve_alone() -> None:
    field = ListeningSwing("_adjoint")
    ys = odeint_adjoint(field, Y0, T, rtol=1e-5, atol=1e-6, adjoint_options={"first_step": 1.5})
    assert not field.tried
    ys[-1].sum().backward()
    assert field.rejected
    assert sorted(field.tried) == sorted(field.accepted + field.rejected)
    assert field.accepted[0][0] == 2.0
    adj_t, y, adj_y, adj_params = field.states[0]
    assert adj_t == 0
    torch.testing.assert_close(y, ys[-1].detach())
    torch.testing.assert_close(adj_y, torch.ones_like(Y0))
    assert torch.equal(adj_params, torch.zeros(2, dtype=torch.float64))
    assert bool(field.states[-1][3].any()), "the parameters' integral should have grown"


def backward_times(**settings: Any) -> list[float]:
    field = Swing()
    ys = odeint_adjoint(field, Y0, T, **{"rtol": 1e-5, "atol": 1e-6, **settings})
    field.times.clear()
    ys[-1].sum().backward()
    return field.times


def test_adjoint_settings_default_to_those_of_the_forward_solve() -> None:
    assert backward_times() == backward_times(adjoint_rtol=1e-5, adjoint_atol=1e-6, adjoint_method="dopri5")
    short = backward_times(options={"max_step": 0.02})
    assert len(short) > 6 * 100
    assert len(backward_times(options={"max_step": 0.02}, adjoint_options={})) < len(short) / 2


@pytest.mark.parametrize(
    "settings",
    [
        {"adjoint_rtol": 1e-2},
        {"adjoint_atol": 1e-2},
        {"adjoint_method": "bosh3"},
        {"adjoint_options": {"norm": "seminorm"}},
        {"adjoint_options": {"norm": lambda augmented: augmented[1].abs().max() * 1e3}},
        {"adjoint_options": {"first_step": 0.01}},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_adjoint_settings_change_the_backward_solve(settings: dict[str, Any]) -> None:
    assert backward_times(**settings) != backward_times()


def test_a_norm_of_the_forward_state_also_measures_the_default_adjoint() -> None:
    def strict(y: Tensor) -> Tensor:
        return y.abs().max() * 1e3

    assert len(backward_times(options={"norm": strict})) > len(backward_times())


def test_adjoint_params_say_which_gradients_are_computed() -> None:
    weight = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)

    def f(t: Tensor, y: Tensor) -> Tensor:
        return weight * y

    y0 = Y0.clone().requires_grad_()
    odeint_adjoint(f, y0, T, adjoint_params=(weight,))[-1].sum().backward()
    torch.testing.assert_close(weight.grad, (Y0.sum() * 2 * math.exp(1.4)), rtol=1e-6, atol=0)
    torch.testing.assert_close(
        y0.grad, torch.full((2,), math.exp(1.4), dtype=torch.float64), rtol=1e-6, atol=0
    )
    with pytest.raises(ValueError, match="requires grad but is neither"):
        odeint_adjoint(f, y0, T, adjoint_params=())


@pytest.mark.parametrize("ts", [T, T[:1]])
def test_parameters_that_the_field_makes_no_use_of_have_a_gradient_of_zero(ts: Tensor) -> None:
    field, y0 = Swing(), Y0.clone().requires_grad_()
    idle = torch.ones(3, requires_grad=True)  # of another dtype than the state
    params = (field.stiffness, idle)
    ys = odeint_adjoint(lambda t, y: (field(t, y[0]), -y[1]), (y0, y0), ts, adjoint_params=params)[0]
    ys.sum().backward()
    assert torch.equal(idle.grad, torch.zeros(3))  # type: ignore[arg-type]
    assert field.stiffness.grad is not None
    assert bool(field.stiffness.grad.any()) is (len(ts) > 1)
    assert y0.grad is not None


def test_parameters_left_out_of_a_custom_adjoint_norm_get_a_warning() -> None:
    field = Swing()
    field.stiffness.requires_grad_(False)
    options = {"norm": lambda augmented: augmented[1].abs().max()}
    with pytest.warns(UserWarning, match="1 of 1 adjoint parameters do not require grad"):
        odeint_adjoint(field, Y0, T, adjoint_options=options)
