"""Stiff systems of the literature: by an implicit method, and what an explicit one says of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from stiff_systems import SYSTEMS
from torch import Tensor

from nodebench.ode import SolveStats, odeint
from nodebench.ode.status import BudgetExhaustedError, StepBudgetError

ONE = torch.ones(1, dtype=torch.float64)
CAPTURE = "eager"  # what is given to the compiler, captured and run as it is


@pytest.mark.parametrize("method", ["dopri5", "tsit5", "dopri8", "bosh3", "adaptive_heun"])
@pytest.mark.parametrize("gradient", ["direct", "checkpointed"])
def test_a_budget_that_stiffness_spent_says_so_and_names_a_method(method: str, gradient: str) -> None:
    system, stats = SYSTEMS["robertson"], SolveStats()
    y0 = torch.tensor(system.y0, dtype=torch.float64)
    with pytest.raises(StepBudgetError, match="kvaerno5"):
        odeint(
            system.f,
            y0,
            [0.0, 1e5],
            method=method,
            rtol=1e-4,
            atol=1e-6,
            max_steps=300,
            gradient=gradient,
            params=(),
            stats=stats,
        )
    assert stats.forward.is_stiff


def test_compiled_steps_that_stability_limited_say_so_too() -> None:
    def stiff(t: Tensor, y: Tensor) -> Tensor:
        return -200 * (y - torch.cos(t))

    stats = SolveStats()
    with pytest.raises(StepBudgetError, match="kvaerno5"), torch.no_grad():
        odeint(stiff, ONE, [0.0, 50.0], max_steps=300, compile=CAPTURE, stats=stats)
    assert stats.forward.is_stiff


def test_a_budget_that_was_spent_on_a_field_that_is_not_stiff_names_no_method() -> None:
    def turning(t: Tensor, y: Tensor) -> Tensor:
        return torch.stack([y[1], -y[0]])

    y0, settings = torch.ones(2, dtype=torch.float64), {"rtol": 1e-6, "atol": 1e-6}
    for max_nfe in (None, 454):
        stats = SolveStats()
        with pytest.raises(BudgetExhaustedError) as error:
            odeint(
                turning,
                y0,
                [0.0, 1e4],
                method="bosh3",
                max_steps=150,
                max_nfe=max_nfe,
                stats=stats,
                **settings,
            )
        assert "kvaerno5" not in str(error.value)
        assert max_nfe is None or stats.forward.nfe <= max_nfe


def test_a_solve_that_stability_limited_says_so_and_one_that_the_tolerance_did_does_not() -> None:
    def stiff(t: Tensor, y: Tensor) -> Tensor:
        return -200 * (y - torch.cos(t))

    def turning(t: Tensor, y: Tensor) -> Tensor:
        return torch.stack([y[1], -y[0]])

    solution = odeint(stiff, ONE, [0.0, 5.0], rtol=1e-3, atol=1e-3)
    assert solution.stats.forward.is_stiff
    assert "kvaerno5" in solution.message
    solution = odeint(turning, torch.ones(2, dtype=torch.float64), [0.0, 200.0], rtol=1e-3, atol=1e-3)
    assert solution.stats.forward.num_steps > 150
    assert not solution.stats.forward.is_stiff
    assert solution.message == ""


@pytest.mark.parametrize(
    ("name", "rtol"),
    [*((name, 1e-4) for name in SYSTEMS), ("robertson", 1e-6), ("hires", 1e-6), ("robertson", 1e-8)],
)
def test_stiff_systems_are_solved_to_their_tolerance_in_no_more_steps_than_twice_radaus(
    name: str, rtol: float
) -> None:
    system = SYSTEMS[name]
    atol = rtol * system.atol
    y0 = torch.tensor(system.y0, dtype=torch.float64)

    def slopes(t: float, y: np.ndarray) -> np.ndarray:
        result: np.ndarray = system.f(torch.tensor(t), torch.as_tensor(y)).numpy()
        return result

    stats = SolveStats()
    ys = odeint(
        system.f,
        y0,
        [0.0, system.t1],
        method="kvaerno5",
        rtol=rtol,
        atol=atol,
        gradient="direct",
        stats=stats,
    ).ys
    y1 = torch.tensor(system.y1, dtype=torch.float64)
    error = ((ys[-1] - y1).abs() / (atol + rtol * y1.abs())).max()
    assert error < 10
    counts = stats.forward
    assert 8 * counts.num_unsolved < counts.num_steps
    for method in ("Radau", "BDF"):
        theirs = solve_ivp(slopes, (0, system.t1), system.y0, method=method, rtol=rtol, atol=atol)
        assert (counts.num_accepted or 0) < 2 * len(theirs.t)
