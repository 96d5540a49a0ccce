"""Compiled steps where samples have steps of their own: the numbers, counts and gradients of eager ones."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nodebench.ode import CompileWarning, Solution, missing_compiler, odeint
from nodebench.ode.compiled import compiler

DTYPE = torch.float64
CAPTURE = "eager"  # what is given to the compiler, captured and run as it is
NEEDS_COMPILER = pytest.mark.skipif(
    missing_compiler(torch.device("cpu")) is not None, reason="there is no C++ compiler here"
)
pytestmark = (
    []
    if torch.__version__ >= compiler.FULL_TORCH
    else pytest.mark.filterwarnings("ignore:.*cannot be compiled:nodebench.ode.CompileWarning")
)


class Turning(nn.Module):
    """Samples turn the faster the farther from the origin they are, and are pushed in time."""

    def __init__(self) -> None:
        super().__init__()
        self.push = nn.Parameter(torch.tensor([0.3, -0.2], dtype=DTYPE))

    def forward(self, t: Tensor, y: Tensor, scale: Tensor | float = 1.0) -> Tensor:
        square = y.square().sum(1, keepdim=True)
        turned = torch.stack([y[:, 1], -y[:, 0]], dim=1)
        return scale * (1 + 20 * square / (1 + square)) * turned + self.push * torch.sin(3 * t)[:, None]


def starts() -> Tensor:
    return torch.linspace(0.1, 1.5, 5, dtype=DTYPE)[:, None] * torch.tensor([0.6, -0.8], dtype=DTYPE)


def solve(compile: bool | str, field: nn.Module, ts: Any = (0.0, 2.0), **settings: Any) -> Solution[Tensor]:
    solver = {"rtol": 1e-5, "atol": 1e-6, "gradient": "direct", "steps": "per_sample", **settings}
    return odeint(field, starts(), ts, compile=compile, **solver)


OWN_TIMES = torch.tensor(
    [[0.0, 1.0, 2.0], [0.0, 0.1, 0.2], [0.5, 3.0, 3.5], [0.0, 1.0, 1.0], [0.0, 2.0, 2.5]]
)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"method": "tsit5", "controller": "pid"},
        {"method": "adaptive_heun", "rtol": 1e-3, "atol": 1e-3},
        {"ts": OWN_TIMES.double()},
        {"ts": -OWN_TIMES.double(), "method": "bosh3"},
        {"step_ts": [0.77, 1.3], "max_step": 0.2},
        {"min_step": 0.02},
        {"max_nfe": 100, "raise_on_failure": False},
        {"max_steps": 20, "raise_on_failure": False},
        {"args": (torch.linspace(0.5, 1.0, 5, dtype=DTYPE)[:, None],)},
    ],
    ids=str,
)
def test_compiled_numbers_and_counts_are_the_eager_ones(settings: dict[str, Any]) -> None:
    field = Turning()
    with torch.no_grad():
        eager, compiled = (solve(compile, field, **settings) for compile in (False, CAPTURE))
    torch.testing.assert_close(compiled.ys, eager.ys, rtol=1e-9, atol=1e-10, equal_nan=True)
    one, other = compiled.stats.forward, eager.stats.forward
    assert (one.samples, one.num_forced) == (other.samples, other.num_forced)
    # Between outputs of their own samples wait for each other, at the price of a few calls of f.
    assert one.nfe <= (1.2 if "ts" in settings else 1.05) * other.nfe
    assert list(compiled.failures) == list(eager.failures)


def test_most_steps_are_taken_by_the_compiled_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    call = compiler.CompiledFunction.__call__

    def counting(function: compiler.CompiledFunction, *args: Any) -> Any:
        calls.append(1)
        return call(function, *args)

    monkeypatch.setattr(compiler.CompiledFunction, "__call__", counting)
    with torch.no_grad():
        solution = solve(CAPTURE, Turning())
    assert solution.stats.forward.samples is not None
    assert solution.stats.forward.samples.num_accepted.max() > 5 * len(calls)


@pytest.mark.parametrize("gradient", ["direct", "checkpointed", "adjoint"])
@pytest.mark.parametrize("whole", [False, True])
def test_compiled_gradients_are_the_eager_ones(gradient: str, whole: bool) -> None:
    found = []
    for compile in (False, CAPTURE):
        field, y0 = Turning(), starts().requires_grad_()
        args = (torch.full((5, 1), 0.7, dtype=DTYPE),) if whole else ()
        solver: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-6, "gradient": gradient, "steps": "per_sample"}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "the backward solve of the adjoint runs", CompileWarning)
            solution = odeint(field, y0, OWN_TIMES.double(), args, compile=compile, **solver)
        loss = (solution.ys.square() * torch.arange(1.0, 4.0)[:, None, None]).sum()
        found.append((solution.ys, *torch.autograd.grad(loss, [y0, field.push])))
    for compiled, eager in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(compiled, eager, rtol=1e-8, atol=1e-9)


def test_the_eager_backward_solve_is_said() -> None:
    with pytest.warns(CompileWarning, match="the backward solve of the adjoint runs eagerly"):
        solve(CAPTURE, Turning(), gradient="adjoint")


def test_a_field_that_cannot_be_captured_is_solved_eagerly_with_a_warning() -> None:
    class Wild(Turning):
        def forward(self, t: Tensor, y: Tensor, scale: Tensor | float = 1.0) -> Tensor:
            return super().forward(t, y) * float(str(1.0 + 0.0 * t[0].item()))

    with torch.no_grad(), pytest.warns(CompileWarning, match="cannot be compiled"):
        compiled = solve(CAPTURE, Wild())
    with torch.no_grad():
        torch.testing.assert_close(compiled.ys, solve(False, Turning()).ys, rtol=1e-9, atol=1e-10)


@pytest.mark.slow
@NEEDS_COMPILER
@pytest.mark.parametrize("gradient", ["direct", "checkpointed"])
def test_the_default_backend_has_the_same_numbers(gradient: str) -> None:
    field = Turning()
    with torch.no_grad():
        torch.testing.assert_close(solve(True, field).ys, solve(False, field).ys, rtol=1e-8, atol=1e-9)
    grads = []
    for compile in (True, False):
        (grad,) = torch.autograd.grad(solve(compile, field, gradient=gradient).ys.square().sum(), field.push)
        grads.append(grad)
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-8, atol=1e-9)
