"""Implicit methods: what their tableaus have to fulfil, their steps, and what they refuse."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from stiff_systems import SYSTEMS
from torch import Tensor

from nodebench.ode import CompileWarning, ConvergenceError, SolveStats, Status, odeint
from nodebench.ode.methods.implicit.tableau import DIAGONAL, DiagonalTableau

ONE = torch.ones(1, dtype=torch.float64)
PAIRS = pytest.mark.parametrize("name", [name for name, tableau in DIAGONAL.items() if tableau.b_err])


def matrix(tableau: DiagonalTableau) -> np.ndarray:
    a = np.zeros((len(tableau.a), len(tableau.a)))
    for i, row in enumerate(tableau.a):
        a[i, : i + 1] = row
    return a


def order_defects(a: np.ndarray, b: np.ndarray, order: int) -> float:
    """The largest defect of the order conditions up to `order`, by Butcher's trees."""
    c = a.sum(1)
    conditions = [
        [(b.sum(), 1.0)],
        [(b @ c, 1 / 2)],
        [(b @ c**2, 1 / 3), (b @ a @ c, 1 / 6)],
        [(b @ c**3, 1 / 4), (b @ (c * (a @ c)), 1 / 8), (b @ a @ c**2, 1 / 12), (b @ a @ a @ c, 1 / 24)],
        [
            *((b @ c**4, 1 / 5), (b @ (c**2 * (a @ c)), 1 / 10), (b @ (a @ c) ** 2, 1 / 20)),
            *((b @ (c * (a @ c**2)), 1 / 15), (b @ a @ c**3, 1 / 20), (b @ (c * (a @ a @ c)), 1 / 30)),
            *((b @ a @ (c * (a @ c)), 1 / 40), (b @ a @ a @ c**2, 1 / 60), (b @ a @ a @ a @ c, 1 / 120)),
        ],
    ]
    return max(abs(value - wanted) for each in conditions[:order] for value, wanted in each)


def growth(a: np.ndarray, b: np.ndarray, z: complex) -> complex:
    """R(z) = 1 + z b (I - z A)^-1 1, what a step makes of y = 1 where f(y) dt = z y."""
    ones = np.ones(len(a))
    return complex(1 + z * b @ np.linalg.solve(np.eye(len(a)) - z * a, ones))


@pytest.mark.parametrize("name", list(DIAGONAL))
def test_a_tableau_has_its_order_and_no_more(name: str) -> None:
    tableau = DIAGONAL[name]
    a, b = matrix(tableau), np.array(tableau.b)
    assert order_defects(a, b, tableau.order) < 1e-14
    if tableau.order < 5:
        assert order_defects(a, b, tableau.order + 1) > 1e-4


@pytest.mark.parametrize("name", list(DIAGONAL))
def test_no_step_grows_on_the_imaginary_axis_or_at_infinity(name: str) -> None:
    tableau = DIAGONAL[name]
    a, b = matrix(tableau), np.array(tableau.b)
    for y in np.logspace(-2, 6, 60):  # with no pole to the left, this is A-stability
        assert abs(growth(a, b, 1j * y)) <= 1 + 1e-9
    at_infinity = abs(growth(a, b, -1e9))
    assert at_infinity <= 1 + 1e-9
    if name in ("implicit_euler", "kvaerno3", "kvaerno5"):
        assert at_infinity < 1e-6  # L-stable


@pytest.mark.parametrize("name", ["kvaerno3", "kvaerno5"])
def test_kvaernos_embedded_solution_is_of_the_order_below_and_bounded(name: str) -> None:
    tableau = DIAGONAL[name]
    assert tableau.b_err is not None
    a, embedded = matrix(tableau), np.array(tableau.b) - np.array(tableau.b_err)
    assert order_defects(a, embedded, tableau.order - 1) < 1e-14
    assert abs(growth(a, embedded, -1e9)) < 1
    assert tableau.end == len(tableau.a) - 1


def test_a_tableau_that_is_wrong_is_refused() -> None:
    with pytest.raises(ValueError, match="row 1 of a has 1"):
        DiagonalTableau("wrong", 1, a=((0.0,), (1.0,)), b=(0.0, 1.0))
    with pytest.raises(ValueError, match=r"a\[1\]\[1\] is 0.25"):
        DiagonalTableau("wrong", 1, a=((0.5,), (0.25, 0.25)), b=(0.5, 0.5))
    with pytest.raises(ValueError, match="b must have 1 entries of sum 1"):
        DiagonalTableau("wrong", 1, a=((1.0,),), b=(0.5,))
    with pytest.raises(ValueError, match="no stage is implicit"):
        DiagonalTableau("wrong", 1, a=((0.0,),), b=(1.0,))


