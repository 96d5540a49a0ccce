"""compat against torchdiffeq itself: the same steps, evaluations, values and gradients, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import torch
from ode_fields import Tanh
from torch import Tensor, nn

from nodebench.ode import compat

torchdiffeq = pytest.importorskip("torchdiffeq")

TIMES = [0.1, 0.5, 0.77, 2.3]
EMBEDDED = ["dopri5", "bosh3", "dopri8"]
FIXED = ["euler", "midpoint", "heun2", "heun3", "rk4"]
DIRECTIONS = pytest.mark.parametrize("backwards", [False, True], ids=["forwards", "backwards"])


class Field(Tanh):
    """Counts its calls."""

    def __init__(self) -> None:
        super().__init__(4)
        self.calls = 0

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(t, y)


class ListeningField(Field):
    """Keeps the steps that the callbacks tell of."""

    def __init__(self) -> None:
        super().__init__()
        self.accepted: list[tuple[float, float]] = []
        self.rejected: list[tuple[float, float]] = []
        self.accepted_backward: list[float] = []

    def callback_accept_step(self, t: Tensor, y: Tensor, dt: Tensor) -> None:
        self.accepted.append((t.item(), dt.item()))

    def callback_reject_step(self, t: Tensor, y: Tensor, dt: Tensor) -> None:
        self.rejected.append((t.item(), dt.item()))

    def callback_accept_step_adjoint(self, t: Tensor, y: tuple[Tensor, ...], dt: Tensor) -> None:
        self.accepted_backward.append(dt.item())


class Outcome(NamedTuple):
    field: Any
    ys: Tensor
    forward_calls: int
    grads: tuple[Tensor, ...]  # of y0, the parameters and t


def run(
    library: ModuleType, solve: str, backwards: bool, make_options: Callable[[Tensor], Any], **settings: Any
) -> Outcome:
    # Fixed steps are neither accepted nor rejected: both libraries warn of callbacks that would wait for that.
    field = Field() if settings.get("method") in FIXED else ListeningField()
    generator = torch.Generator().manual_seed(1)
    y0 = torch.randn(3, 4, generator=generator, dtype=torch.float64).requires_grad_()
    times = torch.tensor(TIMES, dtype=torch.float64)
    t = (times.flip(0) if backwards else times).clone().requires_grad_()
    options = make_options(t)
    ys = getattr(library, solve)(field, y0, t, **settings, **options)
    calls = field.calls
    weights = torch.arange(1, ys.numel() + 1, dtype=torch.float64).view_as(ys).sin()
    (ys * weights).sum().backward()
    return Outcome(field, ys.detach(), calls, (y0.grad, field.weight.grad, field.bias.grad, t.grad))


def assert_close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def assert_same_steps(actual: Outcome, expected: Outcome) -> None:
    assert actual.forward_calls == expected.forward_calls
    for ours, theirs in (
        (actual.field.accepted, expected.field.accepted),
        (actual.field.rejected, expected.field.rejected),
    ):
        assert len(ours) == len(theirs)
        steps = [torch.tensor(side, dtype=torch.float64) for side in (ours, theirs)]
        # A first step that is far too short has an error near rounding, and the next size follows from that error.
        assert_close(*steps, 1e-7)


@DIRECTIONS
@pytest.mark.parametrize("method", EMBEDDED)
def test_steps_evaluations_values_and_direct_gradients_are_those_of_torchdiffeq(
    method: str, backwards: bool
) -> None:
    def options(t: Tensor) -> dict[str, Any]:
        return {"options": {"step_t": t[-1:], "first_step": 0.3}}

    settings = {"method": method, "rtol": 1e-5, "atol": 1e-6}
    theirs = run(torchdiffeq, "odeint", backwards, options, **settings)
    ours = run(compat, "odeint", backwards, options, **settings)

    assert theirs.field.rejected, "the problem should have rejected steps"
    assert_same_steps(ours, theirs)
    assert_close(ours.ys, theirs.ys, 1e-10)
    for actual, expected in zip(ours.grads, theirs.grads, strict=True):
        assert_close(actual, expected, 1e-9)


@DIRECTIONS
@pytest.mark.parametrize("method", EMBEDDED)
def test_the_initial_step_rule_is_that_of_torchdiffeq(method: str, backwards: bool) -> None:
    def options(t: Tensor) -> dict[str, Any]:
        return {"options": {"step_t": t[-1:].detach()}}

    settings = {"method": method, "rtol": 1e-5, "atol": 1e-6}
    theirs = run(torchdiffeq, "odeint", backwards, options, **settings)
    ours = run(compat, "odeint", backwards, options, **settings)

    assert_same_steps(ours, theirs)
    assert_close(ours.ys, theirs.ys, 1e-10)


@DIRECTIONS
@pytest.mark.parametrize("method", ["adaptive_heun", "fehlberg2"])
def test_methods_whose_stages_torchdiffeq_reuses_agree_to_tolerance(method: str, backwards: bool) -> None:
    settings = {"method": method, "rtol": 1e-5, "atol": 1e-6}
    theirs = run(torchdiffeq, "odeint", backwards, lambda t: {}, **settings)
    ours = run(compat, "odeint", backwards, lambda t: {}, **settings)
    assert_close(ours.ys, theirs.ys, 1e-3)


@pytest.mark.parametrize("options", [{}, {"ifactor": 3.0}, {"safety": 0.7}, {"dfactor": 0.6}])
def test_the_three_numbers_of_the_controller_mean_what_they_mean_there(options: dict[str, float]) -> None:
    def all_options(t: Tensor) -> dict[str, Any]:
        return {"options": {"step_t": t[-1:].detach(), "first_step": 1.5, **options}}

    settings = {"method": "dopri5", "rtol": 1e-6, "atol": 1e-7}
    theirs = run(torchdiffeq, "odeint", False, all_options, **settings)
    ours = run(compat, "odeint", False, all_options, **settings)
    assert_same_steps(ours, theirs)


@pytest.mark.parametrize("bounds", [{"min_step": 0.12}, {"max_step": 0.07}])
def test_step_bounds_mean_what_they_mean_there(bounds: dict[str, float]) -> None:
    def options(t: Tensor) -> dict[str, Any]:
        return {"options": {"step_t": t[-1:].detach(), "first_step": 0.12, **bounds}}

    settings = {"method": "dopri5", "rtol": 1e-6, "atol": 1e-7}
    theirs = run(torchdiffeq, "odeint", False, options, **settings)
    ours = run(compat, "odeint", False, options, **settings)
    assert_same_steps(ours, theirs)
    assert_close(ours.ys, theirs.ys, 1e-10)


def rms(x: Tensor) -> Tensor:
    return x.pow(2).mean().sqrt()


def largest_without_time(augmented: tuple[Tensor, ...]) -> Tensor:
    return torch.stack([rms(entry) for entry in augmented[1:]]).max()


def largest_of_states(augmented: tuple[Tensor, ...]) -> Tensor:
    return torch.stack([rms(entry) for entry in augmented[1:3]]).max()


@DIRECTIONS
@pytest.mark.parametrize("method", EMBEDDED)
@pytest.mark.parametrize("norm", ["full", "seminorm"])
def test_adjoint_takes_the_steps_of_torchdiffeq_once_time_is_out_of_its_norm(
    norm: str, method: str, backwards: bool
) -> None:
    def adjoint_options(t: Tensor, flip: bool) -> dict[str, Any]:
        # In a solve that runs backwards in time torchdiffeq takes the step_t of the adjoint for negated times.
        step_t = -t[:-1] if flip and backwards else t[:-1]
        return {"step_t": step_t.detach(), "first_step": 0.2}

    def their_options(t: Tensor) -> dict[str, Any]:
        function = largest_without_time if norm == "full" else largest_of_states
        adjoint = {**adjoint_options(t, True), "norm": function}
        return {"options": {"step_t": t[-1:].detach()}, "adjoint_options": adjoint}

    def our_options(t: Tensor) -> dict[str, Any]:
        adjoint = {**adjoint_options(t, False), **({} if norm == "full" else {"norm": "seminorm"})}
        return {"options": {"step_t": t[-1:].detach()}, "adjoint_options": adjoint}

    settings = {"method": method, "rtol": 1e-5, "atol": 1e-6}
    theirs = run(torchdiffeq, "odeint_adjoint", backwards, their_options, **settings)
    ours = run(compat, "odeint_adjoint", backwards, our_options, **settings)

    assert_close(
        torch.tensor(ours.field.accepted_backward), torch.tensor(theirs.field.accepted_backward), 1e-6
    )
    assert_close(ours.ys, theirs.ys, 1e-10)
    for actual, expected in zip(ours.grads[:-1], theirs.grads[:-1], strict=True):
        assert_close(actual, expected, 1e-8)
    assert_close(ours.grads[-1], theirs.grads[-1], 1e-2)  # theirs integrates dL/dt, ours evaluates it
    # dL/dt costs them one evaluation an output but the first, and us one more; the rest of the calls is equal.
    assert ours.field.calls - ours.forward_calls == theirs.field.calls - theirs.forward_calls + 1


@DIRECTIONS
@pytest.mark.parametrize("adjoint_options", [None, {"norm": "seminorm"}])
def test_adjoint_gradients_agree_to_tolerance_for_no_more_evaluations(
    adjoint_options: dict[str, Any] | None, backwards: bool
) -> None:
    settings = {"method": "dopri5", "rtol": 1e-8, "atol": 1e-9, "adjoint_options": adjoint_options}
    theirs = run(torchdiffeq, "odeint_adjoint", backwards, lambda t: {}, **settings)
    ours = run(compat, "odeint_adjoint", backwards, lambda t: {}, **settings)

    for actual, expected in zip(ours.grads, theirs.grads, strict=True):
        assert_close(actual, expected, 1e-6)
    # Three intervals: ours starts two of them with the step size that the one before ended with, so it can lose a
    # few rejected steps of six evaluations there.
    restarts = 2 * 2 * 6
    assert ours.field.calls - ours.forward_calls <= theirs.field.calls - theirs.forward_calls + restarts


def stretched(field: Any, y0: Any, t: Tensor) -> Tensor:
    grid = t[0] + (t[-1] - t[0]) * torch.linspace(0, 1, 14, dtype=t.dtype) ** 1.3
    return torch.cat([t[:1], grid[1:-1], t[-1:]]).detach()


FIXED_OPTIONS: list[dict[str, Any]] = [
    {},
    {"step_size": 0.13},
    {"step_size": 0.1},
    {"step_size": 10.0},
    {"step_size": 0.13, "perturb": True},
    {"step_size": 0.13, "interp": "cubic"},
    {"grid_constructor": stretched},
    {"grid_constructor": stretched, "interp": "cubic", "perturb": True},
]


@DIRECTIONS
@pytest.mark.parametrize("method", FIXED)
@pytest.mark.parametrize("options", FIXED_OPTIONS, ids=lambda o: ",".join(o) or "grid_of_t")
def test_fixed_step_methods_equal_those_of_torchdiffeq(
    options: dict[str, Any], method: str, backwards: bool
) -> None:
    theirs = run(torchdiffeq, "odeint", backwards, lambda t: {"options": dict(options)}, method=method)
    ours = run(compat, "odeint", backwards, lambda t: {"options": dict(options)}, method=method)

    assert_close(ours.ys, theirs.ys, 1e-12)
    for actual, expected in zip(ours.grads[:-1], theirs.grads[:-1], strict=True):
        assert_close(actual, expected, 1e-12)
    if not options:  # elsewhere their grid hides from t that a step lands on an output
        assert_close(ours.grads[-1], theirs.grads[-1], 1e-12)
    # Their cubic interpolation evaluates f for each output, ours for those between grid points.
    spared = ours.forward_calls - theirs.forward_calls
    assert -1 <= spared <= 0 if options.get("interp") == "cubic" else spared == 0


@pytest.mark.parametrize("method", FIXED)
def test_fixed_step_adjoints_equal_those_of_torchdiffeq(method: str) -> None:
    settings = {"method": method, "options": {"step_size": 0.1}}
    theirs = run(torchdiffeq, "odeint_adjoint", False, lambda t: {}, **settings)
    ours = run(compat, "odeint_adjoint", False, lambda t: {}, **settings)
    for actual, expected in zip(ours.grads[:-1], theirs.grads[:-1], strict=True):
        assert_close(actual, expected, 1e-12)


def two_fields(t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    x, y = state
    return torch.cos(t) * y.sum() - x, torch.stack([x[0] * y[1], -y[0] + torch.sin(2 * t)])


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("rtol", [1e-6, (1e-3, 1e-7)])
def test_tuple_states_and_tuple_tolerances_take_the_same_steps(rtol: Any, backwards: bool) -> None:
    t = torch.tensor(TIMES[::-1] if backwards else TIMES, dtype=torch.float64)
    y0 = (torch.tensor([0.2, -1.0, 0.4], dtype=torch.float64), torch.tensor([1.0, 0.5], dtype=torch.float64))
    settings = {"rtol": rtol, "atol": (1e-6, 1e-8), "options": {"step_t": t[-1:], "first_step": 0.2}}
    theirs = torchdiffeq.odeint(two_fields, y0, t, **settings)
    ours = compat.odeint(two_fields, y0, t, **settings)
    assert isinstance(ours, tuple)
    for actual, expected in zip(ours, theirs, strict=True):
        assert_close(actual, expected, 1e-10)


def test_a_tolerance_for_each_element_takes_the_same_steps() -> None:
    def options(t: Tensor) -> dict[str, Any]:
        return {"options": {"step_t": t[-1:].detach(), "first_step": 0.2}}

    rtol = torch.tensor([1e-3, 1e-5, 1e-7, 1e-4], dtype=torch.float64)
    theirs = run(torchdiffeq, "odeint", False, options, rtol=rtol, atol=1e-7)
    ours = run(compat, "odeint", False, options, rtol=rtol, atol=1e-7)
    assert_same_steps(ours, theirs)


def test_a_norm_of_a_tuple_state_sees_the_tuple_in_both_solves() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rate = nn.Parameter(torch.tensor(1.3, dtype=torch.float64))

        def forward(self, t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            x, y = state
            return self.rate * y * torch.cos(t) - 0.2 * x, -x.sum() * self.rate - y

    def first_entry_only(state: tuple[Tensor, ...]) -> Tensor:
        return state[0].abs().max()

    def adjoint_entries(augmented: tuple[Tensor, ...]) -> Tensor:
        _, x, y, adj_x, adj_y, adj_rate = augmented
        assert x.shape == adj_x.shape == (2,)
        assert y.shape == adj_y.shape == adj_rate.shape == ()
        return torch.stack([x.abs().max(), adj_x.abs().max(), adj_y.abs(), adj_rate.abs()]).max()

    t = torch.tensor([0.0, 2.0], dtype=torch.float64)
    results = []
    for library in (torchdiffeq, compat):
        field = Pair()
        y0 = (torch.tensor([1.0, 0.3], dtype=torch.float64), torch.tensor(0.2, dtype=torch.float64))
        ys = library.odeint_adjoint(
            field,
            y0,
            t,
            rtol=1e-4,
            atol=1e-5,
            options={"norm": first_entry_only, "step_t": t[-1:], "first_step": 0.1},
            adjoint_options={"norm": adjoint_entries, "step_t": t[:1], "first_step": 0.1},
        )
        (ys[0][-1].sum() + ys[1][-1]).backward()
        results.append((*ys, field.rate.grad))
    for actual, expected in zip(results[1], results[0], strict=True):
        assert_close(actual, expected, 1e-10)


def test_float32_states_with_float64_times_and_the_reverse_agree() -> None:
    def f(t: Tensor, y: Tensor) -> Tensor:
        assert t.dtype == y.dtype
        return torch.sin(5 * t) - y

    for state, time in ((torch.float32, torch.float64), (torch.float64, torch.float32)):
        t, y0 = torch.tensor([0.0, 0.3, 1.0], dtype=time), torch.ones(3, dtype=state)
        settings = {"rtol": 1e-4, "atol": 1e-5, "options": {"step_t": t[-1:], "first_step": 0.1}}
        theirs, ours = (library.odeint(f, y0, t, **settings) for library in (torchdiffeq, compat))
        assert ours.dtype == state
        assert_close(ours, theirs, 1e-10 if state == torch.float64 else 1e-5)


def test_a_jump_is_seen_from_both_sides_as_there() -> None:
    at_the_jump: dict[str, list[float]] = {}
    values = []
    t = torch.tensor([0.0, 2.0], dtype=torch.float64)
    for library in (torchdiffeq, compat):
        seen = at_the_jump.setdefault(library.__name__, [])

        def f(t: Tensor, y: Tensor, seen: list[float] = seen) -> Tensor:
            if abs(t.item() - 1.0) < 1e-9:
                seen.append(math.copysign(1.0, t.item() - 1.0) if t.item() != 1.0 else 0.0)
            return torch.where(t < 1.0, -y, 2 * y)

        settings = {"options": {"jump_t": torch.tensor([1.0], dtype=torch.float64), "step_t": t[-1:]}}
        values.append(library.odeint(f, torch.ones(2, dtype=torch.float64), t, **settings)[-1])
    ours = at_the_jump["nodebench.ode.compat"]
    assert set(ours) == set(at_the_jump["torchdiffeq"]) == {-1.0, 1.0}
    assert_close(values[1], values[0], 1e-6)
    assert_close(values[1], torch.full((2,), math.exp(1.0), dtype=torch.float64), 1e-6)
