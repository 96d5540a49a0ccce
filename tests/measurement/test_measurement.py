"""Rows of a measurement against closed forms and independent solves."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from nodebench.data import ImageSet
from nodebench.measurement import Case, Measurement, ReferenceErrors, ReferenceSettings, order
from nodebench.measurement.baselines import METHODS
from nodebench.measurement.reference import ReferenceSolver
from nodebench.models.classifiers import ODENet
from nodebench.models.ode_block import ODEBlock
from nodebench.ode import Solution, odeint
from nodebench.ode.settings import AdjointSettings, SolverSettings
from nodebench.records.measures import NAMES, OWN, Key
from nodebench.tasks.classification import Classification
from nodebench.training.memory import measure_memory

Rows = list[Mapping[str, Any]]
GRADIENTS = ("direct", "checkpointed", "adjoint")


def at(tol: float) -> SolverSettings:
    return SolverSettings("dopri5", rtol=tol, atol=tol)


class Bench:
    """Measures cases of one net, and keeps what was said."""

    def __init__(self, net: ODENet, task: Classification, images: ImageSet) -> None:
        self.said: list[str] = []
        self.net, self.images = net, images
        self.measurement = Measurement(
            net, task, images, ReferenceSettings(tol=1e-9), measure_memory, self.said.append
        )

    def rows(self, cases: Sequence[Case]) -> Rows:
        return list(self.measurement.rows(order(cases)))

    def y0(self, batch: int = 0) -> torch.Tensor:
        with torch.no_grad():
            y0: torch.Tensor = self.net.stem(
                self.images.images[100 * batch : 100 * (batch + 1)].float() / 255
            )
        return y0


@pytest.fixture
def bench(net: ODENet, task: Classification, images: ImageSet) -> Bench:
    return Bench(net, task, images)


@pytest.fixture
def fast_bench(net: ODENet, task: Classification, images: ImageSet) -> Bench:
    """A field eight times as fast: at loose tolerances every method errs far more than float32 rounds."""
    with torch.no_grad():
        net.ode_block.vector_field.matrix.mul_(8)
    return Bench(net, task, images)


def test_the_endpoint_error_is_that_of_the_matrix_exponential(bench: Bench) -> None:
    (row,) = bench.rows([Case(at(1e-3), "adjoint", 1)])
    y0, field = bench.y0(), bench.net.ode_block.vector_field
    exact = y0.double() @ torch.linalg.matrix_exp(field.matrix.detach().double()).T
    with torch.no_grad():
        solved = odeint(field, y0, (0.0, 1.0), method="dopri5", rtol=1e-3, atol=1e-3)
    distance = (solved.ys[-1].double() - exact).norm(dim=1).max() / exact.norm(dim=1).max()
    assert row["error_endpoint"] == pytest.approx(float(distance), rel=1e-3)
    assert row["error_reference"] < 1e-8
    assert (row["nfe_forward"], row["num_accepted_forward"], row["num_rejected_forward"]) == (
        solved.stats.forward.nfe,
        solved.stats.forward.num_accepted,
        solved.stats.forward.num_rejected,
    )


def test_backward_counts_are_those_of_the_backward_solve_alone(bench: Bench) -> None:
    rows = {row["gradient"]: row for row in bench.rows([Case(at(1e-4), mode, 1) for mode in GRADIENTS])}
    y0 = bench.y0().requires_grad_()
    solved = odeint(
        bench.net.ode_block.vector_field,
        y0,
        (0.0, 1.0),
        method="dopri5",
        rtol=1e-4,
        atol=1e-4,
        gradient="adjoint",
        adjoint_norm="state",
    )
    loss = F.cross_entropy(bench.net.head(solved.ys[-1]), bench.images.labels[:100], label_smoothing=0.1)
    loss.backward()
    assert rows["adjoint"]["nfe_backward"] == solved.stats.backward.nfe > 0
    assert rows["direct"]["nfe_backward"] == 0
    assert rows["checkpointed"]["nfe_backward"] > 0
    assert len({row["nfe_forward"] for row in rows.values()}) == 1


def test_gradient_errors_shrink_with_the_tolerance_and_direct_equals_checkpointed(fast_bench: Bench) -> None:
    cases = [Case(at(tol), mode, 1) for tol in (1e-1, 1e-5) for mode in GRADIENTS]
    rows = {(row["tol"], row["gradient"]): row["error_gradient"] for row in fast_bench.rows(cases)}
    for mode in GRADIENTS:
        assert rows[1e-5, mode] < rows[1e-1, mode] / 1000
    assert rows[1e-1, "direct"] == pytest.approx(rows[1e-1, "checkpointed"], rel=1e-3)
    assert fast_bench.measurement.errors is not None
    assert fast_bench.measurement.errors.gradient < 1e-6


def test_memory_grows_with_the_evaluations_for_direct_and_not_for_the_adjoint(bench: Bench) -> None:
    cases = [Case(at(tol), mode, 1) for tol in (1e-1, 1e-6) for mode in GRADIENTS]
    rows = {(row["tol"], row["gradient"]): row["memory_saved_mib"] for row in bench.rows(cases)}
    assert rows[1e-6, "direct"] > 2 * rows[1e-1, "direct"]
    assert rows[1e-6, "adjoint"] == rows[1e-1, "adjoint"] < rows[1e-1, "direct"]
    assert rows[1e-6, "checkpointed"] < rows[1e-6, "direct"]


def test_the_adjoints_own_tolerance_and_norm_are_stated(bench: Bench) -> None:
    decoupled = replace(at(1e-2), adjoint=AdjointSettings(rtol=1e-4, atol=1e-4, norm="full"))
    rows = bench.rows([Case(at(1e-2), mode, 1) for mode in GRADIENTS] + [Case(decoupled, "adjoint", 1)])
    stated = [(row["tol_adjoint"], row["norm_adjoint"]) for row in map(complete, rows)]
    assert stated == [(None, None), (None, None), (1e-2, "state"), (1e-4, "full")]


def test_forward_alone_leaves_what_is_of_the_backward_pass_empty(bench: Bench) -> None:
    (row,) = map(complete, bench.rows([Case(at(1e-2), "adjoint", 1, has_backward=False)]))
    assert {name for name in NAMES if row[name] is None} == {
        *("nfe_backward", "num_accepted_backward", "num_rejected_backward", "time_backward_ms"),
        *("error_gradient", "memory_saved_mib", "tol_adjoint", "norm_adjoint"),
    }
    assert row["time_forward_ms"] > 0
    assert row["recon_error"] > 0


def test_times_are_of_the_first_batches_and_the_last_batch_is_as_small_as_it_comes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodebench.measurement.measurement.NUM_TIMED", 1)
    assert bench.measurement.num_batches == 3
    rows = bench.rows([Case(at(1e-2), "adjoint", 3)])
    assert [complete(row)["time_forward_ms"] is None for row in rows] == [False, True, True]
    assert [complete(row)["error_reference"] is None for row in rows] == [False, True, True]
    assert len(bench.y0(2)) == 30
    assert all(row["error_endpoint"] > 0 for row in rows)


def test_a_solve_that_fails_is_a_row_without_numbers_and_is_said(bench: Bench) -> None:
    failing = replace(at(1e-6), max_steps=1)
    failed, fine = map(complete, bench.rows([Case(failing, "adjoint", 1), Case(at(1e-2), "adjoint", 1)]))
    assert [name for name in NAMES if failed[name] is not None] == list(Key._fields)
    assert fine["nfe_forward"] > 0
    assert "dopri5 at tol 1e-06, batch 0: max_steps=1 reached" in bench.said[0]


class TestTorchdiffeq:
    @pytest.fixture(autouse=True)
    def installed(self) -> None:
        pytest.importorskip("torchdiffeq")

    def theirs(self, method: str, tol: float, **settings: Any) -> Case:
        solver = SolverSettings(method, rtol=tol, atol=tol, **settings)
        return Case(solver, "adjoint", 1, has_backward=False, library="torchdiffeq")

    def test_counts_and_error_are_those_of_its_own_solve(self, bench: Bench) -> None:
        import torchdiffeq

        (row,) = map(complete, bench.rows([self.theirs("fehlberg2", 1e-4)]))
        matrix = bench.net.ode_block.vector_field.matrix.detach()
        calls = []

        def field(t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            calls.append(t)
            return y @ matrix.T

        y0, ts = bench.y0(), torch.tensor([0.0, 1.0])
        y1 = torchdiffeq.odeint(
            field, y0, ts, method="fehlberg2", rtol=1e-4, atol=1e-4, options={"step_t": ts[-1:]}
        )[-1]
        exact = y0.double() @ torch.linalg.matrix_exp(matrix.double()).T
        distance = (y1.double() - exact).norm(dim=1).max() / exact.norm(dim=1).max()
        assert row["nfe_forward"] == len(calls)
        assert row["error_endpoint"] == pytest.approx(float(distance), rel=1e-3)
        assert 2 + 2 * (row["num_accepted_forward"] + row["num_rejected_forward"]) == len(calls)
        assert row["time_forward_ms"] > 0

    @pytest.mark.parametrize("method", ["dopri5", "bosh3", "dopri8"])
    @pytest.mark.parametrize("tol", [1e-1, 1e-3])
    def test_where_it_is_the_same_method_it_takes_the_same_steps(
        self, fast_bench: Bench, method: str, tol: float
    ) -> None:
        theirs = self.theirs(method, tol)
        pair = fast_bench.rows([theirs, replace(theirs, library=OWN)])
        for name in ("nfe_forward", "num_accepted_forward", "num_rejected_forward"):
            assert pair[0][name] == pair[1][name]
        assert pair[0]["error_endpoint"] == pytest.approx(pair[1]["error_endpoint"], rel=0.1)

    def test_what_is_not_measured_of_it_is_empty(self, bench: Bench) -> None:
        (row,) = map(complete, bench.rows([self.theirs("bosh3", 1e-2)]))
        assert {name for name in NAMES if row[name] is None} == {
            *("nfe_backward", "num_accepted_backward", "num_rejected_backward", "time_backward_ms"),
            *("recon_error", "error_gradient", "memory_saved_mib", "tol_adjoint", "norm_adjoint"),
        }

    @pytest.mark.parametrize("method", METHODS)
    def test_every_solver_comes_closer_with_the_tolerance(self, fast_bench: Bench, method: str) -> None:
        loose, tight = fast_bench.rows([self.theirs(method, tol) for tol in (1e-1, 1e-5)])
        assert (loose["library"], loose["solver"]) == ("torchdiffeq", method)
        assert tight["error_endpoint"] < loose["error_endpoint"] / 100
        assert tight["nfe_forward"] > loose["nfe_forward"]

    @pytest.mark.parametrize(
        ("tol", "scale", "settings", "reason"),
        [
            (1e-6, 1.0, {"max_steps": 1}, "max_num_steps exceeded"),
            (1e-3, math.nan, {}, "underflow in dt"),
            (1e-3, 1e38, {}, "(underflow in dt|non-finite values in state)"),
        ],
    )
    def test_a_solve_that_fails_is_a_row_without_numbers_and_says_why(
        self, bench: Bench, tol: float, scale: float, settings: dict[str, Any], reason: str
    ) -> None:
        case = self.theirs("dopri5", tol, **settings)
        bench.measurement.errors = ReferenceErrors(0.0, 0.0)
        bench.rows([self.theirs("dopri5", 1.0)])  # the reference is of the field as it was
        with torch.no_grad():
            bench.net.ode_block.vector_field.matrix.mul_(scale)
        (failed,) = map(complete, bench.rows([case]))
        assert [name for name in NAMES if failed[name] is not None] == list(Key._fields)
        assert re.match(f"torchdiffeq dopri5 at tol {tol:g}, batch 0: torchdiffeq: {reason}", bench.said[0])
        assert "\n" not in bench.said[0]
        assert len(bench.said[0]) < 120


def test_the_reference_is_solved_once_a_batch(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    solve, solves = ReferenceSolver.solve, []
    monkeypatch.setattr(
        ReferenceSolver, "solve", lambda self, *args: (solves.append(args[0].tol), solve(self, *args))[1]
    )
    bench.measurement.errors = ReferenceErrors(0.0, 0.0)
    cases = [Case(at(tol), "adjoint", 2) for tol in (1.0, 1e-1, 1e-2)]
    estimate = bench.measurement.estimate(order(cases))
    bench.rows(cases)
    assert solves == [1e-9, 1e-9]
    assert len(estimate) == 6
    assert all(math.isfinite(seconds) and seconds > 0 for seconds in estimate.values())


def test_no_solve_is_made_twice_for_what_another_row_or_the_estimate_has_found(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each row of a first batch: the pass, three more for times, one for memory. Back from y(t1): once a solver.

    There for the way back: once a solver too, where the row that needs it first is of direct, which autograd records.
    """
    solve, there, back = ODEBlock.solve, [], []

    def noted(block: ODEBlock, y0: torch.Tensor, ts: Sequence[float]) -> Solution[torch.Tensor]:
        if y0.dtype == torch.float32:  # the reference's are in float64
            (there if ts[0] == 0.0 else back).append(block.solver.rtol)
        return solve(block, y0, ts)

    cases = [Case(at(tol), gradient, 1) for tol in (1e-1, 1e-3) for gradient in GRADIENTS]
    monkeypatch.setattr(ODEBlock, "solve", noted)
    bench.measurement.estimate(order(cases))
    rows = bench.rows(cases)
    assert len(there) == len(cases) * (1 + 3 + 1) + 2
    assert sorted(back) == [1e-3, 1e-1]
    there.clear()
    rows += bench.rows([replace(cases[-1], num_batches=2)])
    assert len(there) == 2 * (1 + 3) + 1
    monkeypatch.undo()
    for row in rows:
        alone = ODEBlock(bench.net.ode_block.vector_field, at(row["tol"]), row["gradient"])
        assert row["recon_error"] == alone.reconstruction_error(bench.y0(row["batch"]))


def test_measuring_leaves_the_net_as_it_was(bench: Bench) -> None:
    before = {name: value.clone() for name, value in bench.net.state_dict().items()}
    bench.rows([Case(at(1e-2), mode, 1) for mode in GRADIENTS])
    after = bench.net.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.grad is None for parameter in bench.net.parameters())
    assert next(bench.net.parameters()).dtype == torch.float32


def complete(row: Mapping[str, Any]) -> dict[str, Any]:
    assert set(row) <= set(NAMES)
    return {name: row.get(name) for name in NAMES}
