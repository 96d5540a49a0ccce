"""Compiled steps: the numbers, counts, gradients and failures of eager ones, and no more compiling than needed.

Most tests run what is given to the compiler by torch.compile's backend `eager`, which captures and does not compile.
"""

from __future__ import annotations

import copy
import gc
import logging
import subprocess
import sys
import warnings
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from ode_fields import Tanh as Field
from torch import Tensor, nn
from torch._dynamo.utils import counters

from nodebench.ode import (
    CompileWarning,
    NonFiniteError,
    Solution,
    SolverError,
    Status,
    missing_compiler,
    odeint,
)
from nodebench.ode.compiled import compiler, steps
from nodebench.ode.compiled.steps import CompiledSteps
from nodebench.ode.drive.controllers import CONTROLLERS
from nodebench.ode.drive.decide import decide, reaches
from nodebench.ode.drive.state import LoopState

IS_FULL_TORCH = torch.__version__ >= compiler.FULL_TORCH
# With an earlier torch what it cannot compile runs eagerly and says so: its numbers and counts are tested all the same.
pytestmark = (
    []
    if IS_FULL_TORCH
    else pytest.mark.filterwarnings("ignore:.*cannot be compiled:nodebench.ode.CompileWarning")
)
CAPTURE = "eager"
GRADIENTS = ["direct", "checkpointed", "adjoint"]
NEEDS_COMPILER = pytest.mark.skipif(
    missing_compiler(torch.device("cpu")) is not None, reason="there is no C++ compiler here"
)


class SharedField(Field):
    """The same, with what depends on time alone computed once a step."""

    def at_times(self, ts: Tensor) -> list[Callable[[Tensor], Tensor]]:
        scales = 1 + torch.sin(3 * ts)
        return [
            lambda y, t=t, scale=scale: torch.tanh(y @ self.weight.T + self.bias * t) * scale - 0.3 * y
            for t, scale in zip(ts.unbind(), scales.unbind(), strict=True)
        ]


def start() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, 3, generator=generator, dtype=torch.float64).requires_grad_()


def solve(
    compile: bool | str, field: nn.Module | None = None, **settings: Any
) -> tuple[Solution, list[Tensor]]:
    """A solve and its gradients in y0 and the parameters."""
    field, y0 = Field() if field is None else field, start()
    ts = settings.pop("ts", [0.0, 2.0])
    settings = {"rtol": 1e-5, "atol": 1e-6, "gradient": "direct", **settings}
    solution = odeint(field, y0, ts, compile=compile, **settings)
    weights = torch.arange(1, solution.ys.numel() + 1, dtype=torch.float64).view_as(solution.ys).sin()
    grads = torch.autograd.grad((weights * solution.ys).sum(), [y0, *field.parameters()])
    return solution, list(grads)


