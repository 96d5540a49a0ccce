"""A solve that cannot go on says what happened, where, after what, and what to try."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import nodebench.ode
from nodebench.ode import (
    BudgetExhaustedError,
    NonFiniteError,
    SolverError,
    Status,
    StepUnderflowError,
    odeint,
)
from nodebench.ode.clock import Clock
from nodebench.ode.counts import Counts
from nodebench.ode.failures import SolveFailure
from nodebench.ode.norms import Accuracy
from nodebench.ode.status import ERROR_CLASSES

DTYPE = torch.float64
ONE = torch.ones(1, dtype=DTYPE)
GRADIENTS = ["direct", "checkpointed", "adjoint"]
ADAPTIVE = ["dopri5", "bosh3", "tsit5", "dopri8", "adaptive_heun", "fehlberg2"]


def bad_from(start: float, value: float = math.nan) -> Callable[[Tensor, Tensor], Tensor]:
    """y' = -y, but `value` from a time on."""
    return lambda t, y: torch.where(t >= start, value, -1.0) * y


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("options", [{}, {"first_step": 0.1}])
def test_a_field_that_is_not_finite_at_the_start_fails_there_at_once(
    value: float, options: Any, gradient: str
) -> None:
    with pytest.raises(NonFiniteError, match=r"non-finite solve at t=0\.5 ") as caught:
        odeint(bad_from(0.0, value), ONE, [0.5, 1.0], gradient=gradient, **options)
    assert caught.value.status is Status.NON_FINITE
    assert "largest |y| there is 1" in str(caught.value)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("method", ADAPTIVE)
def test_a_field_that_is_not_finite_ahead_is_approached_and_named_there(method: str, value: float) -> None:
    tolerance = 1e-3 if method in ("adaptive_heun", "fehlberg2") else 1e-6
    solution = odeint(
        bad_from(0.6180339, value), ONE, [0.0, 0.3, 1.0], method=method, gradient="direct",
        rtol=tolerance, atol=tolerance, raise_on_failure=False, record_steps=True,
    )  # fmt: skip
    assert solution.status is Status.NON_FINITE
    t, dt = solution.stats.forward.steps[-1]
    assert t + dt == pytest.approx(0.6180339, abs=1e-12)
    assert t + dt < 0.6180339
    assert "at t=0.618034" in solution.message
    assert solution.ys[1].item() == pytest.approx(math.exp(-0.3), rel=2e-2)
    assert solution.ys[2].isnan().all()
    assert solution.stats.forward.num_rejected < 200


@pytest.mark.parametrize("method", ADAPTIVE)
def test_a_hole_in_the_field_that_the_steps_need_not_meet_is_stepped_over_or_named(method: str) -> None:
    def hole(t: Tensor, y: Tensor) -> Tensor:  # NaN where y is too large, which only too long a step reaches
        return torch.where(y > 2, math.nan, 1 - y)

    ys = odeint(hole, 0 * ONE, [0.0, 1.0], method=method, first_step=1.0, gradient="direct").ys
    assert ys[-1].item() == pytest.approx(1 - math.exp(-1), abs=0.15)


@pytest.mark.parametrize("method", ["dopri5", "bosh3", "dopri8"])
def test_a_singularity_of_the_solution_is_an_underflow_or_not_finite_but_never_a_value(method: str) -> None:
    # y' = y^2, y(0) = 1 is 1 / (1 - t).
    with pytest.raises(SolverError, match=r"t=(1|0\.99999)") as caught:
        odeint(lambda t, y: y * y, ONE, [0.0, 2.0], method=method, rtol=1e-6, atol=1e-6, gradient="direct")
    assert caught.value.status in (Status.DT_UNDERFLOW, Status.NON_FINITE)


def test_an_error_that_no_step_can_meet_is_an_underflow_with_its_numbers() -> None:
    noise = torch.Generator().manual_seed(0)
    f = lambda t, y: torch.randn(1, generator=noise, dtype=DTYPE) * 1e12  # noqa: E731
    with pytest.raises(
        StepUnderflowError, match=r"step size underflow at t=.*dt=.* with rtol=1e-09, atol=1e-09 in float64 "
    ) as caught:
        odeint(f, ONE, [1.0, 2.0], rtol=1e-9, atol=1e-9, gradient="direct")
    assert caught.value.status is Status.DT_UNDERFLOW
    for part in ("accepted 0", "rejected ", "nfe ", "last error ratio", "loosen the tolerance"):
        assert part in str(caught.value)
    assert "use float64" not in str(caught.value)
    with pytest.raises(StepUnderflowError, match=r"in float32, .*use float64"):
        odeint(lambda t, y: f(t, y).float(), ONE.float(), [1.0, 2.0], rtol=1e-9, atol=1e-9, gradient="direct")


