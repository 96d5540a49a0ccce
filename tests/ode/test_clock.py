"""Times as floats, and as tensors only where gradients flow to them."""

from __future__ import annotations

import math

import pytest
import torch

from nodebench.ode.clock import Clock, StepRecord, neighbour

TS = torch.tensor([0.5, 1.5, 4.0], dtype=torch.float64)


def test_direction_and_span() -> None:
    assert (Clock((0.5, 4.0)).direction, Clock((0.5, 4.0)).span) == (1.0, 3.5)
    assert (Clock((4.0, 0.5)).direction, Clock((4.0, 0.5)).span) == (-1.0, 3.5)


def test_outputs_are_split_into_those_inside_a_step_and_the_one_it_lands_on() -> None:
    clock = Clock((0.0, 1.0, 2.0, 3.0))
    assert clock.split(1, 0.5) == ((), None)
    assert clock.split(1, 1.0) == ((), 1)
    assert clock.split(1, 2.5) == ((1, 2), None)
    assert clock.split(2, 3.0) == ((2,), 3)
    backwards = Clock((3.0, 2.0, 1.0, 0.0))
    assert backwards.split(1, 0.5) == ((1, 2), None)
    assert backwards.split(1, 2.5) == ((), None)


def test_without_a_tensor_times_stay_floats() -> None:
    clock = Clock((0.5, 1.5, 4.0))
    record = StepRecord(0.5, 1.0, 1.5, 0, 1, ())
    assert clock.time(0.7, 0) == 0.7
    assert clock.start_and_size(record) == (0.5, 1.0)
    assert clock.end(record) == 1.5
    assert clock.theta(1, 0.5, 2.0) == 0.5


def test_an_interior_time_moves_with_its_anchor_alone() -> None:
    ts = TS.clone().requires_grad_()
    clock = Clock(tuple(TS.tolist()), ts)
    (grad,) = torch.autograd.grad(clock.time(2.25, 1), ts)
    assert clock.time(2.25, 1).item() == 2.25
    assert grad.tolist() == [0, 1, 0]


def test_a_step_that_lands_on_an_output_ends_and_stretches_with_its_time() -> None:
    ts = TS.clone().requires_grad_()
    clock = Clock(tuple(TS.tolist()), ts)
    lands = StepRecord(2.25, 1.75, 4.0, 1, 2, ())
    t, dt = clock.start_and_size(lands)
    assert torch.autograd.grad(t + 0.25 * dt, ts)[0].tolist() == [0, 0.75, 0.25]
    assert torch.autograd.grad(clock.end(lands), ts)[0].tolist() == [0, 0, 1]
    passes = StepRecord(2.25, 0.5, 2.75, 1, None, ())
    t, dt = clock.start_and_size(passes)
    assert dt == 0.5
    assert torch.autograd.grad(clock.end(passes), ts)[0].tolist() == [0, 1, 0]


def test_the_end_of_a_step_is_exact_where_a_sum_would_round_beyond_it() -> None:
    t, t1 = 0.06, 0.9
    assert t + (t1 - t) > t1
    assert Clock((t, t1)).end(StepRecord(t, t1 - t, t1, 0, 1, ())) == t1


def test_neighbours_are_one_spacing_of_the_states_dtype_away() -> None:
    for dtype in (torch.float32, torch.float64):
        y = torch.zeros(1, dtype=dtype)
        eps = torch.finfo(dtype).eps
        assert neighbour(1.0, y, 1.0).item() == 1 + eps
        assert neighbour(1.0, y, -1.0).item() == 1 - eps / 2
        assert neighbour(1.0, y, 1.0).dtype == dtype
    t = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.grad(neighbour(t, y, -1.0), t)[0].item() == 1


def test_the_resolution_is_ten_spacings_of_float64() -> None:
    clock = Clock((0.0, 8.0))
    assert clock.resolution(4.0) == 10 * math.ulp(4.0)
    assert 0 < clock.resolution(0.0) == pytest.approx(8e-20)
