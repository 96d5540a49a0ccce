from __future__ import annotations

import copy
import gc
import math
import weakref
from contextlib import nullcontext
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nodebench.models import ode_block
from nodebench.models.ode_block import EAGER_EVALUATIONS, ODEBlock, ode_blocks, recorded_solves
from nodebench.models.residual import ResidualBlock
from nodebench.models.vector_fields import ConvVectorField
from nodebench.ode import BudgetExhaustedError, Controller, Solution, SolveStats, odeint
from nodebench.ode.settings import AdjointSettings, SolverSettings

TIGHT = SolverSettings(rtol=1e-10, atol=1e-10)


class Linear(nn.Module):
    """dy/dt = rate * y, with y(1) = exp(rate) y(0)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.tensor(rate, dtype=torch.float64))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.rate * y


class WithoutShortcut(nn.Module):
    """f(h) of a residual block h + f(h), as a vector field."""

    def __init__(self, block: ResidualBlock) -> None:
        super().__init__()
        self.block = block

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.block(y) - y


def state(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_the_block_solves_from_0_to_1() -> None:
    y0 = state(2, 3)
    torch.testing.assert_close(ODEBlock(Linear(0.5), TIGHT, "direct")(y0), y0 * math.exp(0.5))


def test_a_residual_net_with_shared_weights_equals_euler_with_step_1() -> None:
    torch.manual_seed(0)
    residual = ResidualBlock(4).double()
    block = ODEBlock(WithoutShortcut(residual), SolverSettings(method="euler", dt=1.0), "direct")
    h = state(2, 4, 5, 5)
    layers = [h]
    for _ in range(6):
        layers.append(residual(layers[-1]))

    ys = block.solve(h, [float(i) for i in range(7)]).ys

    torch.testing.assert_close(ys, torch.stack(layers), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(block(h), layers[1], rtol=1e-12, atol=1e-12)


def test_checkpointed_gives_the_direct_gradient_of_the_nets_vector_field() -> None:
    gradients = [
        loss_gradient(SolverSettings(), gradient, nn.ReLU()) for gradient in ("direct", "checkpointed")
    ]
    assert distance(*gradients) < 1e-12


def test_adjoint_tends_to_the_direct_gradient_as_the_tolerance_shrinks() -> None:
    # Smooth, for with relu the error falls by the kinks that a step crosses, slowly and by chance.
    distances = []
    for tol in (1e-4, 1e-6, 1e-8):
        solver = SolverSettings(rtol=tol, atol=tol)
        gradients = [loss_gradient(solver, gradient, nn.Softplus()) for gradient in ("direct", "adjoint")]
        distances.append(distance(*gradients))
    assert distances[2] < 1e-6
    assert distances[0] > 10 * distances[1] > 100 * distances[2]


def loss_gradient(solver: SolverSettings, gradient: str, activation: nn.Module) -> Tensor:
    """The gradient of a loss after the block with respect to its input and all parameters, flat."""
    torch.manual_seed(0)
    field = ConvVectorField(8).double()
    field.relu = activation
    y0 = state(2, 8, 3, 3).requires_grad_()
    loss = ODEBlock(field, solver, gradient)(y0).square().mean()
    return torch.cat([grad.flatten() for grad in torch.autograd.grad(loss, [y0, *field.parameters()])])


def distance(expected: Tensor, actual: Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


def nfe(solves: list[SolveStats]) -> list[tuple[int, int]]:
    return [(stats.forward.nfe, stats.backward.nfe) for stats in solves]


def test_every_solve_is_recorded_and_counts_its_backward_pass_when_that_runs() -> None:
    block = ODEBlock(Linear(0.5), SolverSettings(method="rk4", dt=0.25), "adjoint")
    y0 = state(2, 3).requires_grad_()
    with recorded_solves(block) as solves:
        first = block(y0)
        block.solver = SolverSettings(method="euler", dt=0.25)
        second = block(first)
        assert nfe(solves) == [(16, 0), (4, 0)]
        second.sum().backward()
    assert nfe(solves) == [(16, 16), (4, 4)]


def test_a_recording_ends_with_its_block_of_code_and_knows_nothing_of_before() -> None:
    block = ODEBlock(Linear(0.5), SolverSettings(method="euler", dt=0.25), "direct")
    block(state(1))
    with recorded_solves(block) as outer:
        block(state(1))
        with recorded_solves(block) as inner:
            block(state(1))
        block(state(1))
    block(state(1))
    assert (len(outer), len(inner)) == (3, 1)
    assert outer[1] is inner[0]


def test_nothing_is_kept_of_solves_that_nobody_records() -> None:
    block = ODEBlock(Linear(0.5), SolverSettings(method="euler", dt=0.25), "adjoint")
    with recorded_solves(block):
        block(state(1))
    solution = block.solve(state(1), (0.0, 1.0))
    stats = weakref.ref(solution.stats)
    del solution
    gc.collect()
    assert stats() is None
    assert set(block.state_dict()) == {"vector_field.rate"}


def test_solves_of_a_copy_are_its_own() -> None:
    block = ODEBlock(Linear(0.5), SolverSettings(method="euler", dt=0.25), "direct")
    with recorded_solves(block) as solves:
        block(state(1))
        twin = copy.deepcopy(block)
        with recorded_solves(twin) as of_the_twin:
            twin(state(1))
        twin(state(1))
    assert (len(solves), len(of_the_twin)) == (1, 1)


def test_a_solve_that_fails_is_recorded_with_what_it_did() -> None:
    block = ODEBlock(Linear(-3.0), replace(TIGHT, max_nfe=10), "direct")
    with recorded_solves(block) as solves, pytest.raises(BudgetExhaustedError):
        block(state(2, 3))
    block.solver = TIGHT
    block(state(2, 3))
    (stats,) = solves
    assert 0 < stats.forward.nfe <= 10


class OneSize(Controller):
    """A controller of one's own, equal to itself alone."""

    def factor(self, error_ratio: float, order: int, history: tuple[float, float]) -> float:
        return 1.0


