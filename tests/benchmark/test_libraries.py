"""Every library solves the same problem, and its evaluations are counted as they happen."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nodebench.benchmark import libraries
from nodebench.benchmark.contestants import Contestant, State
from nodebench.benchmark.libraries import (
    FORWARD,
    NODEBENCH,
    OWN_STEPS,
    PER_SAMPLE,
    TORCHDIFFEQ,
    TORCHODE,
    Library,
    installed,
    make_contestant,
    missing_baselines,
)
from nodebench.benchmark.problems import OWN, Problem, relative_error

TOL = 1e-6
IN_ALL = [
    pytest.param(library, gradient, id=f"{library.name}-{gradient}")
    for library in (NODEBENCH, TORCHDIFFEQ, TORCHODE)
    for gradient in library.gradients
]


class Field(nn.Module):
    """Non-linear, of time too, with a Jacobian that is not symmetric; counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(3, 3, generator=generator, dtype=torch.float64))
        self.num_calls = 0

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        self.num_calls += 1
        return torch.tanh(y @ self.weight.T + t) - 0.5 * y


def make_problem(with_loss: bool, ts: tuple[float, ...] = (0.0, 1.5)) -> Problem:
    generator = torch.Generator().manual_seed(1)
    y0 = torch.randn(5, 3, generator=generator, dtype=torch.float64).requires_grad_(with_loss)
    return Problem(Field(), OWN, y0, ts, _squares if with_loss else None)


def _squares(ys: State) -> Tensor:
    assert isinstance(ys, Tensor)
    return (ys * ys).sum()


def make(library: Library, problem: Problem, gradient: str, tol: float = TOL) -> Contestant:
    if library.name in missing_baselines():
        pytest.skip(f"{library.name} is not installed")
    return make_contestant(library, problem, gradient, tol)


@pytest.mark.parametrize("ts", [(0.0, 1.5), (1.5, 0.0), (0.0, 0.4, 0.5, 1.5), (1.5, 0.9, 0.0)])
@pytest.mark.parametrize(("library", "gradient"), IN_ALL)
def test_the_same_field_has_the_same_solution_and_gradient_in_every_library(
    library: Library, gradient: str, ts: tuple[float, ...]
) -> None:
    problem = make_problem(with_loss=True, ts=ts)
    measured = make(library, problem, gradient).run()
    assert measured.gradient is not None
    assert problem.reference.gradient is not None
    assert len(measured.solution) == (len(ts) - 1) * problem.parts[0].numel()
    assert relative_error(measured.solution, problem.reference.solution) < 1e-5
    assert relative_error(measured.gradient, problem.reference.gradient) < 1e-4


@pytest.mark.parametrize(("library", "gradient"), IN_ALL)
def test_counts_are_the_calls_of_the_field(library: Library, gradient: str) -> None:
    problem = make_problem(with_loss=True)
    measured = make(library, problem, gradient).run()
    assert measured.nfe_backward is not None
    assert problem.field.num_calls == measured.nfe_forward + measured.nfe_backward
    assert (measured.nfe_backward == 0) == (gradient == "direct")


@pytest.mark.parametrize("library", [NODEBENCH, TORCHDIFFEQ, TORCHODE], ids=lambda library: library.name)
def test_a_problem_without_a_loss_is_solved_forward_alone(library: Library) -> None:
    problem = make_problem(with_loss=False)
    contestant = make(library, problem, FORWARD)
    measured = contestant.run()
    assert relative_error(measured.solution, problem.reference.solution) < 1e-5
    assert (measured.time_backward_ms, measured.nfe_backward, measured.gradient) == (None, None, None)
    assert contestant.measure_memory is None


class Decay(nn.Module):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return -y


@pytest.mark.parametrize("library", [NODEBENCH, TORCHODE], ids=lambda library: library.name)
def test_every_sample_can_have_steps_of_its_own(library: Library) -> None:
    y0 = torch.tensor([[1.0, 2.0], [30.0, 40.0]], dtype=torch.float64)
    problem = Problem(Decay(), OWN, y0, (0.0, 1.0))
    measured = make(library, problem, PER_SAMPLE).run()
    assert relative_error(measured.solution, (y0 * torch.tensor(-1.0).exp()).flatten()) < 1e-5
    alone = make(library, Problem(Decay(), OWN, y0[:1], (0.0, 1.0)), PER_SAMPLE).run()
    torch.testing.assert_close(measured.solution[:2], alone.solution, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("library", "gradient"),
    [
        (NODEBENCH, "direct"),
        (NODEBENCH, "checkpointed"),
        (NODEBENCH, "adjoint-seminorm"),
        (TORCHODE, "direct"),
    ],
)
def test_own_steps_have_the_gradient_too(library: Library, gradient: str) -> None:
    y0 = torch.tensor([[1.0, 2.0], [30.0, 40.0]], dtype=torch.float64, requires_grad=True)
    problem = Problem(Decay(), OWN, y0, (0.0, 1.0), _squares)
    measured = make(library, problem, f"{gradient}{OWN_STEPS}").run()
    assert measured.gradient is not None
    exact = 2 * y0.detach().flatten() * torch.tensor(-2.0, dtype=torch.float64).exp()
    assert relative_error(measured.gradient, exact) < 1e-5


def test_torchode_refuses_a_tuple_state() -> None:
    y0 = (torch.ones(2), torch.ones(1))
    problem = Problem(Field(), OWN, y0, (0.0, 1.0))
    with pytest.raises(ValueError, match="pack the state"):
        make(TORCHODE, problem, FORWARD).run()


def test_the_contestants_name_says_who_solves_whose_field_and_how() -> None:
    contestant = make(NODEBENCH, make_problem(with_loss=True), "adjoint-state", tol=1e-3)
    assert contestant.name == "nodebench adjoint-state, eager, on nodebench's field at 0.001"
    assert (contestant.library_name, contestant.field, contestant.gradient) == (OWN, OWN, "adjoint-state")
    assert contestant.execution == "eager"


def test_a_baseline_that_is_missing_is_named_and_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "find_spec", lambda name: None if name == "torchode" else object())
    assert missing_baselines() == ["torchode"]
    assert installed(NODEBENCH, TORCHDIFFEQ, TORCHODE) == [NODEBENCH, TORCHDIFFEQ]
