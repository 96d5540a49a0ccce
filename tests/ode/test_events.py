"""Events: found where closed forms put them, in order, by every way of stepping."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import nodebench.ode
from nodebench.ode import BudgetExhaustedError, Event, NonFiniteError, Status, odeint
from nodebench.ode.drive.roots import find_root
from nodebench.ode.events import crosses

DTYPE = torch.float64
TIGHT = {"rtol": 1e-9, "atol": 1e-9}
WAYS: dict[str, dict[str, Any]] = {
    "dopri5": TIGHT,
    "dopri8": {"method": "dopri8", **TIGHT},
    "bosh3": {"method": "bosh3", "rtol": 1e-7, "atol": 1e-7},
    "rk4": {"method": "rk4", "dt": 0.01},
    "dopri5_fixed": {"dt": 0.05},
    "explicit_adams": {"method": "explicit_adams", "dt": 0.01},
    "implicit_adams": {"method": "implicit_adams", "dt": 0.01, **TIGHT},
}


PAGE = Path(nodebench.ode.__file__).parent / "README.md"


def rotation(t: Tensor, y: Tensor) -> Tensor:
    """On the unit circle, once around in 2 pi."""
    return torch.stack([-y[1], y[0]])


def first(t: Tensor, y: Tensor) -> Tensor:
    return y[0]


def second(t: Tensor, y: Tensor) -> Tensor:
    return y[1]


EAST = torch.tensor([1.0, 0.0], dtype=DTYPE)


@pytest.mark.parametrize("way", WAYS)
def test_a_circle_crosses_an_axis_after_a_quarter(way: str) -> None:
    solution = odeint(rotation, EAST, [0.0, 1.0, 3.0], event=first, **WAYS[way])
    (crossings,) = solution.events
    assert crossings.ts.tolist() == pytest.approx([math.pi / 2], abs=1e-6)
    assert crossings.ys.tolist() == [pytest.approx([0.0, 1.0], abs=1e-6)]
    assert abs(crossings.ys[0, 0].item()) < 1e-14, "the state is on the axis whatever the solve's error"
    assert (solution.status, solution.ended_by) == (Status.EVENT, 0)
    assert solution.ys[1].tolist() == pytest.approx([math.cos(1.0), math.sin(1.0)], abs=1e-6)
    assert solution.ys[2].isnan().all(), "what lies behind the end of the solve is not reached"


@pytest.mark.parametrize("way", WAYS)
def test_an_event_changes_no_step_before_it(way: str) -> None:
    ts = [0.0, 0.7, 1.5, 6.0]
    watched = odeint(rotation, EAST, ts, event=Event(first, terminal=False), **WAYS[way])
    plain = odeint(rotation, EAST, ts, **WAYS[way])
    assert torch.equal(watched.ys, plain.ys)
    assert watched.stats.forward.num_accepted == plain.stats.forward.num_accepted
    assert watched.status is Status.SUCCESS


def test_looking_for_events_costs_evaluations_only_where_an_interpolant_needs_them() -> None:
    def nfe(**settings: Any) -> int:
        return odeint(rotation, EAST, [0.0, 1.0], **settings).stats.forward.nfe

    never = Event(lambda t, y: y[0] + 2)
    assert nfe(event=never, **TIGHT) == nfe(**TIGHT)
    rk4 = {"method": "rk4", "dt": 0.1}
    assert nfe(event=never, **rk4) == nfe(**rk4) + 1, (
        "the slope at a step's end is the first of the next step"
    )


@pytest.mark.parametrize(("direction", "times"), [(1, [1.5]), (-1, [0.5, 2.5]), (0, [0.5, 1.5, 2.5])])
def test_a_direction_counts_the_crossings_that_go_its_way(direction: int, times: list[float]) -> None:
    event = Event(first, direction, terminal=False)
    (crossings,) = odeint(rotation, EAST, [0.0, 8.0], event=event, **TIGHT).events
    assert crossings.ts.tolist() == pytest.approx([math.pi * t for t in times], abs=1e-6)


def test_backwards_in_time_the_direction_is_that_of_the_solve() -> None:
    (crossings,) = odeint(rotation, EAST, [0.0, -8.0], event=Event(second, -1, terminal=2), **TIGHT).events
    # On the way back y[1] = sin t falls behind t = 0, which does not count, and behind -2 pi.
    assert crossings.ts.tolist() == pytest.approx([-2 * math.pi], abs=1e-6)


def test_a_number_of_crossings_ends_the_solve_at_the_last_of_them() -> None:
    ts = [0.0, 4.7, 4.8, 20.0]
    solution = odeint(rotation, EAST, ts, event=Event(first, terminal=2), dense_output=True, **TIGHT)
    assert solution.events[0].ts.tolist() == pytest.approx([math.pi / 2, 3 * math.pi / 2], abs=1e-6)
    assert solution.ys.isnan().all(dim=1).tolist() == [False, False, True, True]
    assert solution.evaluate(4.7).tolist() == pytest.approx(solution.ys[1].tolist(), abs=1e-6)
    with pytest.raises(ValueError, match=r"outside the solved interval \[0, 4.71"):
        solution.evaluate(4.75)


@pytest.mark.parametrize("way", ["dopri5", "rk4"])
def test_the_first_of_several_events_ends_the_solve_and_the_others_are_told(way: str) -> None:
    events = [
        Event(lambda t, y: t - 2.0),
        Event(first),  # at pi / 2 = 1.57
        Event(lambda t, y: y[0] - 0.5, terminal=False),  # at pi / 3 = 1.05, and at 5 pi / 3
    ]
    solution = odeint(rotation, EAST, [0.0, 10.0], event=events, **WAYS[way])
    assert solution.ended_by == 1
    found = [crossings.ts.tolist() for crossings in solution.events]
    assert found == [[], [pytest.approx(math.pi / 2, abs=1e-6)], [pytest.approx(math.pi / 3, abs=1e-6)]]
    assert solution.events[0].ys.shape == (0, 2)


def test_several_crossings_within_one_step_are_found_in_order() -> None:
    def parabola(t: Tensor, y: Tensor) -> Tensor:
        return torch.stack([y[1], torch.full_like(y[1], -2.0)])

    # y = 0.1 + t - t^2 above 0.2 between 0.113 and 0.887, in one step from 0 to 1.
    y0, level = torch.tensor([0.1, 1.0], dtype=DTYPE), Event(lambda t, y: y[0] - 0.2, terminal=False)
    solution = odeint(parabola, y0, [0.0, 1.0], event=level, first_step=1.0)
    assert solution.stats.forward.num_accepted == 1
    root = math.sqrt(0.15)
    assert solution.events[0].ts.tolist() == pytest.approx([0.5 - root, 0.5 + root], abs=1e-12)


def test_a_solve_that_starts_on_an_event_goes_on_to_the_next_one() -> None:
    north = torch.tensor([0.0, 1.0], dtype=DTYPE)
    for way in WAYS:
        (crossings,) = odeint(rotation, north, [0.0, 4.0], event=first, **WAYS[way]).events
        assert crossings.ts.tolist() == pytest.approx([math.pi], abs=1e-6), way


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("way", ["dopri5", "rk4"])
def test_a_solve_that_goes_on_from_an_event_does_not_meet_it_again(way: str, dtype: torch.dtype) -> None:
    y, t, found = EAST.to(dtype), 0.0, []
    settings = {"rtol": 1e-5, "atol": 1e-5} if way == "dopri5" else WAYS[way]
    for _ in range(12):
        solution = odeint(rotation, y, [t, t + 4.0], event=[first, second], **settings)
        assert solution.ended_by is not None
        crossings = solution.events[solution.ended_by]
        y, t = crossings.ys[0], crossings.ts[0].item()
        found.append(t)
    assert found == pytest.approx([math.pi / 2 * i for i in range(1, 13)], abs=1e-2)


def test_an_event_at_the_very_end_is_met_and_its_output_is_reached() -> None:
    solution = odeint(lambda t, y: -torch.ones_like(y), torch.ones(1), [0.0, 1.0], event=first, dt=0.25)
    assert solution.events[0].ts.tolist() == [1.0]
    assert solution.ys.tolist() == [[1.0], [0.0]]


def test_to_arrive_at_zero_is_one_crossing() -> None:
    solution = odeint(
        lambda t, y: -torch.ones_like(y),
        torch.ones(1),
        [0.0, 2.0],
        event=Event(first, terminal=False),
        dt=0.5,
    )
    assert solution.events[0].ts.tolist() == [1.0]


def test_an_event_that_never_comes_is_told_of() -> None:
    solution = odeint(rotation, EAST, [0.0, 1.0], event=first)
    assert (solution.status, solution.ended_by) == (Status.SUCCESS, None)
    assert solution.message == "no event ended the solve, which came to ts[-1]=1"
    assert solution.events[0].ts.shape == (0,)
    assert odeint(rotation, EAST, [0.0, 1.0], event=Event(first, terminal=False)).message == ""
    with pytest.raises(BudgetExhaustedError, match="max_steps=5"):
        odeint(rotation, EAST, [0.0, 1e6], event=lambda t, y: y[0] + 2, max_steps=5)


def test_a_failed_solve_keeps_the_events_it_met() -> None:
    solution = odeint(
        rotation, EAST, [0.0, 1e6], event=Event(first, terminal=False), max_steps=30, raise_on_failure=False
    )
    assert solution.status is Status.MAX_STEPS
    assert solution.events[0].ts[0].item() == pytest.approx(math.pi / 2, abs=1e-2)


@pytest.mark.parametrize("way", ["dopri5", "rk4"])
def test_the_budget_of_evaluations_holds_with_events(way: str) -> None:
    for max_nfe in range(20, 32):
        solution = odeint(
            rotation,
            EAST,
            [0.0, 100.0],
            event=lambda t, y: y[0] + 2,
            max_nfe=max_nfe,
            raise_on_failure=False,
            **WAYS[way],
        )
        assert solution.status is Status.MAX_NFE
        assert solution.stats.forward.nfe <= max_nfe


def test_a_tuple_state_is_what_the_event_function_sees_and_what_the_crossings_hold() -> None:
    def field(t: Tensor, y: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return -y[1], y[0]

    y0 = (torch.ones(2, 1, dtype=DTYPE), torch.zeros(2, 1, dtype=DTYPE))
    solution = odeint(field, y0, [0.0, 3.0], event=lambda t, y: y[0].sum(), **TIGHT)
    left, right = solution.events[0].ys
    assert left.shape == right.shape == (1, 2, 1)
    assert right.flatten().tolist() == pytest.approx([1.0, 1.0], abs=1e-7)


def test_a_complex_state_has_events_of_real_functions() -> None:
    y0 = torch.ones(1, dtype=torch.complex128)
    (crossings,) = odeint(lambda t, y: 1j * y, y0, [0.0, 2.0], event=lambda t, y: y.real, **TIGHT).events
    assert crossings.ts.tolist() == pytest.approx([math.pi / 2], abs=1e-7)


def test_a_number_of_pythons_is_an_event_where_no_gradient_is_wanted() -> None:
    (crossings,) = odeint(rotation, EAST, [0.0, 2.0], event=lambda t, y: float(y[0]), **TIGHT).events
    assert crossings.ts.tolist() == pytest.approx([math.pi / 2], abs=1e-7)


def test_compiled_steps_meet_the_same_events() -> None:
    settings: dict[str, Any] = {"rtol": 1e-6, "atol": 1e-6, "event": Event(first, terminal=2)}
    eager = odeint(rotation, EAST, [0.0, 20.0], **settings)
    compiled = odeint(rotation, EAST, [0.0, 20.0], compile="eager", **settings)
    assert compiled.events[0].ts.tolist() == pytest.approx(eager.events[0].ts.tolist(), abs=1e-12)
    assert compiled.stats.forward.nfe == eager.stats.forward.nfe


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (lambda t, y: None, "an event function returned a NoneType; it must return one real number"),
        (lambda t, y: y, r"returned a tensor of shape \(2,\) and torch.float64"),
        (lambda t, y: y[0] < 0, r"returned a tensor of shape \(\) and torch.bool"),
        (lambda t, y: True, "returned a bool"),
        (lambda t, y: y[0] * math.nan, "returned NaN between t=0 and t="),
        (lambda t, y: y[0].mul_(2), "changed its state in place"),
        ("y[0]", "`event` is a str|an event's function is a str"),
        (3, "`event` is a int"),
        ([first, 3], "an event's function is a int"),
    ],
)
def test_what_is_no_event_is_said_in_a_sentence(event: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        odeint(rotation, EAST, [0.0, 1.0], event=event)


@pytest.mark.parametrize(("name", "value"), [("direction", 2), ("terminal", -1), ("terminal", 0.5)])
def test_a_direction_or_end_that_there_is_not_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"`{name}` of an event is {value}"):
        Event(first, **{name: value})


def test_scipys_methods_refuse_events() -> None:
    with pytest.raises(ValueError, match="`lsoda` takes its steps inside SciPy"):
        odeint(rotation, EAST, [0.0, 1.0], event=first, method="lsoda")


def test_a_state_that_is_not_finite_is_the_solves_failure_and_not_the_events() -> None:
    event = Event(lambda t, y: y[0] + 1, terminal=False)
    with pytest.raises(NonFiniteError):
        odeint(lambda t, y: y * y, torch.ones(1), [0.0, 3.0], event=event, **WAYS["rk4"])


def test_a_value_that_is_nan_crosses_nothing() -> None:
    assert not any(crosses(*pair, 0) for pair in [(1.0, math.nan), (math.nan, 1.0), (math.nan, -1.0)])


@pytest.mark.parametrize(
    ("f", "root"),
    [
        (lambda x: x**3 - 0.2, 0.2 ** (1 / 3)),
        (lambda x: math.tanh(1e8 * (x - 0.7)), 0.7),
        (lambda x: math.copysign(1.0, x - 0.3), 0.3),
        (lambda x: math.inf if x > 0.4 else -1.0, 0.4),
        (lambda x: (x - 0.5) ** 9, 0.5),
    ],
)
def test_a_root_is_found_in_few_evaluations(f: Any, root: float) -> None:
    points: list[float] = []

    def recorded(x: float) -> float:
        points.append(x)
        return f(x)

    found = find_root(recorded, (0.0, 1.0), (f(0.0), f(1.0)), 1e-14)
    assert abs(f(found)) < 1e-100 or found == pytest.approx(root, abs=2e-14)
    assert len(points) < 70


def test_the_bouncing_ball_of_the_page_runs_and_is_right() -> None:
    (source,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(source, str(PAGE), "exec"), names)
    falls = 1 + 2 * sum(0.8**i for i in range(1, 5))  # in times of the first fall
    fall = math.sqrt(20 / 9.81)
    assert names["t"].item() == pytest.approx(falls * fall, abs=1e-7)
    assert names["by_height"].item() == pytest.approx(falls * fall / 20, abs=1e-7)