def test_every_setting_reaches_the_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    received: dict[str, Any] = {}

    def odeint(f: nn.Module, y0: Tensor, ts: Any, args: Any, **keywords: Any) -> Solution:
        received.update(keywords)
        return Solution(torch.tensor([0.0, 1.0]), torch.stack([y0, y0]))

    monkeypatch.setattr(ode_block, "odeint", odeint)
    adjoint = AdjointSettings(method="bosh3", rtol=1e-5, atol=1e-6, norm="seminorm")
    given = SolverSettings(
        method="tsit5",
        rtol=1e-2,
        atol=1e-4,
        dt=0.1,
        controller=OneSize(),  # itself, not a copy: it may remember something
        norm="max_sample",
        max_steps=7,
        max_nfe=70,
        min_step=1e-3,
        max_step=0.5,
        first_step=0.01,
        compile=True,
        steps="per_sample",
        adjoint=adjoint,
        sync=False,
    )
    assert all(getattr(given, field.name) != field.default for field in fields(SolverSettings))

    block = ODEBlock(Linear(0.5), given, "checkpointed")
    with recorded_solves(block) as solves:
        block(state(1))

    expected = {name: value for name, value in vars(given).items() if name not in ("adjoint", "sync")}
    expected |= {f"adjoint_{field.name}": getattr(adjoint, field.name) for field in fields(adjoint)}
    assert received == {**expected, "gradient": "checkpointed", "stats": solves[0], "together": None}


