"""How often a solve waits for the device: one number read back a step, counted by dispatch, on the CPU too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from ode_fields import Tanh
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from nodebench.ode import Solution, compat, odeint

TIMES = [0.0, 0.3, 0.7, 2.0]
# Each makes the host wait for the device: an item, a tensor in an `if`, a tensor whose size depends on its values.
WAITS = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.is_nonzero.default,
    torch.ops.aten.equal.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.masked_select.default,
}
GRADIENTS = ["direct", "checkpointed", "adjoint"]


# How torch.tensor(...) dispatches: numbers of the host's, copied to the device, which waits too.
COPIES = {torch.ops.aten.lift_fresh.default}


class Count(TorchDispatchMode):
    """How often any of some operations is dispatched."""

    def __init__(self, operations: set[Any]) -> None:
        super().__init__()
        self.operations, self.count = operations, 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.count += func in self.operations
        return func(*args, **(kwargs or {}))


def solve(gradient: str, ts: Tensor | list[float] = TIMES, **settings: Any) -> Solution:
    y0 = torch.linspace(-1, 1, 12).view(3, 4).requires_grad_()
    settings = {"rtol": 1e-4, "atol": 1e-5, "first_step": 1.0, **settings}
    return odeint(Tanh(4, torch.float32, frequency=9), y0, ts, gradient=gradient, **settings)


def waits(run: Callable[[], Any], operations: set[Any] = WAITS) -> int:
    with Count(operations) as counter:
        run()
    return counter.count


def forward_and_backward(gradient: str, **settings: Any) -> tuple[Solution, int, int]:
    """The solution, and the waits of solving and of backward()."""
    solutions: list[Solution] = []
    forward = waits(lambda: solutions.append(solve(gradient, **settings)))
    loss = solutions[0].ys[-1].sum()
    return solutions[0], forward, waits(loss.backward)


OF_DRIFT = 1  # a backward solve: whether y came back to the outputs


def test_the_counter_sees_a_wait() -> None:
    assert waits(lambda: torch.ones(()).item()) == 1
    assert waits(lambda: bool(torch.ones(()) > 0)) == 1
    assert waits(lambda: float(torch.ones(()))) == 1
    assert waits(lambda: torch.ones(()) + 1) == 0


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize(
    ("method", "tol"),
    [
        *[("dopri5", 1e-4), ("tsit5", 1e-4), ("dopri8", 1e-4)],
        *[("bosh3", 1e-3), ("adaptive_heun", 1e-2), ("fehlberg2", 1e-4)],
    ],
)
def test_an_adaptive_solve_waits_once_a_step(method: str, tol: float, gradient: str) -> None:
    solution, forward, _ = forward_and_backward(gradient, method=method, rtol=tol, atol=tol)
    counts = solution.stats.forward
    assert counts.num_rejected, "the problem should have rejected steps"
    assert forward == counts.num_steps


def test_a_solve_without_gradients_waits_once_a_step() -> None:
    solutions: list[Solution] = []
    with torch.no_grad():
        forward = waits(lambda: solutions.append(solve("direct")))
    assert forward == solutions[0].stats.forward.num_steps


@pytest.mark.parametrize("gradient", ["direct", "checkpointed"])
def test_gradients_through_the_steps_never_wait(gradient: str) -> None:
    assert forward_and_backward(gradient)[2] == 0


@pytest.mark.parametrize("norm", ["full", "joint", "seminorm", "state"])
def test_the_adjoint_waits_once_a_backward_step_under_every_norm(norm: str) -> None:
    solution, _, backward = forward_and_backward("adjoint", adjoint_norm=norm)
    counts = solution.stats.backward
    assert counts.num_rejected, "the problem should have rejected steps"
    assert backward == counts.num_steps + OF_DRIFT


@pytest.mark.parametrize("norm", ["rms", "max_sample"])
@pytest.mark.parametrize("controller", ["integral", "pi", "pid"])
def test_norms_and_controllers_wait_no_more(controller: str, norm: str) -> None:
    solution, forward, _ = forward_and_backward("direct", controller=controller, norm=norm)
    assert forward == solution.stats.forward.num_steps


def test_the_initial_step_rule_waits_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    tolist = Tensor.tolist
    monkeypatch.setattr(Tensor, "tolist", lambda self: reads.append(self.shape) or tolist(self))
    solution, forward, _ = forward_and_backward("direct", first_step=None)
    assert forward == solution.stats.forward.num_steps
    assert reads == [(2,)]  # tolist() reads CPU memory without a dispatch


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_times_that_require_grad_cost_no_wait(gradient: str) -> None:
    ts = torch.tensor(TIMES, requires_grad=True)
    solution, forward, backward = forward_and_backward(gradient, ts=ts)
    assert forward == solution.stats.forward.num_steps
    assert backward == (solution.stats.backward.num_steps + OF_DRIFT if gradient == "adjoint" else 0)


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("method", ["dopri5", "bosh3"])
def test_a_solve_copies_no_numbers_to_the_device(method: str, gradient: str) -> None:
    assert waits(lambda: torch.tensor([1.0]), COPIES) == 1
    ts = torch.tensor(TIMES)
    solve(gradient, method=method, ts=ts).ys[-1].sum().backward()  # the tableaus' weights are copied once
    solutions: list[Solution] = []
    assert waits(lambda: solutions.append(solve(gradient, method=method, ts=ts)), COPIES) == 0
    loss = solutions[0].ys[-1].sum()
    assert waits(loss.backward, COPIES) == 0


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_steps_on_a_grid_wait_once_a_solve(gradient: str) -> None:
    _, forward, backward = forward_and_backward(gradient, method="rk4", dt=0.1, first_step=None)
    assert forward == 1  # whether the last state is finite
    assert backward == (len(TIMES) - 1 + OF_DRIFT if gradient == "adjoint" else 0)


@pytest.mark.parametrize("adjoint_options", [None, {"norm": "seminorm"}])
def test_compat_waits_once_a_step(adjoint_options: dict[str, Any] | None) -> None:
    class Counted(Tanh):
        tried = 0
        tried_backward = 0

        def callback_step(self, t: Tensor, y: Tensor, dt: Tensor) -> None:
            self.tried += 1

        def callback_step_adjoint(self, t: Tensor, y: tuple[Tensor, ...], dt: Tensor) -> None:
            self.tried_backward += 1

    net = Counted(4, torch.float32)
    outputs: list[Any] = []
    y0, t = torch.ones(3, 4), torch.tensor(TIMES)
    settings = {"rtol": 1e-4, "atol": 1e-5, "adjoint_options": adjoint_options}
    forward = waits(lambda: outputs.append(compat.odeint_adjoint(net, y0, t, **settings)))
    backward = waits(outputs[0][-1].sum().backward)
    assert (forward, backward) == (net.tried, net.tried_backward + OF_DRIFT)