@pytest.mark.parametrize("name", list(DIAGONAL))
def test_the_error_shrinks_with_dt_by_the_order(name: str) -> None:
    def error(dt: float) -> float:
        ys = odeint(
            lambda t, y: -y * y * torch.cos(t), ONE, [0.0, 2.0], method=name, dt=dt, rtol=1e-13, atol=1e-13
        ).ys
        return abs(ys[-1].item() - 1 / (1 + math.sin(2.0)))

    coarse, fine = (1 / 8, 1 / 16) if DIAGONAL[name].order > 3 else (1 / 32, 1 / 64)
    assert math.log2(error(coarse) / error(fine)) == pytest.approx(DIAGONAL[name].order, abs=0.4)


@PAIRS
def test_a_stiff_component_that_has_died_out_costs_no_steps(name: str) -> None:
    def f(t: Tensor, y: Tensor) -> Tensor:
        return -1e6 * (y - torch.cos(t)) - torch.sin(t)

    stats = SolveStats()
    ys = odeint(f, ONE, [0.0, 3.0], method=name, rtol=1e-3, atol=1e-3, stats=stats).ys
    assert ys[-1].item() == pytest.approx(math.cos(3.0), abs=1e-2)
    assert stats.forward.num_steps < 100


@PAIRS
def test_dense_output_is_close_between_the_steps(name: str) -> None:
    solution = odeint(
        lambda t, y: -y,
        ONE,
        [0.0, 2.0],
        method=name,
        rtol=1e-5,
        atol=1e-5,
        dense_output=True,
        gradient="direct",
    )
    for t in (0.1, 0.77, 1.9):
        assert solution.evaluate(t).item() == pytest.approx(math.exp(-t), abs=2e-3)


def test_what_newton_does_is_counted() -> None:
    stats, calls = SolveStats(), []

    def f(t: Tensor, y: Tensor) -> Tensor:
        calls.append(t)
        return -y * y

    odeint(f, ONE, [0.0, 1.0], method="kvaerno3", gradient="direct", stats=stats)
    counts = stats.forward
    assert counts.nfe == len(calls)
    assert counts.num_jacobians >= 1
    assert counts.num_jacobians <= counts.num_factorizations <= counts.num_steps + counts.num_jacobians
    assert counts.num_newton >= 3 * counts.num_steps


def test_a_linear_system_keeps_its_jacobian() -> None:
    stats = SolveStats()
    odeint(lambda t, y: -30 * y, ONE, [0.0, 1.0], method="kvaerno5", stats=stats)
    assert stats.forward.num_jacobians == 1


@pytest.mark.parametrize("gradient", ["direct", "checkpointed"])
def test_samples_that_depend_on_each_other_are_solved_as_one(gradient: str) -> None:
    y0 = torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.5, 0.5]], dtype=torch.float64, requires_grad=True)

    def f(t: Tensor, y: Tensor) -> Tensor:
        return -200 * (y - 0.9 * y.roll(1, 0))

    settings: dict[str, Any] = {"rtol": 1e-7, "atol": 1e-7, "gradient": gradient, "params": ()}
    ys = odeint(f, y0, [0.0, 0.2], method="kvaerno5", **settings).ys
    expected = odeint(f, y0, [0.0, 0.2], method="dopri5", **settings).ys
    torch.testing.assert_close(ys, expected, rtol=1e-4, atol=1e-5)
    (grad,) = torch.autograd.grad(ys[-1, 0].sum(), y0)
    (wanted,) = torch.autograd.grad(expected[-1, 0].sum(), y0)
    torch.testing.assert_close(grad, wanted, rtol=1e-4, atol=1e-5)


def test_a_batch_is_what_its_samples_are_alone() -> None:
    system = SYSTEMS["robertson"]
    y0 = torch.tensor(system.y0, dtype=torch.float64) * torch.tensor(
        [[1.0], [0.5], [2.0]], dtype=torch.float64
    )
    together = odeint(system.f, y0, [0.0, 100.0], method="kvaerno5", rtol=1e-7, atol=1e-10).ys
    for i in range(3):
        alone = odeint(system.f, y0[i], [0.0, 100.0], method="kvaerno5", rtol=1e-7, atol=1e-10).ys
        torch.testing.assert_close(together[:, i], alone, rtol=1e-5, atol=1e-8)


class _Square(torch.autograd.Function):
    """y -> -y^2, which autograd cannot differentiate for many rows at once."""

    @staticmethod
    def forward(ctx: Any, y: Tensor) -> Tensor:
        ctx.save_for_backward(y)
        return -y * y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        if torch._C._functorch.is_batchedtensor(grads[0]):
            raise RuntimeError("no rule for batches")
        return -2 * y * grads[0]


def test_a_field_that_knows_no_batches_of_rows_is_differentiated_row_by_row() -> None:
    y0 = torch.tensor([1.0, 2.0], dtype=torch.float64)
    with torch.no_grad():
        ys = odeint(lambda t, y: _Square.apply(y), y0, [0.0, 1.0], method="kvaerno5", rtol=1e-7, atol=1e-7).ys
    torch.testing.assert_close(ys[-1], y0 / (1 + y0), rtol=1e-5, atol=1e-6)


