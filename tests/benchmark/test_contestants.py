from __future__ import annotations

import torch
from torch import Tensor

from nodebench.benchmark.contestants import Solved, flat, memory_of, run_forward, run_step

CPU = torch.device("cpu")


def test_a_step_counts_the_backward_pass_once_it_is_through_and_returns_all_gradients() -> None:
    weight, unused = torch.tensor([2.0, 3.0], requires_grad=True), torch.ones(1, requires_grad=True)
    events: list[str] = []

    def forward() -> Solved:
        y1 = weight * 5
        y1.register_hook(lambda _: events.append("backward"))
        return Solved(y1, 4, lambda: len(events))

    def update() -> None:
        events.append("update")

    measured = run_step(forward, _total, [weight, unused], CPU, update)
    assert events == ["backward", "update"]
    assert (measured.nfe_forward, measured.nfe_backward) == (4, 2)
    assert measured.gradient is not None
    assert measured.gradient.tolist() == [5.0, 5.0, 0.0]
    assert measured.solution.tolist() == [10.0, 15.0]
    assert measured.time_forward_ms > 0
    assert measured.time_backward_ms is not None
    assert measured.time_ms == measured.time_forward_ms + measured.time_backward_ms


def test_gradients_of_an_earlier_step_are_not_added_to() -> None:
    weight = torch.ones(2, requires_grad=True)
    for _ in range(2):
        measured = run_step(lambda: Solved(weight * 3, 0, lambda: 0), _total, [weight], CPU)
    assert measured.gradient is not None
    assert measured.gradient.tolist() == [3.0, 3.0]


def test_a_forward_run_leaves_no_graph() -> None:
    weight = torch.ones(2, requires_grad=True)
    seen: list[bool] = []

    def forward() -> Solved:
        y1 = weight * 3
        seen.append(y1.requires_grad)
        return Solved((y1, y1[:1]), 9, lambda: 0)

    measured = run_forward(forward, CPU)
    assert seen == [False]
    assert (measured.nfe_forward, measured.nfe_backward, measured.time_backward_ms) == (9, None, None)
    assert measured.solution.tolist() == [3.0, 3.0, 3.0]


def test_memory_is_that_of_what_autograd_keeps() -> None:
    module = torch.nn.Linear(256, 256)
    x = torch.ones(1024, 256)
    memory = memory_of(module, lambda: Solved(module(x).tanh(), 0, lambda: 0), _total, CPU)
    assert memory["memory_saved_mib"] == 2.0  # x and the tanh, 1 MiB each
    assert memory["memory_peak_mib"] is not None
    assert memory["memory_peak_mib"] > 1.0


def test_a_state_of_several_tensors_is_one_vector() -> None:
    assert flat((torch.ones(1, 2), torch.zeros(1))).tolist() == [1.0, 1.0, 0.0]


def _total(y1: Tensor | tuple[Tensor, ...]) -> Tensor:
    assert isinstance(y1, Tensor)
    return y1.sum()
