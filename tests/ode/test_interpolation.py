"""The solution inside a step, by polynomials whose values are known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from nodebench.ode import odeint
from nodebench.ode.interpolation import cubic_hermite
from nodebench.ode.methods.explicit import interpolated, interpolated_many
from nodebench.ode.methods.stages import StageBuffer, StageList
from nodebench.ode.methods.tableaus import load_tableaus

DTYPE = torch.float64
OWN = sorted(name for name, tableau in load_tableaus().items() if tableau.interpolant is not None)
THETAS = [0.0, 0.21, 0.5, 0.83, 1.0]


def cubic(t: float) -> float:
    return 2 * t**3 - t**2 + 3 * t - 1


def slope(t: float) -> float:
    return 6 * t**2 - 2 * t + 3


@pytest.mark.parametrize("dt", [0.7, -0.7])
def test_cubic_hermite_reproduces_a_cubic(dt: float) -> None:
    y0, y1, f0, f1 = (
        torch.tensor([v], dtype=DTYPE) for v in (cubic(0.4), cubic(0.4 + dt), slope(0.4), slope(0.4 + dt))
    )
    for theta in THETAS:
        value = cubic_hermite(y0, y1, f0, f1, dt, theta)
        assert value.item() == pytest.approx(cubic(0.4 + theta * dt), rel=1e-14)


def test_the_interpolants_of_their_own_are_those_of_these_methods() -> None:
    assert OWN == ["dopri5", "dopri8", "tsit5"]


@pytest.mark.parametrize("stages_class", [StageBuffer, StageList])
@pytest.mark.parametrize("method", OWN)
def test_an_interpolant_runs_from_y0_to_y1_with_the_first_slope(method: str, stages_class: Any) -> None:
    tableau = load_tableaus()[method]
    y0 = torch.tensor([1.0, -2.0], dtype=DTYPE)
    stages = StageBuffer(tableau, y0) if stages_class is StageBuffer else StageList(tableau)
    ks = torch.sin(torch.arange(2.0 * tableau.num_stages, dtype=DTYPE)).view(-1, 2)
    for i, k in enumerate(ks):
        stages[i] = k
    y1 = y0 + 0.3 * torch.tensor(tableau.b, dtype=DTYPE) @ ks
    torch.testing.assert_close(interpolated(tableau, y0, 0.3, stages, 0.0), y0, rtol=0, atol=1e-15)
    torch.testing.assert_close(interpolated(tableau, y0, 0.3, stages, 1.0), y1, rtol=0, atol=1e-12)
    h = 1e-6
    start = (interpolated(tableau, y0, 0.3, stages, h) - y0) / (0.3 * h)
    torch.testing.assert_close(start, ks[0], rtol=0, atol=1e-3)


@pytest.mark.parametrize("method", OWN)
def test_times_that_are_tensors_give_the_same_values(method: str) -> None:
    tableau = load_tableaus()[method]
    y0 = torch.tensor([1.0, -2.0], dtype=DTYPE)
    stages = StageList(tableau)
    for i in range(tableau.num_stages):
        stages[i] = torch.tensor([0.1 * i, 1.0 - i], dtype=DTYPE)
    for theta in THETAS:
        tensors = (torch.tensor(0.3, dtype=DTYPE), torch.tensor(theta, dtype=DTYPE))
        got = interpolated(tableau, y0, tensors[0], stages, tensors[1])
        torch.testing.assert_close(got, interpolated(tableau, y0, 0.3, stages, theta), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("gradient", ["direct", "checkpointed", "adjoint"])
@pytest.mark.parametrize("ts", [(0.0, 0.4, 1.0), (1.0, 0.4, 0.0)])
@pytest.mark.parametrize("method", ["dopri5", "bosh3", "fehlberg2", "rk4"])
def test_dense_output_passes_through_the_outputs_and_every_step(
    method: str, ts: tuple[float, ...], gradient: str, coupled: Any
) -> None:
    options = {"dt": 0.13} if method == "rk4" else {"rtol": 1e-5, "atol": 1e-5}
    y0 = coupled.solution(ts[0])
    solution = odeint(
        coupled.f, y0, ts, method=method, gradient=gradient, dense_output=True, record_steps=True, **options
    )
    torch.testing.assert_close(
        solution.evaluate(torch.tensor(ts, dtype=DTYPE)), solution.ys, rtol=1e-12, atol=1e-12
    )
    for t, _ in solution.stats.forward.steps[1:]:
        before, after = solution.evaluate(t - 1e-9), solution.evaluate(t + 1e-9)
        torch.testing.assert_close(before, after, rtol=0, atol=1e-7)


def test_dense_output_of_tuples_has_their_shapes_and_a_leading_axis_for_many_times() -> None:
    def f(t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return -state[0], state[1]

    state = (torch.ones(2, 3, dtype=DTYPE), torch.ones((), dtype=DTYPE))
    solution = odeint(f, state, [0.0, 1.0], gradient="direct", dense_output=True)
    x, z = solution.evaluate(0.5)
    assert (x.shape, z.shape) == ((2, 3), ())
    xs, zs = solution.evaluate(torch.tensor([0.0, 0.5, 1.0]))
    assert (xs.shape, zs.shape) == ((3, 2, 3), (3,))
    assert torch.equal(xs[1], x)


@pytest.mark.parametrize("gradient", ["checkpointed", "adjoint"])
def test_gradients_flow_through_dense_output_with_direct_alone(gradient: str, growth: Any) -> None:
    y0 = torch.ones(1, dtype=DTYPE, requires_grad=True)
    for mode in ("direct", gradient):
        solution = odeint(growth(), y0, [0.0, 1.0], method="rk4", dt=0.1, gradient=mode, dense_output=True)
        # The last piece needs a slope that no step computed.
        assert solution.evaluate(0.95).requires_grad is (mode == "direct")


def test_dense_output_refuses_what_it_cannot_know() -> None:
    y0 = torch.ones(1, dtype=DTYPE)
    plain = odeint(lambda t, y: -y, y0, [0.0, 1.0])
    with pytest.raises(ValueError, match=r"keeps no interpolants; solve with dense_output=True"):
        plain.evaluate(0.5)
    dense = odeint(lambda t, y: -y, y0, [0.0, 1.0], dense_output=True)
    for t in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"is outside the solved interval \[0, 1\]"):
            dense.evaluate(t)
    point = odeint(lambda t, y: -y, y0, [1.0, 1.0], dense_output=True)
    with pytest.raises(ValueError, match="no step was taken"):
        point.evaluate(1.0)


def test_hermites_last_slope_is_counted() -> None:
    y0 = torch.ones(1, dtype=DTYPE)
    plain, dense = (
        odeint(
            lambda t, y: -y, y0, [0.0, 1.0], method="heun", dt=0.1, gradient="direct", dense_output=d
        ).stats
        for d in (False, True)
    )
    assert dense.forward.nfe == plain.forward.nfe + 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("method", OWN)
def test_several_times_of_a_step_in_one_go_are_each_of_them_with_its_gradients(
    method: str, dtype: torch.dtype
) -> None:
    tableau = load_tableaus()[method]
    generator = torch.Generator().manual_seed(0)
    y0, *stages = (
        torch.randn(3, 2, dtype=dtype, generator=generator).requires_grad_()
        for _ in range(1 + tableau.num_stages)
    )
    thetas = THETAS[1:]
    values = interpolated_many(tableau, y0, -0.3, stages, thetas)
    expected = torch.stack([interpolated(tableau, y0, -0.3, stages, theta) for theta in thetas])
    torch.testing.assert_close(values, expected, rtol=1e-13, atol=1e-13)
    cotangent = torch.randn(values.shape, dtype=dtype, generator=generator)
    used = [y0, *(stage for stage, row in zip(stages, tableau.interpolant or (), strict=True) if any(row))]
    for ours, one_by_one in zip(
        torch.autograd.grad(values, used, cotangent),
        torch.autograd.grad(expected, used, cotangent),
        strict=True,
    ):
        torch.testing.assert_close(ours, one_by_one, rtol=1e-12, atol=1e-12)