def test_a_field_without_a_graph_is_refused_and_one_that_needs_none_is_not() -> None:
    def hidden(t: Tensor, y: Tensor) -> Tensor:
        with torch.no_grad():
            return -y

    with pytest.raises(ValueError, match=r"returns a tensor without a graph.*torch.no_grad"):
        odeint(hidden, ONE, [0.0, 1.0], method="kvaerno5", gradient="direct")
    ys = odeint(
        lambda t, y: torch.cos(t).expand_as(y), ONE, [0.0, 1.0], method="kvaerno5", rtol=1e-6, atol=1e-6
    ).ys
    assert ys[-1].item() == pytest.approx(1 + math.sin(1.0), abs=1e-5)


def test_it_solves_in_inference_mode() -> None:
    with torch.inference_mode():
        ys = odeint(lambda t, y: -y, torch.ones(2, 3, dtype=torch.float64), [0.0, 1.0], method="kvaerno5").ys
    assert ys[-1, 0, 0].item() == pytest.approx(math.exp(-1), abs=1e-2)


def test_complex_states_are_refused() -> None:
    with pytest.raises(ValueError, match=r"kvaerno5.*real state.*complex128"):
        odeint(lambda t, y: 1j * y, ONE + 0j, [0.0, 1.0], method="kvaerno5", gradient="direct")


def test_matrices_that_would_not_fit_are_refused_before_they_are_asked_for() -> None:
    y0 = torch.ones(10_000, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"10,000 x 10,000 numbers, 2.24 GiB"):
        odeint(lambda t, y: -y, y0, [0.0, 1.0], method="kvaerno5", gradient="direct")
    with pytest.raises(ValueError, match=r"1,000 x 1,000 numbers for each of 64 samples"):
        odeint(lambda t, y: -y, y0[:1000].expand(64, 1000), [0.0, 1.0], method="kvaerno5", gradient="direct")


def test_a_step_that_newton_cannot_solve_is_rejected_and_counted() -> None:
    system, stats = SYSTEMS["robertson"], SolveStats()
    y0 = torch.tensor(system.y0, dtype=torch.float64)
    odeint(system.f, y0, [0.0, 1e5], method="kvaerno5", rtol=1e-4, atol=1e-8, gradient="direct", stats=stats)
    assert 0 < stats.forward.num_unsolved <= (stats.forward.num_rejected or 0)
    assert stats.forward.num_forced == 0


def test_a_singular_matrix_is_named_on_a_grid_and_stepped_around_else() -> None:
    def f(t: Tensor, y: Tensor) -> Tensor:
        return 4 * y  # 1 - dt f' = 0 at dt = 1/4

    with pytest.raises(ConvergenceError, match="matrix of Newton's equations is singular"):
        odeint(f, ONE, [0.0, 1.0], method="implicit_euler", dt=0.25, gradient="direct")
    stats = SolveStats()
    ys = odeint(
        f, ONE, [0.0, 0.5], method="implicit_euler", first_step=0.25, gradient="direct", stats=stats
    ).ys
    assert ys[-1].item() == pytest.approx(math.exp(2), rel=0.1)
    assert stats.forward.num_unsolved == 1


def test_a_step_that_cannot_be_solved_however_small_fails_by_its_name() -> None:
    def f(t: Tensor, y: Tensor) -> Tensor:
        return -y if t.item() < 0.5 else torch.nan * y

    def kinked(t: Tensor, y: Tensor) -> Tensor:
        return torch.where(y > 2, torch.nan * y, -y)  # of finite values and no finite slope

    with pytest.raises(ConvergenceError, match="Jacobian is NaN"):
        odeint(kinked, ONE, [0.0, 1.0], method="kvaerno5", gradient="direct")
    solution = odeint(f, ONE, [0.0, 1.0], method="kvaerno5", gradient="direct", raise_on_failure=False)
    assert solution.status is Status.UNSOLVED
    assert "returned NaN or Inf in Newton's iteration" in solution.message
    assert "of them unsolved" in solution.message


def test_compile_falls_back_to_eager_steps_and_says_so() -> None:
    with pytest.warns(CompileWarning, match="kvaerno5"):
        ys = odeint(lambda t, y: -y, ONE, [0.0, 1.0], method="kvaerno5", compile=True).ys
    assert ys[-1].item() == pytest.approx(math.exp(-1), abs=1e-2)


@pytest.mark.parametrize("name", ["kvaerno5", "trapezoid", "implicit_euler"])
@pytest.mark.parametrize("gradient", ["direct", "checkpointed"])
def test_newtons_turns_keep_to_max_nfe(name: str, gradient: str) -> None:
    for max_nfe in (9, 17, 40, 71):
        stats, calls = SolveStats(), []

        def f(t: Tensor, y: Tensor, calls: list[Tensor] = calls) -> Tensor:
            calls.append(t)
            return -50 * y**3

        settings: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-9, "max_nfe": max_nfe, "raise_on_failure": False}
        y0 = ONE.clone().requires_grad_(gradient == "direct")
        solution = odeint(
            f, y0, [0.0, 1.0], method=name, gradient=gradient, params=(), stats=stats, **settings
        )
        assert solution.status is Status.MAX_NFE
        assert stats.forward.nfe == len(calls) <= max_nfe
