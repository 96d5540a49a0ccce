"""What a type checker says of a solve: `make lint` reads this file, and a wrong type or an unused ignore fails it."""

from __future__ import annotations

from typing import assert_type

import pytest
import torch
from torch import Tensor, nn

from nodebench.ode import Solution, compat, odeint

Tensors = tuple[Tensor, ...]

y0, ts = torch.ones(3), torch.linspace(0, 1, 3)


def decay(t: Tensor, y: Tensor) -> Tensor:
    return -y


class Decay(nn.Module):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return -y


def pair(t: Tensor, y: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return y[1], -y[0]


def test_a_tensor_gives_tensors_and_a_tuple_tuples() -> None:
    assert_type(odeint(decay, y0, ts), Solution[Tensor])
    assert_type(odeint(decay, y0, [0.0, 1.0], dense_output=True).evaluate(0.5), Tensor)
    assert_type(odeint(lambda t, y: -y, y0, ts).ys, Tensor)
    assert_type(odeint(Decay(), y0, ts).ys, Tensor)

    assert_type(odeint(pair, (y0, y0), ts, gradient="direct"), Solution[Tensors])
    assert_type(odeint(lambda t, y: (y[1], -y[0]), (y0, y0), ts, gradient="direct").ys, Tensors)
    position, speed = odeint(pair, (y0, y0), ts, gradient="direct").ys
    assert position.shape == speed.shape == (3, 3)


def test_of_torchdiffeqs_functions_too() -> None:
    assert_type(compat.odeint(decay, y0, ts), Tensor)
    assert_type(compat.odeint(pair, (y0, y0), ts), Tensors)
    assert_type(compat.odeint_adjoint(decay, y0, ts, adjoint_params=()), Tensor)
    until_half = compat.odeint(pair, (y0, y0), ts[:2], event_fn=lambda t, y: y[0] - 0.5)
    assert_type(until_half, tuple[Tensor, Tensors])
    assert_type(odeint(pair, (y0, y0), ts, event=lambda t, y: y[0].sum()).events[0].ys, Tensors)


def test_a_field_of_another_kind_of_state_and_an_option_that_there_is_not_are_refused() -> None:
    with pytest.raises(ValueError, match="returned a tuple"):
        odeint(pair, y0, ts)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        odeint(decay, [y0, y0], ts)  # type: ignore[type-var, arg-type]
    with pytest.raises(TypeError, match="did you mean `max_nfe`"):
        odeint(decay, y0, ts, max_nfee=3)  # type: ignore[call-arg]