def assert_same(ours: tuple[Solution, list[Tensor]], eager: tuple[Solution, list[Tensor]]) -> None:
    assert ours[0].stats == eager[0].stats
    torch.testing.assert_close(ours[0].ys, eager[0].ys, rtol=1e-11, atol=1e-11)
    for actual, expected in zip(ours[1], eager[1], strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("ts", [[0.0, 2.0], [2.0, 0.0], [0.0, 0.01, 0.02, 1.0, 2.0]], ids=str)
@pytest.mark.parametrize("gradient", GRADIENTS)
def test_a_compiled_solve_has_the_values_counts_and_gradients_of_an_eager_one(gradient: str, ts: Any) -> None:
    settings = {"gradient": gradient, "ts": ts}
    assert_same(solve(CAPTURE, **settings), solve(False, **settings))


SLOW_ADJOINT = pytest.param(
    "adjoint", marks=pytest.mark.slow
)  # capturing a step with its products takes seconds


@pytest.mark.parametrize("method", ["bosh3", "tsit5", "dopri8", "adaptive_heun", "fehlberg2"])
@pytest.mark.parametrize("gradient", ["direct", SLOW_ADJOINT])
def test_every_adaptive_method_compiles(method: str, gradient: str) -> None:
    settings = {"gradient": gradient, "method": method, "ts": [0.0, 0.3, 1.0]}
    assert_same(solve(CAPTURE, **settings), solve(False, **settings))


@pytest.mark.parametrize("method", ["euler", "rk4", "dopri5"])
@pytest.mark.parametrize("gradient", ["direct", "checkpointed", SLOW_ADJOINT])
def test_steps_of_fixed_size_compile(method: str, gradient: str) -> None:
    settings = {"gradient": gradient, "method": method, "dt": 0.25, "ts": [0.0, 0.5, 1.0]}
    assert_same(solve(CAPTURE, **settings), solve(False, **settings))


@pytest.mark.parametrize("norm", ["full", "seminorm", pytest.param("joint", marks=pytest.mark.slow)])
def test_the_adjoints_norms_compile(norm: str) -> None:
    settings = {"gradient": "adjoint", "adjoint_norm": norm}
    assert_same(solve(CAPTURE, **settings), solve(False, **settings))


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_a_field_with_stages_that_share_what_time_alone_decides_compiles(gradient: str) -> None:
    compiled = solve(CAPTURE, SharedField(), gradient=gradient)
    assert_same(compiled, solve(False, SharedField(), gradient=gradient))
    assert_same(compiled, solve(False, Field(), gradient=gradient))


@pytest.mark.parametrize(
    "options", [{"jump_ts": (0.7,)}, {"step_ts": (0.7,)}, {"controller": "pid"}], ids=str
)
def test_options_mean_what_they_mean_in_eager_steps(options: dict[str, Any]) -> None:
    assert_same(solve(CAPTURE, **options), solve(False, **options))
    with torch.no_grad():
        marched, eager = (
            odeint(Field(), start(), [0.0, 5.0], compile=c, **options) for c in (CAPTURE, False)
        )
    assert marched.stats == eager.stats
    torch.testing.assert_close(marched.ys, eager.ys, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_tuple_states_and_arguments_that_require_grad_compile(gradient: str) -> None:
    def f(t: Tensor, y: tuple[Tensor, Tensor], rate: Tensor) -> tuple[Tensor, Tensor]:
        return -rate * y[0] * y[1] * t, rate * y[0].sum() * torch.ones_like(y[1])

    def run(compile: bool | str) -> tuple[Any, ...]:
        y0 = (torch.ones(2, dtype=torch.float64).requires_grad_(), torch.ones(1, dtype=torch.float64))
        rate = torch.tensor(0.7, dtype=torch.float64).requires_grad_()
        solution = odeint(f, y0, [0.0, 1.0], (rate,), gradient=gradient, params=(), compile=compile)
        return solution, torch.autograd.grad(solution.ys[0].sum() + solution.ys[1].sum(), [y0[0], rate])

    (ours, our_grads), (eager, eager_grads) = run(CAPTURE), run(False)
    assert ours.stats == eager.stats
    torch.testing.assert_close(our_grads, eager_grads, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("gradient", ["direct", "adjoint"])
def test_tuple_states_are_compiled_once(gradient: str) -> None:
    def f(t: Tensor, y: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return -y[0] * t, y[1] - y[0].sum()

    y0 = (torch.ones(2, dtype=torch.float64).requires_grad_(), torch.ones(1, dtype=torch.float64))
    graphs = []
    for _ in range(2):
        odeint(f, y0, [0.0, 1.0], gradient=gradient, params=(), compile=CAPTURE).ys[1].sum().backward()
        graphs.append(counters["stats"]["unique_graphs"])
    assert graphs[0] == graphs[1]


@pytest.mark.parametrize("norm", ["full", "seminorm"])
def test_a_method_whose_first_stage_has_no_weight_finds_the_parameters_that_are_used(norm: str) -> None:
    settings = {
        "gradient": "adjoint",
        "method": "midpoint",
        "dt": 0.5,
        "adjoint_norm": norm,
        "ts": [0.0, 1.0],
    }
    assert_same(solve(CAPTURE, **settings), solve(False, **settings))


class Scaled(Field):
    """Reads a number that is no tensor, and may count its evaluations."""

    def __init__(self, counts: bool = False) -> None:
        super().__init__()
        self.scale, self.nfe, self.counts = 1.0, 0, counts

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        if self.counts:
            self.nfe += 1
        return self.scale * super().forward(t, y)


@pytest.mark.parametrize(
    "gradient",
    ["direct", pytest.param("adjoint", marks=pytest.mark.skipif(not IS_FULL_TORCH, reason="an early torch"))],
)
def test_a_number_that_the_field_reads_may_change(gradient: str) -> None:
    field = Scaled()
    settings = {"gradient": gradient, "ts": [0.0, 0.1]}
    with warnings.catch_warnings():
        warnings.simplefilter("error", CompileWarning)
        for field.scale in (1.0, 0.5):
            assert_same(solve(CAPTURE, field, **settings), solve(False, field, **settings))


@pytest.mark.parametrize("gradient", ["direct", "adjoint"])
def test_a_number_that_changes_at_every_step_ends_the_compiling(gradient: str) -> None:
    field = Scaled(counts=True)
    with pytest.warns(CompileWarning) as caught:
        ours = solve(CAPTURE, field, gradient=gradient)
    assert any("such as a count of evaluations in the field" in str(each.message) for each in caught)
    assert field.nfe == ours[0].stats.forward.nfe + ours[0].stats.backward.nfe
    assert_same(ours, solve(False, gradient=gradient))


class OneBuffer:
    """Hands out the same memory at every call."""

    def __init__(self) -> None:
        self.buffer = torch.empty(4, 3, dtype=torch.float64)

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.mul(y, -(1 + t), out=self.buffer)


@pytest.mark.parametrize("backend", [CAPTURE, pytest.param(True, marks=[pytest.mark.slow, NEEDS_COMPILER])])
@pytest.mark.parametrize("settings", [{}, {"method": "rk4", "dt": 0.25}], ids=str)
def test_a_field_may_hand_out_the_same_memory_at_every_call(
    settings: dict[str, Any], backend: bool | str
) -> None:
    field, y0 = OneBuffer(), start().detach()
    ours, eager = (odeint(field, y0, [0.0, 1.0], compile=way, **settings) for way in (backend, False))
    assert ours.stats == eager.stats
    torch.testing.assert_close(ours.ys, eager.ys, rtol=1e-13, atol=1e-13)


class RunsAway(nn.Module):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.full_like(y, 1e18)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_a_state_that_overflows_fails_as_it_does_in_eager_steps(gradient: str) -> None:
    field, y0 = RunsAway(), torch.zeros(3).requires_grad_()
    settings = {"rtol": 1e-2, "atol": 1e18, "max_steps": 1000, "gradient": gradient}
    for compile in (CAPTURE, False):
        with pytest.raises(NonFiniteError):
            odeint(field, y0, [0.0, 1e20, 1e21, 1.1e21], compile=compile, **settings)


class Short:
    """Too few stages, or stages of the wrong shape."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        return -y * t

    def at_times(self, ts: Tensor) -> list[Callable[[Tensor], Tensor]]:
        if self.size == 0:
            return [lambda y: -y]
        return [lambda y: -y[: self.size] for _ in ts]


@pytest.mark.parametrize(("size", "message"), [(0, "returned 1 callables for 3"), (1, r"returned \(1, 3\)")])
def test_what_a_field_returns_inside_a_step_is_checked(size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message), pytest.warns(CompileWarning):
        odeint(Short(size), start(), [0.0, 1.0], method="rk4", dt=0.5, gradient="direct", compile=CAPTURE)


@pytest.mark.parametrize("compile", [1, "", "nope"])
def test_a_backend_that_is_none_is_refused(compile: Any) -> None:
    with pytest.raises(ValueError, match=r"allowed: True, False, and torch's backends .*inductor"):
        solve(compile)


def test_a_norm_that_cannot_be_a_key_makes_steps_eager() -> None:
    @dataclass
    class Largest:
        def __call__(self, error: Tensor) -> Tensor:
            return error.abs().max()

    with pytest.warns(CompileWarning, match="kept for its norm, which does not allow it: unhashable"):
        ours = solve(CAPTURE, norm=Largest())
    assert_same(ours, solve(False, norm=Largest()))


def test_an_initial_state_that_is_a_parameter_is_compiled_for_once() -> None:
    field, y0 = Field(), nn.Parameter(start().detach())
    graphs = counters["stats"]["unique_graphs"]
    odeint(field, y0, [0.0, 2.0], rtol=1e-5, atol=1e-5, gradient="direct", compile=CAPTURE)
    assert counters["stats"]["unique_graphs"] == graphs + 3  # a slope, a guess and a step


def test_variants_beyond_the_most_are_eager_and_not_kept(monkeypatch: Any) -> None:
    monkeypatch.setattr(compiler, "MOST_VARIANTS", 3)
    field = Field()
    solve(CAPTURE, field)
    for _ in range(2):
        with pytest.warns(CompileWarning, match="more than 3 variants"):
            ours = solve(CAPTURE, field, method="bosh3")
    assert_same(ours, solve(False, field, method="bosh3"))


def test_importing_the_solvers_does_not_import_the_compiler() -> None:
    code = "import sys, nodebench.ode; sys.exit('torch._dynamo' in sys.modules or 'torch._inductor' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_field_that_nothing_can_be_kept_with_is_solved_eagerly() -> None:
    class Unhashable:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self, t: Tensor, y: Tensor) -> Tensor:
            return -y

    with pytest.warns(CompileWarning, match="does not allow it: unhashable type: 'Unhashable'"):
        odeint(Unhashable(), torch.ones(1), [0.0, 1.0], gradient="direct", compile=CAPTURE)


def test_output_times_that_require_grad_are_solved_eagerly_and_get_it() -> None:
    def gradient_of_end(compile: bool | str) -> Tensor:
        ts = torch.tensor([0.0, 1.0], dtype=torch.float64).requires_grad_()
        odeint(Field(), start(), ts, gradient="direct", compile=compile).ys[-1].sum().backward()
        assert ts.grad is not None
        return ts.grad

    torch.testing.assert_close(gradient_of_end(CAPTURE), gradient_of_end(False), rtol=1e-12, atol=0)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_nothing_is_compiled_again_for_another_step_interval_or_tolerance(gradient: str) -> None:
    field = Field()
    solve(CAPTURE, field, gradient=gradient)
    graphs = counters["stats"]["unique_graphs"]
    for tol in (1e-3, 1e-4, 1e-7):
        solution, _ = solve(CAPTURE, field, gradient=gradient, rtol=tol, atol=tol, ts=[3.0, tol])
        assert (solution.stats.forward.num_accepted or 0) > 2
    assert counters["stats"]["unique_graphs"] == graphs


def test_what_was_compiled_goes_with_its_field_and_is_not_a_copys() -> None:
    field = Field()
    solve(CAPTURE, field)
    other = copy.deepcopy(field)
    with torch.no_grad():
        other.weight.mul_(2)
    assert_same(solve(CAPTURE, other), solve(False, other))
    graphs = counters["stats"]["unique_graphs"]
    solve(CAPTURE, field)
    solve(CAPTURE, other)
    assert counters["stats"]["unique_graphs"] == graphs
    gone = weakref.ref(field)
    del field
    gc.collect()
    assert gone() is None


class Stiffening(nn.Module):
    """Steps of very different sizes, some of them rejected."""

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return -50 * torch.cos(t) * (y - torch.sin(8 * t))


@torch.no_grad()
def test_a_march_takes_the_steps_of_the_loop() -> None:
    field, y0 = Stiffening(), torch.ones(1, dtype=torch.float64)
    for settings in ({}, {"controller": "pi"}, {"max_step": 0.02}, {"method": "bosh3"}, {"min_step": 0.004}):
        marched, eager = (
            odeint(field, y0, [0.0, 0.9, 2.0], rtol=1e-6, atol=1e-6, compile=compile, **settings)  # type: ignore[arg-type]
            for compile in (CAPTURE, False)
        )
        assert marched.stats == eager.stats
        assert marched.stats.forward.num_rejected or settings
        torch.testing.assert_close(marched.ys, eager.ys, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_a_march_leaves_a_sliver_of_rounding_to_no_step_of_its_own() -> None:
    ts = torch.tensor([0.0, 0.6])  # 0.6 is 2.4e-8 later in single precision
    for compile in (CAPTURE, False):
        solution = odeint(
            Stiffening(), torch.zeros(1), ts, compile=compile, rtol=1.0, first_step=0.1, max_step=0.1
        )
        assert solution.stats.forward.num_accepted == 6


@torch.no_grad()
@pytest.mark.parametrize("budget", [{"max_steps": 17}, {"max_nfe": 100}])
def test_budgets_end_a_march_where_they_end_the_loop(budget: dict[str, int]) -> None:
    messages = []
    for compile in (CAPTURE, False):
        with pytest.raises(SolverError) as raised:
            odeint(Stiffening(), torch.ones(1, dtype=torch.float64), [0.0, 2.0], compile=compile, **budget)
        messages.append(str(raised.value))
    assert messages[0] == messages[1]


@torch.no_grad()
def test_a_field_that_stops_being_finite_fails_where_it_does_in_the_loop() -> None:
    def f(t: Tensor, y: Tensor) -> Tensor:
        return torch.where(t > 0.5, torch.nan, -y)

    for compile in (CAPTURE, False):
        with pytest.raises(NonFiniteError, match=r"at t=0\.5 .*NaN or Inf however small the step"):
            odeint(f, torch.ones(2, dtype=torch.float64), [0.0, 1.0], compile=compile, rtol=1e-8, atol=1e-8)


@torch.no_grad()
def test_a_state_that_overflows_in_the_last_step_fails_as_in_the_loop() -> None:
    def f(t: Tensor, y: Tensor) -> Tensor:
        return torch.full_like(y, 2e38)

    marched, eager = (
        odeint(f, torch.full((2,), 2e38), [0.0, 1.0], compile=c, first_step=1.0, raise_on_failure=False)
        for c in (CAPTURE, False)
    )
    assert marched.status is eager.status is not Status.SUCCESS
    assert marched.message == eager.message


@pytest.mark.parametrize("ts", [[0.0, 2.0], [2.0, 1.0, 0.5, 0.0]], ids=str)
def test_a_way_back_is_marched_from_output_to_output(ts: list[float], monkeypatch: Any) -> None:
    if not IS_FULL_TORCH:
        pytest.skip("an early torch")

    def single_step(*args: Any) -> None:
        raise AssertionError("a step was taken by itself")

    settings: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-6, "gradient": "adjoint"}
    field = Field()
    marched, eager = (odeint(field, start(), ts, compile=c, **settings) for c in (CAPTURE, False))
    monkeypatch.setattr(
        CompiledSteps, "_call", single_step
    )  # a forward solve passes over outputs, step by step
    for solution in (marched, eager):
        solution.ys.sum().backward()
    assert marched.stats == eager.stats


def test_a_large_state_is_not_carried_through_a_loop(monkeypatch: Any) -> None:
    monkeypatch.setattr(steps, "MOST_CARRIED", 11)  # the state has 12 numbers
    graphs = counters["stats"]["unique_graphs"]
    with torch.no_grad():
        odeint(Field(), start(), [0.0, 9.0], compile=CAPTURE)
    assert counters["stats"]["unique_graphs"] == graphs + 1  # the step


@torch.no_grad()
def test_a_field_that_counts_its_calls_is_not_marched() -> None:
    field = Scaled(counts=True)
    with pytest.warns(CompileWarning) as caught:
        solution = odeint(field, start(), [0.0, 9.0], compile=CAPTURE)
    assert any("such as a count of its calls" in str(each.message) for each in caught)
    assert field.nfe == solution.stats.forward.nfe


@torch.no_grad()
@NEEDS_COMPILER
@pytest.mark.slow
def test_a_field_that_counts_its_calls_in_a_tensor_is_not_marched() -> None:
    class Counting(Field):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("nfe", torch.zeros((), dtype=torch.int64))

        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            self.nfe += 1
            return super().forward(t, y)

    field = Counting()
    with pytest.warns(CompileWarning, match="such as a count of its calls"):
        solution = odeint(field, start(), [0.0, 9.0], compile=True)
    assert int(field.nfe) == solution.stats.forward.nfe


class Gradient(nn.Module):
    """The gradient of a potential, by a graph that the solve records or, where it `records`, by one of its own."""

    def __init__(self, records: bool) -> None:
        super().__init__()
        self.potential, self.records = nn.Linear(3, 1, dtype=torch.float64), records

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        with torch.set_grad_enabled(self.records or torch.is_grad_enabled()):
            y = y if y.requires_grad or not self.records else y.detach().requires_grad_()
            return torch.autograd.grad(torch.tanh(self.potential(y)).sum(), y, create_graph=True)[0]


@pytest.mark.parametrize("records", [False, True])
def test_a_field_that_differentiates_by_its_state_solves_as_in_the_loop(records: bool) -> None:
    if not IS_FULL_TORCH:
        return
    field, y0 = Gradient(records), start().detach().requires_grad_(not records)
    ours, eager = (
        odeint(field, y0, [0.0, 1.0], gradient="direct", compile=c, rtol=1e-6) for c in (CAPTURE, False)
    )
    assert ours.stats == eager.stats
    torch.testing.assert_close(ours.ys, eager.ys, rtol=1e-11, atol=1e-11)


class WrongShape:
    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        return y.sum()


class InPlace:
    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        return y.mul_(-1)


@torch.no_grad()
@pytest.mark.parametrize(
    ("f", "message"),
    [(WrongShape(), "must return a tensor of y's shape"), (InPlace(), "changed its state in place")],
)
def test_what_a_field_may_not_do_is_an_error_without_a_warning(
    f: Callable[[Tensor, Tensor], Tensor], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        odeint(f, start().detach(), [0.0, 1.0], gradient="direct", compile=CAPTURE)


@NEEDS_COMPILER
@pytest.mark.slow
def test_compiled_steps_are_kept_on_disk_for_the_next_process() -> None:
    inductor = counters["inductor"]
    before = inductor["fxgraph_cache_bypass"]
    solve(True)
    assert inductor["fxgraph_cache_bypass"] == before
    assert inductor["fxgraph_cache_miss"] + inductor["fxgraph_cache_hit"] > 0


def tensors(*values: float) -> list[Tensor]:
    return [torch.tensor(value, dtype=torch.float64) for value in values]


@pytest.mark.parametrize("name", sorted(CONTROLLERS))
def test_a_decision_on_tensors_is_that_on_floats(name: str) -> None:
    y, controller = torch.ones(1), CONTROLLERS[name]
    for ratio in (0.0, 1e-12, 1e-3, 0.5, 0.99, 1.0, 1.01, 3.0, 1e9):
        for history in ((1.0, 1.0), (1e8, 0.7), (1.2, 30.0)):
            for size, taken in ((0.3, 0.3), (0.3, 1e-4)):
                floats = decide(LoopState(0.0, size, history, y, y), ratio, taken, False, controller, 5)
                state = LoopState(*tensors(0.0, size), tuple(tensors(*history)), y, y)
                got = decide(state, *tensors(ratio, taken), False, controller, 5)
                assert bool(got.accepted) is floats.accepted
                assert got.size.item() == pytest.approx(floats.size, rel=1e-14)
                assert [past.item() for past in got.history] == pytest.approx(floats.history, rel=1e-14)


def test_the_rule_of_a_steps_end_on_tensors_is_that_on_floats() -> None:
    for size in (0.1, 0.5, 0.4999999, 0.49999999999999, 1.0):
        for rounding in (0.0, 1e-7, 1.0):
            assert bool(reaches(*tensors(size, 0.5, rounding))) is reaches(size, 0.5, rounding)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_a_field_that_cannot_be_compiled_runs_eagerly_and_says_so(gradient: str) -> None:
    class Breaking(Field):
        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            torch._dynamo.graph_break()
            return super().forward(t, y)

    with pytest.warns(CompileWarning) as caught:
        ours = solve(CAPTURE, Breaking(), gradient=gradient)
    assert any("the steps of this vector field cannot be compiled" in str(each.message) for each in caught)
    assert_same(ours, solve(False, Breaking(), gradient=gradient))
    with pytest.warns(CompileWarning) as caught, torch.no_grad():
        odeint(Breaking(), start(), [0.0, 9.0], compile=CAPTURE)
    assert any("they are taken one by one" in str(each.message) for each in caught)


def test_without_a_compiler_steps_are_eager_and_a_warning_says_why(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.warns(CompileWarning, match="no C\\+\\+ compiler was found"):
        ours = solve(True)
    assert_same(ours, solve(False))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "explicit_adams", "dt": 0.1}, "takes no Runge-Kutta steps"),
        ({"dense_output": True}, "exclude each other"),
    ],
)
def test_what_cannot_be_compiled_is_refused_by_name(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        odeint(Field(), start(), [0.0, 1.0], compile=True, **settings)


def test_what_torchs_compiler_says_of_itself_is_not_heard_and_what_is_ours_is(
    monkeypatch: Any, caplog: Any
) -> None:
    lookup_backend = torch._dynamo.lookup_backend

    def talkative(name: str) -> Any:
        torchs = {"filename": "torch/_dynamo/guards.py", "lineno": 1, "module": "torch._dynamo.guards"}
        warnings.warn_explicit("Guards may run slower on this Python", RuntimeWarning, **torchs)
        logging.getLogger("torch.utils.cpp_extension").warning("No CUDA runtime is found")
        return lookup_backend(name)

    monkeypatch.setattr(torch._dynamo, "lookup_backend", talkative)
    monkeypatch.delenv("TORCH_LOGS", raising=False)
    field = Scaled(counts=True)  # compiled again and again, until we say that it is too often
    with pytest.warns() as caught:
        solve(CAPTURE, field)
    assert {each.category for each in caught} == {CompileWarning}
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@NEEDS_COMPILER
def test_the_real_compiler_agrees_to_rounding() -> None:
    compiled = solve(True)
    assert_same(compiled, solve(False))
    field, y0 = Stiffening(), torch.ones(1, dtype=torch.float64)
    with torch.no_grad():
        marched, eager = (
            odeint(field, y0, [0.0, 2.0], rtol=1e-6, atol=1e-6, compile=c) for c in (True, False)
        )
    assert marched.stats == eager.stats
    torch.testing.assert_close(marched.ys, eager.ys, rtol=1e-9, atol=1e-9)


@NEEDS_COMPILER
@pytest.mark.slow
@pytest.mark.parametrize("gradient", ["checkpointed", "adjoint"])
def test_the_real_compiler_agrees_to_rounding_on_gradients(gradient: str) -> None:
    assert_same(solve(True, gradient=gradient), solve(False, gradient=gradient))
