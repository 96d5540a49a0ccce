from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from nodebench.benchmark import problems
from nodebench.benchmark.contestants import State
from nodebench.benchmark.problems import OWN, Problem, relative_error, seeded


class Growth(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.tensor(0.5))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.rate * y


def total(y1: State) -> Tensor:
    assert isinstance(y1, Tensor)
    return y1.sum()


@pytest.mark.parametrize("gradient", ["direct", "checkpointed"])
def test_the_reference_is_the_closed_form_in_float64_and_leaves_the_problem_alone(gradient: str) -> None:
    y0 = torch.tensor([3.0], requires_grad=True)
    problem = Problem(Growth(), OWN, y0, (0.0, 2.0), total, reference_gradient=gradient)
    solution, gradients = problem.reference
    assert solution.dtype == torch.float64
    assert solution.item() == pytest.approx(3 * math.e, rel=1e-8)
    assert gradients is not None
    assert gradients.tolist() == pytest.approx([math.e, 3 * 2 * math.e], rel=1e-7)  # dL/dy0, dL/drate
    assert y0.grad is None
    assert all(p.grad is None and p.dtype == torch.float32 for p in problem.field.parameters())


def test_the_reference_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    solve = problems.odeint
    monkeypatch.setattr(
        problems, "odeint", lambda *args, **options: calls.append(1) or solve(*args, **options)
    )
    problem = Problem(Growth(), OWN, torch.ones(1), (0.0, 1.0))
    assert problem.reference is problem.reference
    assert len(calls) == 1
    assert problem.reference.gradient is None


def test_leaves_are_the_start_where_it_wants_a_gradient_and_the_parameters() -> None:
    field = Growth()
    start = torch.ones(1)
    assert Problem(field, OWN, start, (0.0, 1.0)).leaves == [field.rate]
    start.requires_grad_()
    leaves = Problem(field, OWN, (start, torch.zeros(1)), (0.0, 1.0)).leaves
    assert [leaf is other for leaf, other in zip(leaves, (start, field.rate), strict=True)] == [True, True]


def test_a_relative_error() -> None:
    reference = torch.tensor([3.0, 4.0], dtype=torch.float64)
    assert relative_error(torch.tensor([3.0, 4.5]), reference) == pytest.approx(0.1)


def test_what_is_seeded_is_the_same_and_does_not_show_outside() -> None:
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    with seeded():
        first = torch.rand(2)
    after = torch.rand(2)
    with seeded():
        second = torch.rand(2)
    assert torch.equal(first, second)
    assert torch.equal(after, expected)
