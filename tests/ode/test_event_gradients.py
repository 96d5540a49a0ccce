"""Gradients through an event's time and state: closed forms, finite differences, the three modes side by side."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nodebench.ode import Event, Solution, odeint
from nodebench.ode.methods.traits import known_methods

DTYPE = torch.float64
GRADIENTS = ["direct", "checkpointed", "adjoint"]
TIGHT = {"rtol": 1e-10, "atol": 1e-10}
COARSE: dict[str, dict[str, Any]] = {
    "adaptive": {"rtol": 1e-2, "atol": 1e-2},
    "hermite": {"method": "heun", "dt": 0.3},
    "interpolant": {"method": "tsit5", "dt": 0.4},
}


def scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=DTYPE, requires_grad=True)


def grads(output: Tensor, *inputs: Tensor) -> list[float]:
    return [grad.item() for grad in torch.autograd.grad(output, inputs, retain_graph=True)]


class Ball(nn.Module):
    """(height, velocity) in free fall."""

    def __init__(self) -> None:
        super().__init__()
        self.gravity = nn.Parameter(torch.tensor(9.81, dtype=DTYPE))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.stack([y[1], -self.gravity.expand(())])


def bounces(
    height: Tensor, restitution: Tensor, num: int, ball: Ball, gradient: str
) -> tuple[Tensor, Tensor]:
    """Time and speed behind the bounce number `num`."""
    t, y = torch.zeros((), dtype=DTYPE), torch.stack([height, torch.zeros_like(height)])
    for _ in range(num):
        ts = torch.stack([t, t.detach() + 10])
        solution = odeint(ball, y, ts, gradient=gradient, event=Event(lambda t, y: y[0], -1), **TIGHT)
        assert solution.ended_by == 0
        t, y = solution.events[0].ts[0], solution.events[0].ys[0] * torch.stack([restitution, -restitution])
    return t, y[1]


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("num", [1, 3])
def test_a_bouncing_ball_has_the_gradients_of_its_closed_form(num: int, gradient: str) -> None:
    height, restitution, ball = scalar(10.0), scalar(0.8), Ball()
    t, speed = bounces(height, restitution, num, ball, gradient)

    h, r, g = scalar(10.0), scalar(0.8), scalar(9.81)
    flight = torch.sqrt(2 * h / g)  # the time of the fall; each bounce has twice r times the flight before
    expected = flight + sum((2 * r**i * flight for i in range(1, num)), torch.zeros((), dtype=DTYPE))
    expected_speed = r**num * torch.sqrt(2 * g * h)
    assert t.item() == pytest.approx(expected.item(), abs=1e-9)
    assert speed.item() == pytest.approx(expected_speed.item(), abs=1e-8)
    for found, closed in ((t, expected), (speed, expected_speed)):
        by_hand = torch.autograd.grad(closed, (h, r, g), retain_graph=True, allow_unused=True)
        by_solve = torch.autograd.grad(
            found, (height, restitution, ball.gravity), retain_graph=True, allow_unused=True
        )
        for hand, solve in zip(by_hand, by_solve, strict=True):
            assert (0.0 if solve is None else solve.item()) == pytest.approx(
                0.0 if hand is None else hand.item(), abs=1e-7
            )


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_a_decay_to_a_threshold_has_the_gradients_of_its_closed_form(gradient: str) -> None:
    y0, rate, level = scalar(2.0), scalar(1.5), scalar(0.7)
    solution = odeint(
        lambda t, y, rate: -rate * y,
        y0[None],
        [0.0, 10.0],
        (rate,),
        gradient=gradient,
        event=lambda t, y: y[0] - level,
        **TIGHT,
    )
    (time,), (y,) = solution.events[0].ts, solution.events[0].ys
    log = math.log(2.0 / 0.7)
    assert time.item() == pytest.approx(log / 1.5, abs=1e-9)
    assert grads(time, y0, rate, level) == pytest.approx([1 / 3.0, -log / 2.25, -1 / 1.05], abs=1e-8)
    # The state is the level, whatever the rate and the start.
    assert grads(y[0], y0, rate, level) == pytest.approx([0.0, 0.0, 1.0], abs=1e-8)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_a_circle_has_its_crossings_gradients_with_the_times_and_the_other_outputs(gradient: str) -> None:
    """Of radius r from angle a at t0: it meets y = x tan(b) at t0 + b - a, and at half turns from there."""
    radius, angle, line, t0 = scalar(1.3), scalar(0.2), scalar(0.9), scalar(0.5)
    ts = torch.stack([t0, *torch.tensor([1.0, 5.0], dtype=DTYPE)])
    y0 = radius * torch.stack([torch.cos(angle), torch.sin(angle)])
    solution = odeint(
        lambda t, y: torch.stack([-y[1], y[0]]),
        y0,
        ts,
        gradient=gradient,
        event=Event(lambda t, y: y[1] - y[0] * torch.tan(line), terminal=2),
        **TIGHT,
    )
    (one, two), (_, y) = solution.events[0].ts, solution.events[0].ys
    assert one.item() == pytest.approx(1.2, abs=1e-8)
    assert two.item() == pytest.approx(1.2 + math.pi, abs=1e-8)
    for time in (one, two):
        assert grads(time, radius, angle, line, t0) == pytest.approx([0, -1, 1, 1], abs=1e-7)
    across = [-math.cos(0.9), 0.0, 1.3 * math.sin(0.9), 0.0]
    assert grads(y[0], radius, angle, line, t0) == pytest.approx(across, abs=1e-7)
    # The output before the event is where it was, and an event moves nothing of it.
    expected = [math.cos(0.7), *[-1.3 * math.sin(0.7)], 0.0, 1.3 * math.sin(0.7)]
    mixed = solution.ys[1, 0] + 0 * line + 0 * two
    assert grads(mixed, radius, angle, line, t0) == pytest.approx(expected, abs=1e-7)


def swing(t: Tensor, y: Tensor, rate: Tensor) -> Tensor:
    return torch.stack([y[1], -rate * torch.sin(y[0]) - 0.1 * t * y[1]])


def every_number(gradient: str, **settings: Any) -> Callable[..., Tensor]:
    """All that a solve with two events hands out, as a function of what it depends on."""

    def solved(y0: Tensor, rate: Tensor, level: Tensor, ts: Tensor) -> Tensor:
        events = [
            Event(lambda t, y: y[0] - level, terminal=False),
            Event(lambda t, y: y[1] * rate - level * t, direction=1, terminal=1),
        ]
        solution: Solution[Tensor] = odeint(
            swing, y0, ts, (rate,), gradient=gradient, event=events, **settings
        )
        assert solution.ended_by == 1
        assert len(solution.events[0].ts) == 1
        outputs = solution.ys[:2].flatten()
        return torch.cat([outputs, *(part.flatten() for one in solution.events for part in (one.ts, one.ys))])

    return solved


INPUTS = (
    torch.tensor([1.0, 0.0], dtype=DTYPE),
    torch.tensor(2.0, dtype=DTYPE),
    torch.tensor(0.1, dtype=DTYPE),
)
TS = torch.tensor([0.0, 0.5, 8.0], dtype=DTYPE)


@pytest.mark.parametrize("steps", ["hermite", "interpolant"])
@pytest.mark.parametrize("gradient", ["direct", "checkpointed"])
def test_the_discrete_gradients_are_exact_for_coarse_steps(gradient: str, steps: str) -> None:
    solved = every_number(gradient, **COARSE[steps])
    inputs = tuple(x.clone().requires_grad_() for x in INPUTS)
    assert torch.autograd.gradcheck(lambda *x: solved(*x, TS), inputs, atol=1e-6, rtol=1e-6)


def test_the_adjoint_is_exact_for_the_ode() -> None:
    solved = every_number("adjoint", **TIGHT)
    inputs = tuple(x.clone().requires_grad_() for x in INPUTS)
    assert torch.autograd.gradcheck(lambda *x: solved(*x, TS), inputs, atol=1e-5, rtol=1e-4)


def jacobian(gradient: str, **settings: Any) -> list[Tensor]:
    inputs = tuple(x.clone().requires_grad_() for x in (*INPUTS, TS))
    outputs = every_number(gradient, **settings)(*inputs)
    rows = [torch.autograd.grad(output, inputs, retain_graph=True) for output in outputs]
    return [torch.stack(column) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize("steps", COARSE)
def test_the_checkpointed_gradient_is_the_direct_one(steps: str) -> None:
    torch.testing.assert_close(
        jacobian("checkpointed", **COARSE[steps]), jacobian("direct", **COARSE[steps]), rtol=1e-9, atol=1e-10
    )


@pytest.mark.parametrize(
    "method", [name for name, traits in known_methods().items() if not traits.is_self_driven]
)
def test_every_method_that_takes_our_steps_has_events_and_their_gradients(method: str) -> None:
    traits = known_methods()[method]
    settings = {"rtol": 1e-5, "atol": 1e-5} if traits.has_error else {"dt": 0.005}
    for gradient in traits.gradients:
        y0 = torch.tensor([1.0, 0.0], dtype=DTYPE, requires_grad=True)
        event = Event(lambda t, y: y[0] - 0.5)
        solution = odeint(
            lambda t, y: torch.stack([-y[1], y[0]]),
            y0,
            [0.0, 3.0],
            method=method,
            gradient=gradient,
            event=event,
            **settings,
        )
        (time,), (y,) = solution.events[0].ts, solution.events[0].ys
        found = [time, y[1], *torch.autograd.grad(time, y0, retain_graph=True)[0]]
        tan = math.tan(math.pi / 3)  # r cos(t + a) = 1/2
        expected = [math.pi / 3, math.sqrt(3) / 2, 1 / tan, -1.0]
        assert [x.item() for x in found] == pytest.approx(
            expected, abs={1: 2e-2, 2: 5e-3}.get(traits.order, 1e-3)
        )


def test_with_tight_tolerances_the_three_gradients_are_one() -> None:
    direct = jacobian("direct", **TIGHT)
    torch.testing.assert_close(jacobian("adjoint", **TIGHT), direct, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_a_tuple_and_a_complex_state_have_the_gradients_of_the_real_one(gradient: str) -> None:
    def times(make: Callable[[Tensor], Any], f: Any, event: Any) -> list[float]:
        radius = scalar(1.3)
        solution = odeint(f, make(radius), [0.0, 3.0], gradient=gradient, event=event, **TIGHT)
        (time,) = solution.events[0].ts
        ys = solution.events[0].ys
        height = ys[1][0] if isinstance(ys, tuple) else ys[0].imag
        return [time.item(), *grads(time, radius), height.item(), *grads(height.sum(), radius)]

    # From (r, 1): to x = 0.5 when r cos t - sin t = 0.5.
    pair = times(lambda r: (r, torch.ones_like(r)), lambda t, y: (-y[1], y[0]), lambda t, y: y[0] - 0.5)
    complex_ = times(
        lambda r: torch.complex(r, torch.ones_like(r)), lambda t, y: 1j * y, lambda t, y: y.real - 0.5
    )
    t = pair[0]
    rate = -1.3 * math.sin(t) - math.cos(t)
    assert pair[1] == pytest.approx(-math.cos(t) / rate, abs=1e-7)
    assert pair[3] == pytest.approx(math.sin(t) + 0.5 * pair[1], abs=1e-7)
    assert complex_ == pytest.approx(pair, abs=1e-8)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_an_event_of_time_alone_stays_where_it_is(gradient: str) -> None:
    y0, at = torch.ones(1, dtype=DTYPE, requires_grad=True), scalar(0.6)
    solution = odeint(lambda t, y: -y, y0, [0.0, 2.0], gradient=gradient, event=lambda t, y: t - 0.6, **TIGHT)
    assert not solution.events[0].ts.requires_grad
    assert grads(solution.events[0].ys[0, 0], y0) == pytest.approx([math.exp(-0.6)], abs=1e-8)
    moved = odeint(lambda t, y: -y, y0, [0.0, 2.0], gradient=gradient, event=lambda t, y: t - at, **TIGHT)
    assert grads(moved.events[0].ts[0], at) == pytest.approx([1.0])
    assert grads(moved.events[0].ys[0, 0], at) == pytest.approx([-math.exp(-0.6)], abs=1e-7)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_where_nothing_wants_a_gradient_an_event_has_none(gradient: str) -> None:
    y0 = torch.ones(1, dtype=DTYPE)
    for y in (y0, y0.clone().requires_grad_()):
        with torch.set_grad_enabled(y is y0):
            solution = odeint(lambda t, y: -y, y, [0.0, 2.0], gradient=gradient, event=lambda t, y: y - 0.5)
        assert not solution.events[0].ts.requires_grad
        assert not solution.events[0].ys.requires_grad


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_an_event_function_that_autograd_cannot_follow_is_refused_where_gradients_are_wanted(
    gradient: str,
) -> None:
    y0 = torch.ones(1, dtype=DTYPE, requires_grad=True)
    with pytest.raises(ValueError, match="a number that autograd cannot follow"):
        odeint(lambda t, y: -y, y0, [0.0, 2.0], gradient=gradient, event=lambda t, y: y.item() - 0.5)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_second_derivatives_of_an_event_are_refused(gradient: str) -> None:
    y0 = torch.ones(1, dtype=DTYPE, requires_grad=True)
    solution = odeint(lambda t, y: -y, y0, [0.0, 2.0], gradient=gradient, event=lambda t, y: y - 0.5)
    with pytest.raises(RuntimeError, match="an event have no second derivative"):
        torch.autograd.grad(solution.events[0].ts[0], y0, create_graph=True)


def test_an_event_that_touches_zero_has_no_gradient() -> None:
    y0 = torch.ones(1, dtype=DTYPE, requires_grad=True)
    event = Event(lambda t, y: torch.sign(y[0] - 0.5))
    (time,) = odeint(lambda t, y: -y, y0, [0.0, 2.0], event=event, **TIGHT).events[0].ts
    assert time.item() == pytest.approx(math.log(2), abs=1e-8)
    with pytest.raises(RuntimeError, match="a rate of change of 0"):
        time.backward()


def test_the_gradient_of_dense_output_ends_where_the_solve_ends() -> None:
    y0 = torch.ones(1, dtype=DTYPE, requires_grad=True)
    solution = odeint(
        lambda t, y: -y,
        y0,
        [0.0, 2.0],
        gradient="direct",
        event=lambda t, y: y - 0.5,
        dense_output=True,
        **TIGHT,
    )
    assert grads(solution.evaluate(0.4)[0], y0) == pytest.approx([math.exp(-0.4)], abs=1e-7)
    with pytest.raises(ValueError, match="outside the solved interval"):
        solution.evaluate(0.8)
