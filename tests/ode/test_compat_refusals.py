"""compat refuses by name what it does not support and what makes no sense."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nodebench.ode.compat import odeint, odeint_adjoint

T = torch.tensor([0.0, 0.4, 2.0], dtype=torch.float64)
Y0 = torch.tensor([1.0, -0.5], dtype=torch.float64)


class Decay(nn.Module):
    """y' = -rate y; counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.tensor(1.0, dtype=torch.float64))
        self.calls = 0

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        self.calls += 1
        return -self.rate * y


def test_time_is_float64_whatever_dtype_is_asked_for() -> None:
    for dtype in (torch.float64, torch.float32):
        assert torch.equal(odeint(Decay(), Y0, T, options={"dtype": dtype}), odeint(Decay(), Y0, T))
    for no_dtype in (torch.int64, "float32"):
        with pytest.raises(ValueError, match=f"dtype={no_dtype}; it is that of time"):
            odeint(Decay(), Y0, T, options={"dtype": no_dtype})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "dopri"}, "unknown method `dopri`; did you mean `dopri[58]`"),
        ({"options": {"frist_step": 0.1}}, "`frist_step`.*did you mean `first_step`"),
        ({"method": "rk4", "options": {"first_step": 0.1}}, "`first_step`.*belongs to dopri8, dopri5"),
        ({"options": {"step_size": 0.1}}, "`step_size`.*belongs to euler"),
        ({"options": {"first_step": -0.1}}, "`first_step` is -0.1"),
        ({"options": {"min_step": 2.0, "max_step": 1.0}}, "`min_step` is 2.0"),
        ({"options": {"max_num_steps": 0}}, "`max_num_steps` is 0"),
        ({"options": {"safety": 1.5}}, "safety=1.5"),
        ({"options": {"ifactor": 0.5}}, "ifactor=0.5"),
        ({"options": {"dfactor": 1.0}}, "dfactor=1"),
        ({"options": {"norm": "rms"}}, "norm='rms'"),
        ({"options": {"norm": "seminorm"}}, "norm='seminorm'"),
        ({"options": {"step_t": T[1:2], "jump_t": T[1:2]}}, "name a time twice"),
        ({"method": "rk4", "options": {"interp": "quintic"}}, "`interp` is 'quintic'"),
        ({"method": "rk4", "options": {"step_size": 0.0}}, "`step_size` is 0.0"),
        (
            {"method": "rk4", "options": {"step_size": 0.1, "grid_constructor": lambda f, y, t: t}},
            "`step_size` and `grid_constructor`",
        ),
        ({"method": "rk4", "options": {"grid_constructor": lambda f, y, t: t[:-1]}}, "must begin at"),
        (
            {"method": "rk4", "options": {"grid_constructor": lambda f, y, t: t[[0, 1, 1, 2]]}},
            "does not advance at t=0.4",
        ),
        ({"method": "explicit_adams", "options": {"max_order": 5}}, "`options` has max_order but"),
        ({"method": "implicit_adams", "options": {"interp": "quintic"}}, "`interp` is 'quintic'"),
        ({"method": "implicit_adams", "options": {"max_iters": 0}}, "`max_iters` is 0"),
        (
            {"method": "scipy_solver", "options": {"solver": "Rosenbrock"}},
            "`solver` is 'Rosenbrock'; it must be one of: LSODA, RK45, RK23, DOP853, Radau, BDF$",
        ),
        ({"method": "scipy_solver", "options": {"min_step": 2.0, "max_step": 1.0}}, "`min_step` is 2.0"),
        ({"rtol": -1.0}, "`rtol` is -1.0"),
        ({"atol": (1e-3, 1e-3)}, "`atol` has 2 entries"),
        ({"rtol": torch.tensor([1e-3, 0.0])}, "`rtol` has entries that are not positive"),
    ],
)
def test_calls_that_make_no_sense_are_refused_by_name(settings: dict[str, Any], message: str) -> None:
    with torch.no_grad(), pytest.raises(ValueError, match=message):
        odeint(Decay(), Y0, T, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"adjoint_method": "dopri6"}, "unknown adjoint_method `dopri6`"),
        ({"adjoint_options": {"frist_step": 0.1}}, "`adjoint_options`.*did you mean `first_step`"),
        ({"adjoint_options": {"norm": "semi"}}, "norm='semi'; it must be `seminorm`"),
        ({"adjoint_options": {"dfactor": 2.0}}, "dfactor=2"),
        ({"adjoint_method": "rk4", "options": {"first_step": 0.1}}, "pass `adjoint_options` too"),
        ({"adjoint_rtol": (1e-3, 1e-3)}, "pass `adjoint_rtol` as one number"),
        ({"adjoint_atol": 0.0}, "`adjoint_atol` is 0.0"),
    ],
)
def test_adjoint_calls_that_make_no_sense_are_refused_before_the_solve(
    settings: dict[str, Any], message: str
) -> None:
    field = Decay()
    with pytest.raises(ValueError, match=message):
        odeint_adjoint(field, Y0, T, **settings)
    assert not field.calls


def test_a_function_without_parameters_needs_adjoint_params() -> None:
    with pytest.raises(ValueError, match="pass `adjoint_params`"):
        odeint_adjoint(lambda t, y: -y, Y0, T)


def test_times_must_be_a_tensor() -> None:
    with pytest.raises(TypeError, match="`t` is a list"):
        odeint(Decay(), Y0, [0.0, 1.0])  # type: ignore[arg-type]
