"""The front door: shapes, edge cases with an obvious answer, and calls that make no sense."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from ode_fields import decay
from torch import Tensor

from nodebench.ode import Event, Status, compat, list_methods, odeint

DTYPE = torch.float64
ONE = torch.ones(1, dtype=DTYPE)
GRADIENTS = ["direct", "checkpointed", "adjoint"]


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_equal_times_that_require_grad_have_the_gradient_of_a_solve_between_them(gradient: str) -> None:
    y0 = torch.tensor([2.0, 3.0], dtype=DTYPE, requires_grad=True)
    ts = torch.tensor([0.5, 0.5], dtype=DTYPE, requires_grad=True)
    ys = odeint(lambda t, y: t * y, y0, ts, gradient=gradient).ys
    assert torch.equal(ys, torch.stack([y0, y0]))
    (ys[1] * torch.tensor([1.0, 10.0])).sum().backward()
    assert ts.grad.tolist() == [-16.0, 16.0]  # a.f = 1 * 0.5 * 2 + 10 * 0.5 * 3
    assert y0.grad.tolist() == [1.0, 10.0]


@pytest.mark.parametrize("tolerance", [torch.tensor(1e-6), np.float32(1e-6), 1])
def test_a_tolerance_may_be_any_number(tolerance: Any) -> None:
    assert (
        odeint(decay, ONE, [0.0, 1.0], rtol=tolerance, atol=tolerance, gradient="direct").stats.forward.nfe
        > 0
    )


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("shape", [(), (1,), (5,), (2, 3, 4)])
def test_ys_has_a_leading_axis_of_times_and_the_states_shape(shape: tuple[int, ...], gradient: str) -> None:
    y0 = torch.ones(shape, dtype=DTYPE)
    solution = odeint(decay, y0, [0.0, 0.5, 1.0], gradient=gradient, rtol=1e-8, atol=1e-8)
    assert solution.ys.shape == (3, *shape)
    assert torch.equal(solution.ys[0], y0)
    torch.testing.assert_close(solution.ys[2], y0 * math.exp(-1), rtol=1e-7, atol=0)
    assert solution.status is Status.SUCCESS
    assert solution.message == ""
    assert solution.ts.tolist() == [0.0, 0.5, 1.0]


def test_a_state_that_is_not_contiguous_is_solved_as_its_copy() -> None:
    y0 = torch.arange(6, dtype=DTYPE).view(2, 3).t()
    f = lambda t, y: torch.sin(y + t)  # noqa: E731
    got, expected = (odeint(f, state, [0.0, 1.0], gradient="direct").ys for state in (y0, y0.contiguous()))
    torch.testing.assert_close(got, expected, rtol=0, atol=0)


def test_times_may_be_a_list_a_range_or_a_tensor_of_another_dtype() -> None:
    expected = odeint(decay, ONE, [0.0, 1.0, 2.0]).ys
    for ts in ((0, 1, 2), range(3), torch.arange(3.0), torch.arange(3.0, dtype=DTYPE)):
        assert torch.equal(odeint(decay, ONE, ts).ys, expected)


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("ts", [[0.3], [0.3, 0.3], [0.3, 0.3, 0.3]])
def test_one_time_or_equal_times_return_y0_without_an_evaluation(
    ts: list[float], gradient: str, growth: Any
) -> None:
    y0 = torch.tensor([1.0, 2.0], dtype=DTYPE, requires_grad=True)
    solution = odeint(growth(), y0, ts, gradient=gradient)
    assert torch.equal(solution.ys, y0.expand(len(ts), 2))
    assert solution.stats.forward.nfe == 0
    solution.ys.sum().backward()
    assert y0.grad.tolist() == [len(ts)] * 2


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_args_reach_the_field_in_order(gradient: str) -> None:
    a, b = torch.tensor(2.0, dtype=DTYPE), {"b": 3.0}
    seen = []

    def f(t: Tensor, y: Tensor, a: Tensor, b: Any, c: None) -> Tensor:
        seen.append((a.item(), b, c))
        return -y

    odeint(f, ONE, [0.0, 1.0], (a, b, None), gradient=gradient)
    assert all(entry == (2.0, {"b": 3.0}, None) for entry in seen)


def test_tuple_states_of_one_entry_and_with_an_empty_entry_are_tuples() -> None:
    (y,) = odeint(lambda t, s: (-s[0],), (ONE,), [0.0, 1.0]).ys
    assert y.shape == (2, 1)
    y, empty = odeint(lambda t, s: (-s[0], s[1]), (ONE, torch.empty(0, 3, dtype=DTYPE)), [0.0, 1.0]).ys
    assert (y.shape, empty.shape) == ((2, 1), (2, 0, 3))


def test_a_tuple_state_is_solved_as_its_entries_are_alone() -> None:
    a, b = torch.ones(2, dtype=DTYPE), torch.full((3,), 2.0, dtype=DTYPE)
    xs, zs = odeint(lambda t, s: (-s[0], torch.cos(t) * s[1]), (a, b), [0.0, 1.0], method="rk4", dt=0.1).ys
    for together, f, y0 in ((xs, decay, a), (zs, lambda t, y: torch.cos(t) * y, b)):
        alone = odeint(f, y0, [0.0, 1.0], method="rk4", dt=0.1).ys
        torch.testing.assert_close(together, alone, rtol=1e-13, atol=0)


REFUSED: dict[str, tuple[type[Exception], str, dict[str, Any]]] = {
    "unknown method": (ValueError, "unknown method `doprri5`; did you mean `dopri5`?", {"method": "doprri5"}),
    "far method": (ValueError, "unknown method `xyz`; one of: adaptive_heun, bosh3", {"method": "xyz"}),
    "a tensor as args": (
        TypeError,
        "`args` is a Tensor; it must be a tuple, so pass args=(tensor,)",
        {"args": ONE},
    ),
    "a tensor as params": (TypeError, "`params` is a Tensor; it must be a tuple", {"params": ONE}),
    "unknown gradient": (
        ValueError,
        "unknown gradient `adjont`; did you mean `adjoint`?",
        {"gradient": "adjont"},
    ),
    "unknown adjoint norm": (
        ValueError,
        "unknown adjoint_norm `semi_norm`; did you mean `seminorm`?",
        {"adjoint_norm": "semi_norm"},
    ),
    "unknown norm": (ValueError, "unknown norm `rmse`; did you mean `rms`?", {"norm": "rmse"}),
    "unknown controller": (
        ValueError,
        "unknown controller `intergral`; did you mean `integral`?",
        {"controller": "intergral"},
    ),
    "unknown option": (
        TypeError,
        "unknown option `max_step_size`; did you mean `max_steps`?",
        {"max_step_size": 1},
    ),
    "unknown adjoint method": (
        ValueError,
        "unknown method `dopri55`; did you mean `dopri5`?",
        {"gradient": "adjoint", "adjoint_method": "dopri55"},
    ),
    "adjoint method without dt": (
        ValueError,
        "`rk4` has no embedded error estimate, so it needs fixed steps: pass dt=",
        {"gradient": "adjoint", "adjoint_method": "rk4"},
    ),
    "fixed method without dt": (
        ValueError,
        "`rk4` has no embedded error estimate, so it needs fixed steps: pass dt=..., or use one of: adaptive_heun",
        {"method": "rk4"},
    ),
    "zero rtol": (
        ValueError,
        "`rtol` is 0.0; tolerances must be positive and finite, such as 1e-3",
        {"rtol": 0.0},
    ),
    "negative rtol": (ValueError, "`rtol` is -0.001; tolerances must be positive", {"rtol": -1e-3}),
    "NaN atol": (ValueError, "`atol` is nan; tolerances must be positive", {"atol": math.nan}),
    "infinite atol": (ValueError, "`atol` is inf; tolerances must be positive", {"atol": math.inf}),
    "tolerances of a tensor": (ValueError, "`rtol` has 2 entries for a state of 1", {"rtol": (1e-3, 1e-3)}),
    "no rtol": (TypeError, "`rtol` is None; a tolerance is a positive number, such as 1e-3", {"rtol": None}),
    "rtol in words": (TypeError, "`rtol` is '1e-3'; a tolerance is a positive number", {"rtol": "1e-3"}),
    "zero adjoint rtol": (ValueError, "`adjoint_rtol` is 0.0", {"gradient": "adjoint", "adjoint_rtol": 0.0}),
    "NaN adjoint atol": (
        ValueError,
        "`adjoint_atol` is nan",
        {"gradient": "adjoint", "adjoint_atol": math.nan},
    ),
    "zero dt": (ValueError, "`dt` is 0.0; it must be positive (in both directions of time)", {"dt": 0.0}),
    "negative dt": (ValueError, "`dt` is -0.1; it must be positive", {"dt": -0.1}),
    "NaN dt": (ValueError, "`dt` is nan; it must be positive", {"dt": math.nan}),
    "first step with dt": (
        ValueError,
        "`first_step` has no effect on `dopri5` with dt=0.1; drop one of the two",
        {"dt": 0.1, "first_step": 0.01},
    ),
    "step times with dt": (
        ValueError,
        "`step_ts` has no effect on `rk4`",
        {"method": "rk4", "dt": 0.1, "step_ts": [0.5]},
    ),
    "max step of Adams": (
        ValueError,
        "`max_step` has no effect on `explicit_adams`",
        {"method": "explicit_adams", "dt": 0.1, "max_step": 0.05},
    ),
    "zero first step": (ValueError, "`first_step` is 0.0; it must be positive", {"first_step": 0.0}),
    "no steps": (ValueError, "`max_steps` is 0; it must be positive", {"max_steps": 0}),
    "no evaluations": (ValueError, "`max_nfe` is -1; it must be positive", {"max_nfe": -1}),
    "min above max": (
        ValueError,
        "`min_step` is 0.2; it must lie between 0 and max_step=0.1",
        {"min_step": 0.2, "max_step": 0.1},
    ),
    "negative min step": (ValueError, "`min_step` is -0.2; it must lie between 0", {"min_step": -0.2}),
    "a time in both": (
        ValueError,
        "t=0.5 is in `step_ts` and in `jump_ts`",
        {"step_ts": [0.5], "jump_ts": [0.5]},
    ),
}


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_a_call_that_makes_no_sense_is_refused_before_any_evaluation(case: str, record: Any) -> None:
    error, message, options = REFUSED[case]
    f = record(decay)
    with pytest.raises(error, match=re.escape(message)):
        odeint(f, ONE, [0.0, 1.0], **options)
    assert f.times == []


@pytest.mark.parametrize(
    ("y0", "error", "message"),
    [
        (
            torch.ones(2, dtype=torch.int64),
            TypeError,
            "`y0` is torch.int64; states are floating-point or complex",
        ),
        (torch.ones(2, dtype=torch.bool), TypeError, "`y0` is torch.bool"),
        ([1.0, 2.0], TypeError, "`y0` is a list; it must be a tensor or a non-empty tuple of tensors"),
        (1.0, TypeError, "`y0` is a float"),
        ((), TypeError, "`y0` is a tuple"),
        ((torch.ones(1), 2.0), TypeError, "`y0` is a tuple"),
        (torch.empty(0, 3), ValueError, "`y0` of shape [(0, 3)] has no elements"),
        ((torch.empty(0), torch.empty(2, 0)), ValueError, "`y0` of shape [(0,), (2, 0)] has no elements"),
        (
            (torch.ones(1), torch.ones(1, dtype=DTYPE)),
            ValueError,
            "the entries of `y0` are torch.float32 on cpu and torch.float64 on cpu",
        ),
    ],
    ids=str,
)
def test_a_state_that_makes_no_sense_is_refused(y0: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        odeint(decay, y0, [0.0, 1.0])


@pytest.mark.parametrize(
    ("ts", "message"),
    [
        ([0.0, 0.5, 0.5, 1.0], "`ts` is not strictly monotonic: ts[1]=0.5 is followed by 0.5"),
        ([0.0, 1.0, 0.5], "`ts` is not strictly monotonic: ts[1]=1 is followed by 0.5"),
        ([1.0, 0.0, 0.5], "`ts` is not strictly monotonic: ts[1]=0 is followed by 0.5"),
        ([0.0, 0.0, 1.0], "`ts` is not strictly monotonic: ts[0]=0 is followed by 0"),
        ([0.0, 1.0, 0.0], "`ts` is not strictly monotonic: ts[1]=1 is followed by 0"),
        ([], "`ts` is empty; it needs at least the initial time"),
        ([0.0, math.nan], "`ts` contains nan; times must be finite"),
        ([0.0, math.inf], "`ts` contains inf; times must be finite"),
        (torch.tensor(1.0), "`ts` is torch.float32 of shape (); it must be 1-D and floating-point"),
        (torch.ones(2, 2), "`ts` is torch.float32 of shape (2, 2)"),
        (torch.arange(3), "`ts` is torch.int64 of shape (3,)"),
    ],
    ids=str,
)
def test_times_that_make_no_sense_are_refused_at_the_place(ts: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        odeint(decay, ONE, ts)


@pytest.mark.parametrize("ts", [[0.0, 1e300], [0.0, -1e39], [-3e38, 3e38]], ids=str)
def test_times_beyond_the_range_of_the_state_are_refused(ts: list[float]) -> None:
    with pytest.raises(ValueError, match=r"`ts` reaches to .* beyond the range of y0's torch.float32"):
        odeint(decay, torch.ones(1), ts)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"ts": 1.0}, TypeError, "`ts` is 1.0; it must be a tensor or sequence of times"),
        ({"dt": "0.1"}, TypeError, "`dt` is '0.1'; it must be a positive number"),
        ({"step_ts": 0.5}, TypeError, "`step_ts` is 0.5; it must be a sequence of times: [0.5]"),
        ({"jump_ts": [math.nan]}, ValueError, "`jump_ts` is (nan,); times must be finite"),
    ],
    ids=str,
)
def test_times_and_steps_of_the_wrong_kind_are_named(
    settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        odeint(decay, ONE, **{"ts": [0.0, 1.0], **settings})


def test_a_field_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(TypeError, match="`f` is a float; it must be callable as f"):
        odeint(1.0, ONE, [0.0, 1.0])  # type: ignore[arg-type]


def test_max_sample_needs_an_axis_of_samples() -> None:
    with pytest.raises(
        ValueError, match="norm=`max_sample` needs a single tensor whose first axis counts samples"
    ):
        odeint(lambda t, s: s, (ONE, ONE), [0.0, 1.0], norm="max_sample")


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize(
    ("returned", "what"),
    [
        (torch.ones(2, dtype=DTYPE), r"(2,) torch.float64"),
        (torch.ones((), dtype=DTYPE), r"() torch.float64"),
        (torch.ones(1, dtype=torch.int64), r"(1,) torch.int64"),
        (None, "a NoneType"),
        (1.0, "a float"),
        ((torch.ones(1, dtype=DTYPE),), "a tuple"),
    ],
)
def test_a_field_that_returns_the_wrong_thing_is_named(returned: Any, what: str, gradient: str) -> None:
    message = f"the vector field returned {what} for a state of (1,) torch.float64"
    with pytest.raises(ValueError, match=re.escape(message)):
        odeint(lambda t, y: returned, ONE, [0.0, 1.0], gradient=gradient)


@pytest.mark.parametrize(
    ("returned", "what"),
    [
        ((torch.ones(1, dtype=DTYPE),), "[(1,)]"),
        ((torch.ones(2, dtype=DTYPE), torch.ones(1, dtype=DTYPE)), "[(2,), (1,)]"),
        ((torch.ones(1, dtype=DTYPE), 0.0), "[(1,), 'a float']"),
        (torch.ones(3, dtype=DTYPE), "a Tensor"),
        (None, "a NoneType"),
    ],
)
def test_a_field_that_returns_the_wrong_tuple_is_named(returned: Any, what: str) -> None:
    state = (torch.ones(1, dtype=DTYPE), torch.ones(2, dtype=DTYPE))
    message = f"the vector field returned {what} for a state of [(1,), (2,)]"
    with pytest.raises(ValueError, match=re.escape(message)):
        odeint(lambda t, s: returned, state, [0.0, 1.0])


def test_the_methods_are_listed_by_name() -> None:
    methods = list_methods()
    assert methods == sorted(methods)
    expected = {"adaptive_heun", "bosh3", "dopri5", "dopri8", "euler", "fehlberg2", "heun", "heun3"}
    assert expected | {"midpoint", "ralston", "rk4", "rk4_38", "tsit5"} <= set(methods)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_a_solve_inside_a_vector_field_is_a_solve_of_its_own(gradient: str, growth: Any) -> None:
    inner = growth(0.5)

    def outer(t: Tensor, y: Tensor) -> Tensor:
        return -odeint(inner, y, [0.0, 1.0], gradient=gradient, rtol=1e-9, atol=1e-9).ys[-1]

    y0 = torch.ones(1, dtype=DTYPE, requires_grad=True)
    solution = odeint(outer, y0, [0.0, 1.0], gradient="direct", rtol=1e-8, atol=1e-8)
    solution.ys[-1].sum().backward()
    assert y0.grad.item() == pytest.approx(math.exp(-math.exp(0.5)), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_states_in_half_precision_are_refused_by_both_doors(dtype: torch.dtype) -> None:
    y0, ts = torch.ones(2, dtype=dtype), torch.tensor([0.0, 1.0])
    for state in (y0, (y0, y0)):
        for solve in (odeint, compat.odeint):
            with pytest.raises(TypeError, match=rf"`y0` is {dtype}.* keep the state in float32"):
                solve(lambda t, y: y, state, ts)


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize(
    ("dtype", "compile"),
    [
        (torch.float16, False),
        (torch.bfloat16, False),
        (torch.float64, False),
        (torch.bfloat16, "eager"),
    ],
)
def test_a_field_of_another_precision_is_the_field_cast_to_the_states(
    dtype: torch.dtype, compile: bool | str, gradient: str
) -> None:
    def f(t: Tensor, y: Tensor, rate: Tensor) -> Tensor:
        return (y * rate).to(dtype)

    def cast(t: Tensor, y: Tensor, rate: Tensor) -> Tensor:
        return (y * rate).to(dtype).to(y.dtype)

    results = []
    for field in (f, cast):
        y0, rate = torch.ones(2, requires_grad=True), torch.tensor(-1.0, requires_grad=True)
        ys = odeint(
            field, y0, [0.0, 0.3, 1.0], (rate,), method="rk4", dt=0.2, gradient=gradient, compile=compile
        ).ys
        ys[-1].sum().backward()
        assert y0.grad is not None
        assert rate.grad is not None
        results.append((ys.detach(), y0.grad, rate.grad))
    assert results[0][0].dtype == torch.float32
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=0.0)
    assert results[0][0][-1].tolist() == pytest.approx([math.exp(-1)] * 2, rel=1e-2)


@pytest.mark.parametrize("solve", [odeint, compat.odeint])
def test_a_field_of_another_precision_is_cast_by_both_doors_and_in_a_tuple(solve: Any) -> None:
    y0, ts = torch.ones(2), torch.tensor([0.0, 1.0])
    constant = torch.tensor([1.0, 2.0], dtype=torch.float64)
    for ys in (
        solve(lambda t, y: constant, y0, ts, rtol=1e-3, atol=1e-3),
        solve(lambda t, y: (constant, -y[1]), (y0, y0), ts, rtol=1e-3, atol=1e-3),
        solve(lambda t, y: constant, y0.to(torch.complex64), ts, rtol=1e-3, atol=1e-3),
    ):
        states = ys if isinstance(ys, (Tensor, tuple)) else ys.ys
        first = states[0] if isinstance(states, tuple) else states
        assert first.dtype in (torch.float32, torch.complex64)
        assert first[-1].real.tolist() == pytest.approx([2.0, 3.0])


@pytest.mark.parametrize("solve", [odeint, compat.odeint])
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_integers_and_complex_slopes_of_a_real_state_are_refused_by_both_doors(
    dtype: torch.dtype, solve: Any
) -> None:
    y0, ts = torch.ones(2), torch.tensor([0.0, 1.0])
    with pytest.raises(ValueError, match=rf"returned \(2,\) {dtype} for a state of \(2,\) torch.float32"):
        solve(lambda t, y: y.to(dtype), y0, ts)
    with pytest.raises(ValueError, match=rf"an entry of {dtype} for a state of torch.float32"):
        solve(lambda t, y: (y[0], y[1].to(dtype)), (y0, y0), ts)


@pytest.mark.parametrize(
    ("method", "dt"),
    [
        ("dopri5", 0.3),
        ("implicit_adams", 0.3),
        ("trapezoid", 0.3),
        ("gl4", 0.3),
        ("dopri8", None),
        ("trapezoid", None),
    ],
)
def test_a_state_without_axes_keeps_its_precision_beside_times_in_another(
    method: str, dt: float | None
) -> None:
    seen = []

    def f(t: Tensor, y: Tensor) -> Tensor:
        seen.append(y.dtype)
        return -y * t

    y0 = torch.tensor(1.0, requires_grad=True)
    ts = torch.linspace(0, 1, 4, dtype=DTYPE, requires_grad=True)
    has_dense_output = method != "implicit_adams"
    passing = Event(lambda t, y: y - 0.8, terminal=False)
    solution = odeint(
        f, y0, ts, method=method, gradient="direct", dt=dt, dense_output=has_dense_output, event=passing
    )
    assert solution.events[0].ys.dtype == torch.float32
    if has_dense_output:
        assert solution.evaluate(0.5).dtype == torch.float32
    solution.ys[-1].backward()
    assert solution.ys.dtype == torch.float32
    assert set(seen) == {torch.float32}
    assert ts.grad is not None
    assert ts.grad[-1].item() == pytest.approx(-math.exp(-0.5), rel=2e-2)


def test_a_solve_in_an_autocast_region_sums_in_the_precision_of_its_state(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_autocast: list[bool] = []  # a GPU's would take these products in half precision

    def watched(product: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Tensor:
            in_autocast.append(torch.is_autocast_enabled("cpu"))
            return product(*args, **kwargs)

        return call

    for name in ("addmv", "mv"):
        monkeypatch.setattr(torch, name, watched(getattr(torch, name)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        odeint(decay, torch.ones(2), [0.0, 1.0], params=())
    assert in_autocast
    assert not any(in_autocast)


def test_a_field_that_computes_in_half_precision_inside_is_solved_in_single() -> None:
    def f(t: Tensor, y: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return y @ -torch.eye(2)

    solution = odeint(f, torch.ones(2), [0.0, 1.0], method="rk4", dt=0.01)
    assert solution.ys[-1].tolist() == pytest.approx(
        [math.exp(-1)] * 2, rel=1e-2
    )  # a state in bfloat16: 0.953
