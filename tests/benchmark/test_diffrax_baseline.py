"""diffrax solves the same problem to the same solution and gradient. What needs JAX is skipped without it."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nodebench.benchmark import libraries
from nodebench.benchmark.contestants import State
from nodebench.benchmark.diffrax_baseline import GRADIENTS, diffrax_contestants, diffrax_notes, run_diffrax
from nodebench.benchmark.libraries import DIFFRAX, FORWARD, PER_SAMPLE
from nodebench.benchmark.problems import OWN, Problem, Twin, relative_error

TOL = 1e-6

needs_diffrax = pytest.mark.skipif(
    DIFFRAX in libraries.missing_baselines(), reason="diffrax is not installed"
)


class Field(nn.Module):
    """Non-linear, of time too, with a Jacobian that is not symmetric; float32, as diffrax is raced."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(3, 3, generator=generator))
        self.shift = nn.Parameter(torch.randn(3, generator=generator))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(y @ self.weight.T + t * self.shift) - 0.5 * y


def make_twin() -> Twin:
    import jax.numpy as jnp

    def field(t: Any, y: Any, params: Any) -> Any:
        weight, shift = params
        return jnp.tanh(y @ weight.T + t * shift) - 0.5 * y

    return Twin(field, lambda ys: (ys * ys).sum())


def make_problem(with_loss: bool = True, ts: tuple[float, ...] = (0.0, 1.5)) -> Problem:
    y0 = torch.randn(5, 3, generator=torch.Generator().manual_seed(1)).requires_grad_(with_loss)
    return Problem(Field(), OWN, y0, ts, _squares if with_loss else None, twin=make_twin)


def _squares(ys: State) -> Tensor:
    assert isinstance(ys, Tensor)
    return (ys * ys).sum()


@needs_diffrax
@pytest.mark.slow
@pytest.mark.parametrize("ts", [(0.0, 1.5), (1.5, 0.0), (0.0, 0.4, 0.5, 1.5)])
def test_solution_and_gradient_are_those_of_the_reference(ts: tuple[float, ...]) -> None:
    problem = make_problem(ts=ts)
    contestants = diffrax_contestants(problem, TOL)
    assert [(c.library_name, c.field, c.gradient, c.execution) for c in contestants] == [
        (DIFFRAX, OWN, gradient, "compiled") for gradient in GRADIENTS
    ]
    assert problem.reference.gradient is not None
    for contestant in contestants:
        measured = contestant.run()
        assert measured.gradient is not None
        assert measured.nfe_backward is not None
        assert measured.nfe_backward > 0
        assert measured.time_ms > measured.time_forward_ms > 0
        assert relative_error(measured.solution, problem.reference.solution) < 1e-5
        assert relative_error(measured.gradient, problem.reference.gradient) < 1e-4


@needs_diffrax
@pytest.mark.slow
def test_another_tolerance_changes_error_and_counts_and_compiles_nothing() -> None:
    traced = []

    def make_traced_twin() -> Twin:
        twin = make_twin()
        return Twin(lambda *inputs: traced.append(1) or twin.field(*inputs), twin.loss)

    problem = dataclasses.replace(make_problem(), twin=make_traced_twin)
    loose = run_diffrax(problem, 1e-2, "checkpointed")
    num_traced = len(traced)
    tight = run_diffrax(problem, TOL, "checkpointed")
    assert loose.gradient is not None
    assert problem.reference.gradient is not None
    assert relative_error(loose.gradient, problem.reference.gradient) > 1e-4
    assert loose.nfe_forward < tight.nfe_forward
    assert len(traced) == num_traced > 0


@needs_diffrax
def test_without_a_loss_the_forward_pass_alone_is_raced() -> None:
    problem = make_problem(with_loss=False)
    contestants = diffrax_contestants(problem, TOL)
    assert [(c.gradient, c.measure_memory) for c in contestants] == [(FORWARD, None), (PER_SAMPLE, None)]
    for contestant in contestants:
        measured = contestant.run()
        assert relative_error(measured.solution, problem.reference.solution) < 1e-5
        assert (measured.time_backward_ms, measured.nfe_backward, measured.gradient) == (None, None, None)


@needs_diffrax
def test_rows_with_own_steps_are_evaluated_as_often_as_the_slowest_needs() -> None:
    import diffrax
    import jax.numpy as jnp

    problem = make_problem(with_loss=False)
    params = [jnp.asarray(param.detach().numpy()) for param in problem.field.parameters()]
    num_steps = [
        int(
            diffrax.diffeqsolve(
                diffrax.ODETerm(make_twin().field),
                diffrax.Dopri5(),
                problem.ts[0],
                problem.ts[1],
                None,
                jnp.asarray(row.numpy()),
                params,
                stepsize_controller=diffrax.PIDController(rtol=TOL, atol=TOL),
            ).stats["num_steps"]
        )
        for row in problem.parts[0][:, None]
    ]
    assert len(set(num_steps)) > 1
    assert run_diffrax(problem, TOL, PER_SAMPLE).nfe_forward == 6 * max(num_steps) + 1


@needs_diffrax
def test_evaluations_are_six_a_step_tried_and_one_at_the_start() -> None:
    import diffrax
    import jax.numpy as jnp

    problem = make_problem(with_loss=False)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(make_twin().field),
        diffrax.Dopri5(),
        problem.ts[0],
        problem.ts[1],
        None,
        jnp.asarray(problem.parts[0].numpy()),
        [jnp.asarray(param.detach().numpy()) for param in problem.field.parameters()],
        stepsize_controller=diffrax.PIDController(rtol=TOL, atol=TOL),
    )
    num_steps = int(solution.stats["num_steps"])
    assert run_diffrax(problem, TOL, FORWARD).nfe_forward == 6 * num_steps + 1


@needs_diffrax
def test_a_page_says_how_diffrax_was_run() -> None:
    (note,) = diffrax_notes(make_problem())
    assert note.startswith("diffrax runs compiled, value and gradient as one program")


def test_what_is_not_one_float32_tensor_is_refused() -> None:
    problem = make_problem(with_loss=False)
    double = dataclasses.replace(problem, y0=problem.parts[0].double())
    with pytest.raises(ValueError, match=r"`y0` is torch\.float64"):
        run_diffrax(double, TOL, FORWARD)
    with pytest.raises(ValueError, match="pack the state"):
        run_diffrax(dataclasses.replace(problem, y0=(problem.parts[0],)), TOL, FORWARD)


def test_without_diffrax_it_has_no_contestants_and_no_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "find_spec", lambda name: None if name == DIFFRAX else object())
    assert diffrax_contestants(make_problem(), TOL) == []
    assert diffrax_notes(make_problem()) == []


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        (dataclasses.replace(make_problem(), twin=None), "this field has not been written in JAX"),
        (
            dataclasses.replace(make_problem(), y0=torch.empty(2, device="meta")),
            "it is raced on the CPU alone, and this is meta",
        ),
    ],
    ids=["no twin", "another device"],
)
def test_what_diffrax_cannot_race_is_left_out_with_the_reason(
    problem: Problem, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libraries, "find_spec", lambda name: object())
    assert diffrax_contestants(problem, TOL) == []
    assert diffrax_notes(problem) == [f"diffrax is left out here: {reason}."]


@needs_diffrax
def test_jax_is_not_imported_before_diffrax_is_raced() -> None:
    code = (
        "import sys; import nodebench.benchmark.workloads.cnf, nodebench.benchmark.workloads.vdp; "
        "print(sorted({'jax', 'diffrax'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
