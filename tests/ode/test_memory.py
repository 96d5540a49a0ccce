"""What autograd keeps for backward(), in bytes, and that nothing is kept for longer."""

from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from nodebench.ode import odeint

DTYPE = torch.float64
SHAPE = (16, 3)
STATE_BYTES = 16 * 3 * 8


@dataclass
class Saved:
    """One tensor that autograd saved; it lives as long as autograd holds it."""

    tensor: Tensor


class Kept:
    """Bytes of the distinct storages that autograd holds, those of the given tensors left out."""

    def __init__(self, *known: Tensor) -> None:
        self._known = {tensor.untyped_storage().data_ptr() for tensor in known}
        self._saved: list[weakref.ref[Saved]] = []

    def __enter__(self) -> Kept:
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda saved: saved.tensor)
        self._hooks.__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        self._hooks.__exit__(*exc)

    def _pack(self, tensor: Tensor) -> Saved:
        saved = Saved(tensor.detach())
        self._saved.append(weakref.ref(saved))
        return saved

    @property
    def num_bytes(self) -> int:
        held = [saved.tensor.untyped_storage() for ref in self._saved if (saved := ref()) is not None]
        storages = {storage.data_ptr(): storage.nbytes() for storage in held}
        return sum(size for pointer, size in storages.items() if pointer not in self._known)


def kept_bytes(net: Any, gradient: str, num_steps: int, method: str = "dopri5") -> int:
    y0 = torch.linspace(-1, 1, 48, dtype=DTYPE).view(SHAPE).requires_grad_()
    with Kept(y0, *net.parameters()) as kept:
        ys = odeint(net, y0, [0.0, 1.0], method=method, dt=1 / num_steps, gradient=gradient).ys
    num_bytes = kept.num_bytes
    ys.sum().backward()
    assert kept.num_bytes == 0
    return num_bytes


@pytest.mark.parametrize("method", ["dopri5", "rk4", "dopri8"])
def test_the_adjoint_keeps_its_outputs_whatever_the_number_of_steps(method: str, time_net: Any) -> None:
    net = time_net()
    assert {kept_bytes(net, "adjoint", n, method) for n in (2, 8, 32)} == {2 * STATE_BYTES}


def test_the_adjoint_keeps_after_a_thousand_steps_what_it_keeps_after_ten(time_net: Any) -> None:
    net = time_net()
    assert kept_bytes(net, "adjoint", 1000) == kept_bytes(net, "adjoint", 10)


@pytest.mark.parametrize("method", ["dopri5", "rk4", "dopri8"])
def test_checkpointed_keeps_one_state_a_step(method: str, time_net: Any) -> None:
    net = time_net()
    for num_steps in (2, 8, 32):
        # The first step starts at y0, which is the caller's.
        assert kept_bytes(net, "checkpointed", num_steps, method) == (num_steps - 1) * STATE_BYTES


def test_direct_keeps_a_graph_a_step(time_net: Any) -> None:
    net = time_net()
    few, more, many = (kept_bytes(net, "direct", n) for n in (4, 8, 16))
    assert many - more == pytest.approx(2 * (more - few), rel=0.05)
    assert more - few > 4 * 10 * STATE_BYTES


def test_adaptive_solves_keep_no_more_than_their_accepted_steps(time_net: Any) -> None:
    net = time_net()
    y0 = torch.ones(SHAPE, dtype=DTYPE, requires_grad=True)
    for tolerance in (1e-3, 1e-9):
        options = {"rtol": tolerance, "atol": tolerance, "first_step": 1.0}
        with Kept(y0, *net.parameters()) as kept:
            solution = odeint(net, y0, [0.0, 3.0], gradient="checkpointed", **options)
        assert kept.num_bytes == (solution.stats.forward.num_accepted - 1) * STATE_BYTES
        with Kept(y0, *net.parameters()) as kept:
            solution = odeint(net, y0, [0.0, 3.0], gradient="adjoint", **options)
        assert kept.num_bytes == 2 * STATE_BYTES


def test_rejected_steps_leave_nothing_in_the_direct_graph(time_net: Any) -> None:
    net = time_net()
    y0 = torch.ones(SHAPE, dtype=DTYPE, requires_grad=True)
    solution = odeint(
        net, y0, [0.0, 3.0], gradient="direct", first_step=3.0, rtol=1e-9, atol=1e-9, record_steps=True
    )
    assert solution.stats.forward.num_rejected > 0
    nodes, pending = set(), [solution.ys.grad_fn]
    while pending:
        node = pending.pop()
        if node is not None and node not in nodes:
            nodes.add(node)
            pending.extend(following for following, _ in node.next_functions)
    grid = [0.0, *(t + dt for t, dt in solution.stats.forward.steps)]
    accepted_only, pending = set(), [odeint(net, y0, grid, dt=9.0, gradient="direct").ys[-1].grad_fn]
    while pending:
        node = pending.pop()
        if node is not None and node not in accepted_only:
            accepted_only.add(node)
            pending.extend(following for following, _ in node.next_functions)
    # The fixed steps evaluate each first stage anew; the adaptive ones reuse the last stage of the step before.
    assert len(nodes) <= len(accepted_only) + 5


@pytest.mark.parametrize("gradient", ["direct", "checkpointed", "adjoint"])
def test_a_hundred_solves_leave_no_tensor_behind(gradient: str, time_net: Any) -> None:
    net = time_net()

    def train() -> None:
        y0 = torch.ones(SHAPE, dtype=DTYPE, requires_grad=True)
        ts = torch.tensor([0.0, 0.5, 1.0], dtype=DTYPE, requires_grad=True)
        c = torch.tensor(0.5, dtype=DTYPE, requires_grad=True)
        odeint(net, y0, ts, (2 * c,), gradient=gradient, rtol=1e-2, atol=1e-2).ys.sum().backward()
        net.zero_grad()

    def num_tensors() -> int:
        return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())

    train()  # fills the cache of tableaus
    gc.collect()
    before = num_tensors()
    gc.disable()  # what is left must go by reference counts alone: a cycle would hold memory until the next collection
    try:
        for _ in range(100):
            train()
        assert num_tensors() == before
    finally:
        gc.enable()


@pytest.mark.parametrize("gradient", ["direct", "checkpointed", "adjoint"])
def test_a_solution_without_backward_is_freed_with_its_last_reference(gradient: str, time_net: Any) -> None:
    y0 = torch.ones(SHAPE, dtype=DTYPE, requires_grad=True)
    solution = odeint(time_net(), y0, [0.0, 1.0], gradient=gradient, dense_output=True)
    ys = weakref.ref(solution.ys)
    gc.disable()
    try:
        del solution
        assert ys() is None
    finally:
        gc.enable()
