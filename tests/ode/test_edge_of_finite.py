"""A field that is finite up to a state: a solve ends there with its name, and does not creep along the edge."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from nodebench.ode import Status, odeint

ONE = torch.ones(1, dtype=torch.float64)


def bounded(t: Tensor, y: Tensor) -> Tensor:
    """About 1e-3 up to 1.0001, and NaN behind it."""
    return 1e-3 * y + 0 * torch.sqrt(1.0001 - y)


@pytest.mark.parametrize("method", ["dopri5", "bosh3", "dopri8", "kvaerno5"])
@pytest.mark.parametrize("gradient", ["direct", "checkpointed"])
def test_a_solve_ends_where_its_field_does(method: str, gradient: str) -> None:
    solution = odeint(
        bounded,
        ONE,
        [0.0, 1000.0],
        method=method,
        gradient=gradient,
        params=(),
        max_steps=1000,
        raise_on_failure=False,
    )
    assert solution.status in (Status.NON_FINITE, Status.UNSOLVED)
    assert "NaN or Inf" in solution.message
    assert "t=0.099995" in solution.message


@pytest.mark.parametrize("method", ["dopri5", "bosh3", "dopri8"])
@pytest.mark.parametrize("gradient", ["direct", "checkpointed"])
def test_a_sample_ends_where_its_field_does_and_the_others_go_on(method: str, gradient: str) -> None:
    solution = odeint(
        bounded,
        torch.stack([ONE, ONE / 4]),
        [0.0, 1000.0],
        method=method,
        gradient=gradient,
        params=(),
        max_steps=1000,
        steps="per_sample",
        raise_on_failure=False,
    )
    assert list(solution.failures) == [0]
    assert solution.status is Status.NON_FINITE
    assert "sample 0 of 2: non-finite solve at t=0.099995" in solution.message
    torch.testing.assert_close(solution.ys[-1, 1], ONE / 4 * math.e, rtol=1e-2, atol=0.0)


def test_an_edge_that_is_passed_ends_nothing() -> None:
    def f(t: Tensor, y: Tensor) -> Tensor:
        return torch.cos(t) + 0 * torch.sqrt(1.0000001 - y)

    solution = odeint(f, 0 * ONE, [0.0, 3.0], rtol=1e-9, atol=1e-9)
    assert solution.status is Status.SUCCESS
    assert solution.stats.forward.num_rejected
