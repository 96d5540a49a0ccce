"""compat's events and dense output against torchdiffeq's: the same times, states, shapes and gradients, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nodebench.ode import BudgetExhaustedError, compat

torchdiffeq = pytest.importorskip("torchdiffeq")

DTYPE = torch.float64
TIGHT = {"rtol": 1e-10, "atol": 1e-10}
METHODS: list[dict[str, Any]] = [
    {"method": "dopri5", **TIGHT},
    *({"method": method, "rtol": 1e-7, "atol": 1e-7} for method in ("dopri8", "bosh3")),
    *(
        {"method": "rk4", "options": {"step_size": 0.05, "interp": interp}, **TIGHT}
        for interp in ("linear", "cubic")
    ),
    {"method": "midpoint", "options": {"step_size": 0.05, "perturb": True}, **TIGHT},
]
IDS = ["dopri5", "dopri8", "bosh3", "rk4_linear", "rk4_cubic", "midpoint_perturbed"]
every_method = pytest.mark.parametrize("settings", METHODS, ids=IDS)


class Swing(nn.Module):
    """A damped pendulum that is driven by time."""

    def __init__(self) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.tensor(2.0, dtype=DTYPE))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.stack([y[1], -self.rate * torch.sin(y[0]) - 0.1 * t * y[1]])


def angle(t: Tensor, y: Tensor) -> Tensor:
    return y[0] - 0.1 * t


def outcome(
    library: Any, reverse_time: bool, adjoint: bool, event_fn: Callable[..., Tensor] = angle, **settings: Any
) -> list[Tensor]:
    """Time and states of an event, and the gradients of two functions of them."""
    field, y0 = Swing(), torch.tensor([1.0, 0.3], dtype=DTYPE, requires_grad=True)
    t0 = torch.tensor(0.2, dtype=DTYPE, requires_grad=True)
    interface = library.odeint_adjoint if adjoint else library.odeint
    t, ys = library.odeint_event(
        field,
        y0,
        t0,
        event_fn=event_fn,
        reverse_time=reverse_time,
        odeint_interface=interface,
        **settings,
    )
    assert t.shape == ()
    found = [t.detach(), ys.detach()]
    for value in (t, ys[-1, 1]):
        found += torch.autograd.grad(value, (y0, t0, field.rate), retain_graph=True)
    return found


@pytest.mark.parametrize("adjoint", [False, True], ids=["direct", "adjoint"])
@pytest.mark.parametrize("reverse_time", [False, True], ids=["forwards", "backwards"])
@every_method
def test_an_event_is_torchdiffeqs_with_its_gradients(
    settings: dict[str, Any], reverse_time: bool, adjoint: bool
) -> None:
    ours = outcome(compat, reverse_time, adjoint, **settings)
    theirs = outcome(torchdiffeq, reverse_time, adjoint, **settings)
    # dopri8's and bosh3's steps are long for their interpolants. The adjoint on a grid integrates dL/dt there, and here
    # not, and in steps that are not those of the forward solve.
    tolerance = {"dopri5": 1e-7, "dopri8": 1e-4, "bosh3": 1e-4}.get(
        settings["method"], 1e-3 if adjoint else 1e-7
    )
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("adjoint", [False, True], ids=["direct", "adjoint"])
def test_of_several_elements_the_first_to_change_its_sign_is_the_event(adjoint: bool) -> None:
    def walls(t: Tensor, y: Tensor) -> Tensor:
        return torch.stack([y[0] + 2, -(y[0] - 0.2), y[1] * 0 - 1.0])

    ours = outcome(compat, False, adjoint, walls, **TIGHT)
    assert ours[1][-1, 0].item() == pytest.approx(0.2, abs=1e-9)
    torch.testing.assert_close(
        ours, outcome(torchdiffeq, False, adjoint, walls, **TIGHT), rtol=1e-7, atol=1e-7
    )


@pytest.mark.parametrize("adjoint", [False, True], ids=["direct", "adjoint"])
def test_a_tuple_state_is_torchdiffeqs(adjoint: bool) -> None:
    def outcome_of_pair(library: Any) -> list[Tensor]:
        rate = torch.tensor(2.0, dtype=DTYPE, requires_grad=True)
        y0 = (torch.ones(2, 1, dtype=DTYPE, requires_grad=True), torch.zeros(2, dtype=DTYPE))

        def field(t: Tensor, y: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            return y[1][:, None], -rate * y[0][:, 0]

        interface = partial(library.odeint_adjoint, adjoint_params=(rate,)) if adjoint else library.odeint
        t, (left, right) = library.odeint_event(
            field,
            y0,
            torch.tensor(0.0, dtype=DTYPE),
            event_fn=lambda t, y: y[0][0, 0] - 0.3,
            odeint_interface=interface,
            **TIGHT,
        )
        assert (left.shape, right.shape) == ((2, 2, 1), (2, 2))
        loss = t + left[-1, 1, 0] * right[-1, 0]
        return [t.detach(), left.detach(), right.detach(), *torch.autograd.grad(loss, (y0[0], rate))]

    torch.testing.assert_close(outcome_of_pair(compat), outcome_of_pair(torchdiffeq), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("name", ["odeint", "odeint_adjoint"])
def test_odeint_with_an_event_returns_its_time_and_the_states_at_both_ends(name: str) -> None:
    def solved(library: Any, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        y0 = torch.tensor([1.0, 0.3], dtype=DTYPE, requires_grad=True)
        t = torch.tensor([0.0, 1.0], dtype=dtype)
        return getattr(library, name)(Swing(), y0, t, event_fn=angle, **TIGHT)

    for dtype in (torch.float32, torch.float64):
        (t, ys), (their_t, their_ys) = solved(compat, dtype), solved(torchdiffeq, dtype)
        assert (t.dtype, t.shape, ys.shape) == (their_t.dtype, their_t.shape, their_ys.shape)
        assert t.requires_grad == their_t.requires_grad  # of zero: see odeint_event for one
        torch.testing.assert_close((t, ys), (their_t, their_ys), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("adjoint", [False, True], ids=["direct", "adjoint"])
def test_the_bouncing_ball_of_torchdiffeqs_examples_is_the_same(adjoint: bool) -> None:
    class Ball(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gravity = nn.Parameter(torch.tensor([9.8], dtype=DTYPE))
            self.radius = torch.tensor([0.2], dtype=DTYPE)

        def forward(self, t: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            _, velocity, _ = state
            return velocity, -self.gravity, torch.zeros_like(state[2])

        def event_fn(self, t: Tensor, state: tuple[Tensor, ...]) -> Tensor:
            return state[0] - self.radius

    def simulated(library: Any) -> list[Tensor]:
        ball, height = Ball(), torch.tensor([10.0], dtype=DTYPE, requires_grad=True)
        absorption = torch.tensor([0.2], dtype=DTYPE, requires_grad=True)
        t, state = torch.zeros(1, dtype=DTYPE), (height, torch.zeros(1, dtype=DTYPE), absorption)
        times = []
        for _ in range(4):
            interface = library.odeint_adjoint if adjoint else library.odeint
            t, solution = library.odeint_event(
                ball, state, t, event_fn=ball.event_fn, odeint_interface=interface, **TIGHT
            )
            position, velocity, log = (entry[-1] for entry in solution)
            # Pushed off the ground, or the event would be met again at once.
            state = (position + 1e-7, -velocity * (1 - absorption), log)
            times.append(t)
        by = (height, absorption, ball.gravity)
        return [torch.stack(times).detach(), *torch.autograd.grad(times[-1] + state[1].sum(), by)]

    ours, theirs = simulated(compat), simulated(torchdiffeq)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_what_the_event_function_is_computed_from_has_gradients_too() -> None:
    level = torch.tensor(0.5, dtype=DTYPE, requires_grad=True)
    for interface in (compat.odeint, partial(compat.odeint_adjoint, adjoint_params=())):
        t, ys = compat.odeint_event(
            lambda t, y: -2 * y,
            torch.ones(1, dtype=DTYPE),
            torch.tensor(0.0, dtype=DTYPE),
            event_fn=lambda t, y: y - level,
            odeint_interface=interface,
            **TIGHT,
        )
        assert t.item() == pytest.approx(math.log(2) / 2, abs=1e-9)
        (by_time,), (by_state,) = (torch.autograd.grad(x, level, retain_graph=True) for x in (t, ys[-1, 0]))
        assert by_time.item() == pytest.approx(-1.0, abs=1e-8)
        assert by_state.item() == pytest.approx(1.0, abs=1e-8)


@pytest.mark.parametrize("library", [compat, torchdiffeq], ids=["compat", "torchdiffeq"])
def test_an_event_at_the_start_is_met_there(library: Any) -> None:
    y0, t0 = torch.tensor([0.0, 1.0], dtype=DTYPE), torch.tensor(0.5, dtype=DTYPE)
    t, ys = library.odeint_event(Swing(), y0, t0, event_fn=lambda t, y: y[0])
    assert t.item() == 0.5
    assert ys.tolist() == [y0.tolist()] * 2


def test_an_event_far_away_is_found_in_long_steps() -> None:
    for dtype in (torch.float32, torch.float64):
        y0, t0 = torch.zeros(1, dtype=dtype), torch.tensor(0.0, dtype=dtype)
        t, _ = compat.odeint_event(
            lambda t, y: torch.ones_like(y), y0, t0, event_fn=lambda t, y: y - 1e9, reverse_time=False
        )
        assert t.item() == pytest.approx(1e9, rel=1e-6)


@pytest.mark.parametrize("name", ["odeint", "odeint_adjoint"])
def test_an_event_that_never_comes_is_an_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nodebench.ode.compat.event_functions.MOST_FIXED_STEPS", 50)
    solve, y0 = getattr(compat, name), torch.ones(1, dtype=DTYPE)

    def rest(t: Tensor, y: Tensor) -> Tensor:
        return torch.zeros_like(y)

    t = torch.tensor([0.0, 1.0], dtype=DTYPE)
    extra: dict[str, Any] = {"adjoint_params": ()} if name == "odeint_adjoint" else {}
    for settings in ({}, {"method": "euler", "options": {"step_size": 0.1}}):
        with pytest.raises(
            RuntimeError, match=r"`event_fn` did not change its sign in \d+ steps from t\[0\]=0"
        ):
            solve(rest, y0, t, event_fn=lambda t, y: y, **extra, **settings)
    with pytest.raises(
        BudgetExhaustedError, match=r"max_steps_per_output=7 reached at t=[\d.e-]+ \(accepted"
    ):
        solve(
            lambda t, y: torch.cos(t) + 0 * y,
            y0,
            t,
            event_fn=lambda t, y: y + 1,
            options={"max_num_steps": 7},
            **extra,
        )


@pytest.mark.parametrize(
    ("t", "settings", "message"),
    [
        ([0.0, 1.0, 2.0], {}, r"`t` is \[0.0, 1.0, 2.0\]; with event_fn it has two different times"),
        ([0.0, 0.0], {}, r"`t` is \[0.0, 0.0\]"),
        ([0.0, 1.0], {"method": "rk4"}, "event_fn with method `rk4` needs .*step_size"),
        ([0.0, 1.0], {"method": "scipy_solver"}, "`scipy_solver` takes its steps inside SciPy"),
        ([0.0, 1.0], {"event_fn": lambda t, y: 1.0}, "`event_fn` returned 1.0; it must return a tensor"),
        ([0.0, 1.0], {"event_fn": lambda t, y: y[:0]}, r"`event_fn` returned \(0,\) torch.float64"),
    ],
)
def test_an_event_that_makes_no_sense_is_refused(
    t: list[float], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        compat.odeint(
            Swing(),
            torch.tensor([1.0, 0.3], dtype=DTYPE),
            torch.tensor(t, dtype=DTYPE),
            **{"event_fn": angle, **settings},
        )


def test_dense_output_is_torchdiffeqs() -> None:
    y0, ends = torch.tensor([1.0, 0.3], dtype=DTYPE), (torch.tensor(0.0), torch.tensor(4.0))
    ours, theirs = (
        library.odeint_dense(Swing(), y0, *(t.double() for t in ends), rtol=1e-6, atol=1e-8)
        for library in (compat, torchdiffeq)
    )
    for t in torch.linspace(0.01, 3.99, 23, dtype=DTYPE):
        torch.testing.assert_close(ours(t), theirs(t), rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match="outside the solved interval"):
        ours(4.5)


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "bosh3", "rtol": 1e-7, "atol": 1e-7},
        {"method": "rk4", "options": {"step_size": 0.01, "interp": "cubic"}},
    ],
)
def test_dense_output_has_gradients_and_other_methods_and_tuples(settings: dict[str, Any]) -> None:
    field, zero = Swing(), torch.tensor(0.0, dtype=DTYPE)
    y0 = torch.tensor([1.0, 0.3], dtype=DTYPE, requires_grad=True)
    dense = compat.odeint_dense(lambda t, y: (field(t, y[0]),), (y0,), zero, zero + 2, **settings)
    (y,) = dense(1.3)
    expected = compat.odeint(field, y0, torch.tensor([0, 1.3], dtype=DTYPE), rtol=1e-9, atol=1e-9)[1]
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
    by = [torch.autograd.grad(x[0], (y0, field.rate)) for x in (y, expected)]
    torch.testing.assert_close(*by, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", ["scipy_solver", "implicit_adams"])
def test_what_keeps_no_interpolants_refuses_dense_output(method: str) -> None:
    zero = torch.tensor(0.0, dtype=DTYPE)
    with pytest.raises(ValueError, match=f"`{method}` has no interpolant that could be kept"):
        compat.odeint_dense(Swing(), torch.ones(2, dtype=DTYPE), zero, zero + 2, method=method)