@pytest.mark.parametrize("method", ["dopri5", "bosh3", "adaptive_heun"])
def test_a_state_that_overflows_is_not_finite(method: str) -> None:
    huge = torch.tensor([2e38])
    with pytest.raises(NonFiniteError):
        odeint(lambda t, y: torch.full_like(y, 3e38), huge, [0.0, 1.0], method=method, gradient="direct")


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("start", [0.0, 0.55, 0.95])
def test_fixed_steps_that_become_not_finite_are_an_error(start: float, gradient: str) -> None:
    with pytest.raises(NonFiniteError, match=r"the state became NaN or Inf.*accepted 10, rejected 0"):
        odeint(bad_from(start), ONE, [0.0, 1.0], method="rk4", dt=0.1, gradient=gradient)


@pytest.mark.parametrize("gradient", ["direct", "adjoint"])
@pytest.mark.parametrize("method", ["euler", "rk4", "dopri5", "explicit_adams", "implicit_adams"])
def test_steps_on_a_grid_name_the_one_that_was_not_finite(method: str, gradient: str) -> None:
    start = 0.5 if method in ("euler", "explicit_adams") else 0.55  # these two evaluate f at the start alone
    options = {"method": method, "dt": 0.1, "gradient": gradient, "raise_on_failure": False}
    solution = odeint(bad_from(start), ONE, [0.0, 1.0, 2.0], **options)
    assert "at t=0.5 (dt=0.1)" in solution.message
    assert 0.59 <= float(solution.message.split("largest |y| there is ")[1].split()[0]) < 0.61
    calls = 0

    def counted(t: Tensor, y: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return math.nan * y

    forward = odeint(counted, ONE, [0.0, 1.0], **options).stats.forward
    assert calls - 6 <= forward.nfe < calls  # the evaluations that found the step are not counted
    assert "at t=0 (dt=0.1)" in odeint(lambda t, y: -y, math.nan * ONE, [0.0, 1.0], **options).message


@pytest.mark.parametrize("options", [{}, {"first_step": 0.1}])
@pytest.mark.parametrize(("dtype", "eps"), [(torch.float32, "1.2e-07"), (torch.float64, "2.2e-16")])
def test_a_tolerance_that_no_error_can_meet_is_blamed_and_not_the_field(
    dtype: torch.dtype, eps: str, options: Any
) -> None:
    with pytest.raises(
        StepUnderflowError, match=rf"can meet rtol=1e-300, .* resolves {eps} of \|y\|"
    ) as caught:
        odeint(lambda t, y: -y, torch.ones(2, dtype=dtype), [0.0, 1.0], rtol=1e-300, atol=1e-300, **options)
    assert ("use float64" in str(caught.value)) == (dtype == torch.float32)
    assert "check the vector field" not in str(caught.value)


def test_a_budget_spent_on_digits_that_the_dtype_does_not_have_says_so() -> None:
    with pytest.raises(BudgetExhaustedError, match=r"with rtol=1e-15, atol=1e-15 in float32, which resolves"):
        odeint(lambda t, y: -y, ONE.float(), [0.0, 1.0], rtol=1e-15, atol=1e-15, max_steps=100)


def test_a_field_whose_error_overflows_is_named_as_too_large() -> None:
    with pytest.raises(NonFiniteError, match=r"at t=0 .*so large that the error overflows float32"):
        odeint(lambda t, y: 1e30 + 0 * y, torch.ones(2), [0.0, 1.0], gradient="direct")


def test_min_step_does_not_force_a_step_that_is_not_finite() -> None:
    with pytest.raises(NonFiniteError, match=r"t=0\.[45]"):
        odeint(bad_from(0.55), ONE, [0.0, 1.0], min_step=0.1, max_step=0.1, gradient="direct")


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("options", [{"rtol": 1e-9, "atol": 1e-9}, {"method": "euler", "dt": 0.01}])
def test_an_exhausted_budget_says_how_far_it_came(options: Any, gradient: str) -> None:
    with pytest.raises(
        BudgetExhaustedError, match=r"max_steps=5 reached at t=0\.\d+ of 3 .*raise the budget"
    ) as caught:
        odeint(lambda t, y: -y, ONE, [0.0, 3.0], max_steps=5, gradient=gradient, **options)
    assert caught.value.status is Status.MAX_STEPS
    assert ("take longer steps" if "dt" in options else "loosen the tolerance") in str(caught.value)
    with pytest.raises(
        BudgetExhaustedError, match=r"max_nfe=40 reached at t=0\.\d+ of 3 .*nfe \d+"
    ) as caught:
        odeint(lambda t, y: -y, ONE, [0.0, 3.0], max_nfe=40, gradient=gradient, **options)
    assert caught.value.status is Status.MAX_NFE


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_a_failure_as_a_value_keeps_what_was_reached_and_marks_the_rest(gradient: str, growth: Any) -> None:
    y0 = torch.ones(2, dtype=DTYPE, requires_grad=True)
    ts = [0.0, 0.1, 0.2, 5.0, 6.0]
    solution = odeint(
        growth(-1.0), y0, ts, gradient=gradient, rtol=1e-8, atol=1e-8, max_steps=12, raise_on_failure=False
    )
    assert solution.status is Status.MAX_STEPS
    assert "max_steps=12 reached" in solution.message
    assert solution.stats.forward.num_steps == 12
    torch.testing.assert_close(
        solution.ys[2], torch.full((2,), math.exp(-0.2), dtype=DTYPE), rtol=1e-7, atol=0
    )
    assert solution.ys[:3].isfinite().all()
    assert solution.ys[3:].isnan().all()
    solution.ys[2].sum().backward()
    assert y0.grad.tolist() == pytest.approx([math.exp(-0.2)] * 2, rel=1e-7)


def test_the_three_failures_are_told_apart_by_type_and_share_a_base() -> None:
    assert {NonFiniteError.__base__, StepUnderflowError.__base__, BudgetExhaustedError.__base__} == {
        SolverError
    }
    assert issubclass(SolverError, RuntimeError)


@pytest.mark.parametrize(
    "status", sorted(ERROR_CLASSES, key=lambda status: status.value), ids=lambda status: status.value
)
@pytest.mark.parametrize(
    "carry",
    [
        lambda error: pickle.loads(pickle.dumps(error)),
        copy.copy,
        copy.deepcopy,
        lambda error: type(error)(str(error)),  # how torch carries errors out of its threads and workers
    ],
    ids=["pickled", "copied", "copied_deeply", "made_anew_from_its_message"],
)
def test_a_failure_survives_the_way_to_another_process(carry: Any, status: Status) -> None:
    failure = SolveFailure(Clock((0.0, 1.0)), Counts(), Accuracy(1e-3, 1e-3), DTYPE)
    failures = {
        Status.MAX_STEPS: failure.budget(Status.MAX_STEPS, "max_steps=1", 0.5),
        Status.MAX_NFE: failure.budget(Status.MAX_NFE, "max_nfe=1", 0.5),
        Status.DT_UNDERFLOW: failure.underflow(0.5, 1e-17, ONE),
        Status.NON_FINITE: failure.non_finite(0.5, 0.1, ONE, "f is NaN"),
        Status.UNSOLVED: failure.not_solved(0.5, 0.1, ONE, "the matrix is singular"),
    }
    error = carry(failures[status])
    assert (type(error), str(error), error.status) == (
        type(failures[status]),
        str(failures[status]),
        status,
    )


def test_every_failure_that_can_be_shown_can_be_imported_to_be_caught() -> None:
    for error in ERROR_CLASSES.values():
        assert getattr(nodebench.ode, error.__name__) is error
        assert error.__name__ in nodebench.ode.__all__


def test_the_status_of_each_failure_is_its_class() -> None:
    assert {status: error.status for status, error in ERROR_CLASSES.items()} == {
        status: status for status in set(Status) - {Status.SUCCESS, Status.EVENT}
    }


def test_an_error_raised_by_the_field_passes_through_unchanged() -> None:
    def f(t: Tensor, y: Tensor) -> Tensor:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        odeint(f, ONE, [0.0, 1.0], gradient="direct", raise_on_failure=False)