@pytest.mark.parametrize(
    ("settings", "is_limited"), [({}, True), ({"max_nfe": 1000}, False), ({"dt": 0.1}, False)]
)
def test_default_budget_is_of_solves_that_choose_their_steps_and_have_none(
    settings: dict[str, Any], is_limited: bool
) -> None:
    block = ODEBlock(Linear(0.5), replace(TIGHT, **settings), "direct")
    block.default_max_nfe = 3
    with pytest.raises(BudgetExhaustedError, match="max_nfe=3") if is_limited else nullcontext():
        block(state(1))


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each solve that an ODE block begins, whether it is to be compiled; all are eager."""
    asked: list[bool] = []

    def spy(*args: Any, **settings: Any) -> Solution:
        asked.append(settings["compile"])
        return odeint(*args, **settings | {"compile": False})

    monkeypatch.setattr(ode_block, "odeint", spy)
    return asked


def test_steps_are_compiled_while_training_alone(compiled: list[bool]) -> None:
    block = ODEBlock(Linear(0.5), SolverSettings(compile=True), "direct")
    block(state(2))
    block.eval()
    for _ in range(2 * EAGER_EVALUATIONS):
        block(state(2))
    assert compiled == [True] + [False] * 2 * EAGER_EVALUATIONS


def test_in_evaluation_a_shape_is_compiled_where_that_is_asked_for_and_it_comes_often(
    compiled: list[bool],
) -> None:
    block = ODEBlock(Linear(0.5), SolverSettings(compile=True), "direct").eval()
    block.compiles_evaluation = True
    for _ in range(EAGER_EVALUATIONS + 1):
        block(state(8))
    block(state(3))  # an odd last batch
    block(state(8).float())
    block(state(8))
    assert compiled == [False] * EAGER_EVALUATIONS + [True, False, False, True]
    copy.deepcopy(block)(state(8))  # whose compiled steps would be its own
    block.solver = replace(block.solver, compile=False)
    block(state(8))
    assert compiled[-2:] == [False, False]


def test_default_settings_are_accepted_by_the_solver() -> None:
    y0 = state(2, 3)
    torch.testing.assert_close(
        ODEBlock(Linear(0.5), SolverSettings(), "adjoint")(y0), y0 * math.exp(0.5), rtol=1e-3, atol=1e-3
    )


def test_reconstruction_is_good_at_a_tight_tolerance_and_bad_with_one_large_step() -> None:
    y0 = state(2, 3)
    assert ODEBlock(Linear(-3.0), TIGHT, "direct").reconstruction_error(y0) < 1e-8
    # Euler with step 1 takes y to (1 - 3) y and back to (1 + 3)(1 - 3) y = -8 y: nine times y0 away.
    euler = ODEBlock(Linear(-3.0), SolverSettings(method="euler", dt=1.0), "direct")
    assert euler.reconstruction_error(y0) == pytest.approx(9.0)


def test_reconstruction_is_infinite_where_the_way_back_fails() -> None:
    class OnlyForwards(nn.Module):
        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return torch.where(y > 0.5, -y, torch.full_like(y, torch.nan))

    block = ODEBlock(OnlyForwards(), SolverSettings(method="euler", dt=1.0), "direct")
    # Forward: from 2 to 2 - 2 = 0, where f is NaN.
    assert block.reconstruction_error(torch.tensor([2.0])) == math.inf


def test_the_way_back_may_cost_a_thousand_times_the_way_there(monkeypatch: pytest.MonkeyPatch) -> None:
    budgets: list[int | None] = []

    def spy(*args: Any, **settings: Any) -> Solution:
        budgets.append(settings["max_nfe"])
        return odeint(*args, **settings)

    monkeypatch.setattr("nodebench.models.ode_block.odeint", spy)
    block = ODEBlock(Linear(-1.0), SolverSettings(method="euler", dt=0.25), "direct")
    block.reconstruction_error(state(2, 3))
    assert budgets == [None, 4000]
    assert block.solver.max_nfe is None


def test_a_failing_forward_solve_raises() -> None:
    block = ODEBlock(Linear(-3.0), replace(TIGHT, max_nfe=10), "direct")
    with pytest.raises(BudgetExhaustedError):
        block(state(2, 3))


def test_ode_blocks_are_found_wherever_they_are() -> None:
    first, second = (ODEBlock(Linear(0.5), SolverSettings(), "direct") for _ in range(2))
    net = nn.Sequential(nn.Flatten(), first, nn.Sequential(second))
    assert ode_blocks(net) == [first, second]
    assert ode_blocks(nn.Flatten()) == []


class Watched(nn.Module):
    """dy/dt = -A y that notes the dtypes it is given and its product's, forward and backward."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4, bias=False)
        self.given: set[torch.dtype] = set()
        self.products: set[torch.dtype] = set()

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        product = self.linear(y)
        if not torch.compiler.is_compiling():
            self.given |= {t.dtype, y.dtype}
            self.products.add(product.dtype)
            if product.requires_grad:
                product.register_hook(lambda grad: self.products.add(grad.dtype))
        return -product


@pytest.mark.parametrize(
    ("gradient", "compile"),
    [
        ("direct", False),
        ("checkpointed", False),
        ("adjoint", False),
        ("adjoint", "aot_eager"),
        pytest.param("direct", "aot_eager", marks=pytest.mark.slow),
        pytest.param("checkpointed", "aot_eager", marks=pytest.mark.slow),
    ],
)
def test_in_an_autocast_region_the_products_of_the_field_alone_are_in_lower_precision(
    gradient: str, compile: bool | str
) -> None:
    torch.manual_seed(0)
    settings = SolverSettings(method="bosh3", rtol=1e-2, atol=1e-2, compile=compile)
    block = ODEBlock(Watched(), settings, gradient)
    y0 = state(3, 4).float().requires_grad_()

    def gradients() -> tuple[Tensor, ...]:
        parameters = tuple(block.parameters())
        return torch.autograd.grad(y1.sum(), (y0, *parameters))

    y1 = block(y0)
    exact = y1, *gradients()
    assert block.vector_field.products <= {torch.float32}
    block.vector_field.products.clear()

    with torch.autocast("cpu", torch.bfloat16):
        y1 = block(y0.bfloat16())
    assert y1.dtype == torch.float32
    lowered = y1, *gradients()
    for one, other in zip(lowered, exact, strict=True):
        assert one.dtype == torch.float32
        assert not torch.equal(one, other)
        torch.testing.assert_close(one, other, rtol=3e-2, atol=3e-2)
    assert block.vector_field.given == {torch.float32}
    assert block.vector_field.products == {torch.bfloat16}
