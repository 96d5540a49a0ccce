"""Tables from results whose times are known."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from nodebench.benchmark.bare import BARE, WITH_VJP, WITHOUT_GRAPH, bare_contestants
from nodebench.benchmark.contestants import Contestant, Measured, State
from nodebench.benchmark.problems import OWN, Problem
from nodebench.benchmark.race import Result
from nodebench.benchmark.ratios import PUBLISHED_FIELDS, SAME_FIELD, make_ratios
from nodebench.benchmark.rows import COLUMNS, make_rows, to_markdown

MEMORY = {"memory_saved_mib": 2.5, "memory_peak_mib": 4.0}


def make_result(
    library: str,
    gradient: str,
    forward_ms: float,
    backward_ms: float | None,
    nfe: tuple[int, int | None],
    field: str = OWN,
    tol: float | None = 1e-3,
    gradient_value: Tensor | None = None,
    execution: str = "eager",
) -> Result:
    measured = Measured(forward_ms, backward_ms, *nfe, torch.tensor([1.0, 1.1]), gradient_value)
    contestant = Contestant(
        "", library, field, gradient, lambda: measured, tol, execution, lambda: dict(MEMORY)
    )
    result = Result(contestant, 99.0, measured)
    result.add(measured)
    return result


def bare(field: str = OWN) -> list[Result]:
    return [
        make_result(BARE, WITHOUT_GRAPH, 1.0, None, (1, None), field, None),
        make_result(BARE, WITH_VJP, 2.0, 3.0, (1, 1), field, None),
    ]


def test_overheads_are_over_the_evaluations_that_the_mode_makes() -> None:
    results = [
        *bare(),
        make_result(OWN, "direct", 30.0, 60.0, (10, 0)),  # 10 recorded f, 10 products
        make_result(OWN, "adjoint-full", 15.0, 200.0, (10, 20)),  # 10 bare f; 20 f with their products
        make_result(OWN, "forward", 12.0, None, (10, None)),
        make_result("other", "direct", 30.0, 60.0, (10, 0), field="elsewhere"),  # not evaluated bare
    ]
    rows = make_rows(results, [])
    forward = rows["overhead_forward_percent"].tolist()
    backward = rows["overhead_backward_percent"].tolist()
    assert forward[2:5] == pytest.approx([50.0, 50.0, 20.0])
    assert backward[2:4] == pytest.approx([100.0, 100.0])
    assert rows["overhead_forward_percent"].isna().tolist() == [True, True, False, False, False, True]
    assert list(rows.columns) == list(COLUMNS)


def test_a_compiled_solve_has_no_overhead_over_eager_evaluations() -> None:
    results = [*bare(), make_result("diffrax", "checkpointed", 3.0, 9.0, (10, 20), execution="compiled")]
    row = make_rows(results, []).iloc[-1]
    assert row[["overhead_forward_percent", "overhead_backward_percent"]].isna().all()


def test_errors_are_against_the_reference_of_the_contestants_own_field() -> None:
    class Still(nn.Module):
        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return 0 * y

    def loss(y1: State) -> Tensor:
        assert isinstance(y1, Tensor)
        return (y1 * torch.tensor([3.0, 4.0])).sum()

    y0 = torch.ones(2).requires_grad_()
    problem = Problem(Still(), OWN, y0, (0.0, 1.0), loss)
    result = make_result(OWN, "direct", 1.0, 1.0, (2, 0), gradient_value=torch.tensor([3.0, 4.5]))
    (row,) = make_rows([result], [problem]).to_dict("records")
    assert row["error_solution"] == pytest.approx(0.1 / 2**0.5, rel=1e-5)
    assert row["error_gradient"] == pytest.approx(0.1)
    assert (row["memory_saved_mib"], row["memory_peak_mib"]) == (2.5, 4.0)
    assert (row["time_first_ms"], row["time_ms"]) == (99.0, 2.0)


def test_a_column_without_any_value_is_not_shown() -> None:
    rows = make_rows([make_result(OWN, "forward", 1234.5678, None, (10, None))], [])
    shown = to_markdown(rows, COLUMNS)
    header, _, row = shown.splitlines()
    assert "time_forward_ms" in header
    assert "time_backward_ms" not in header
    assert "error_gradient" not in header
    assert "1235 |" in row


def ratio_rows() -> pd.DataFrame:
    return make_rows(
        [
            *bare(),
            make_result(OWN, "direct", 10.0, 10.0, (10, 0)),
            make_result(OWN, "adjoint-full", 10.0, 40.0, (10, 9)),
            make_result("torchdiffeq", "direct", 40.0, 10.0, (20, 0)),
            make_result("torchdiffeq", "adjoint-full", 40.0, 110.0, (20, 9)),
            make_result("torchdiffeq", "direct", 60.0, 40.0, (20, 0), field="torchdiffeq"),
            make_result("torchdiffeq", "direct", 1.0, 1.0, (20, 0), tol=1e-2),
        ],
        [],
    )


def test_ratios_are_theirs_over_ours_mode_by_mode_then_best_against_best() -> None:
    ratios = make_ratios(ratio_rows(), 1e-3)
    found = ratios[
        ["comparison", "their_gradient", "our_gradient", "ratio", "ratio_evaluation"]
    ].values.tolist()
    assert found == [
        [SAME_FIELD, "direct", "direct", 2.5, 2.0],
        [SAME_FIELD, "adjoint-full", "adjoint-full", 3.0, 2.0],
        [SAME_FIELD, "best: direct", "best: direct", 2.5, 2.0],
        [PUBLISHED_FIELDS, "direct", "direct", 5.0, 3.0],
    ]


@pytest.mark.parametrize(
    ("our_error", "faster"), [(0.2, ["adjoint-full: direct"]), (0.4, []), (None, [])], ids=str
)
def test_a_mode_meets_our_fastest_that_is_no_less_exact(our_error: float | None, faster: list[str]) -> None:
    rows = ratio_rows()
    rows["error_gradient"] = 0.3
    rows.loc[(rows["library"] == OWN) & (rows["gradient"] == "direct"), "error_gradient"] = our_error
    ratios = make_ratios(rows, 1e-3, across_modes=True)
    same = ratios[
        (ratios["comparison"] == SAME_FIELD) & ratios["our_gradient"].str.startswith("no less exact")
    ]
    crossed = same["their_gradient"] + same["our_gradient"].str.removeprefix("no less exact")
    assert [pair for pair in crossed if pair.startswith("adjoint")] == faster


def test_every_execution_of_ours_is_compared_by_itself() -> None:
    rows = ratio_rows()
    compiled = rows[(rows["library"] == OWN) & (rows["gradient"] == "direct")].assign(
        execution="compiled", time_ms=5.0
    )
    ratios = make_ratios(pd.concat([rows, compiled], ignore_index=True), 1e-3)
    direct = ratios[(ratios["comparison"] == SAME_FIELD) & (ratios["our_gradient"] == "direct")]
    assert dict(zip(direct["our_execution"], direct["ratio"], strict=True)) == {
        "eager": 2.5,
        "compiled": 10.0,
    }


def test_modes_that_another_library_names_otherwise_meet_their_counterparts() -> None:
    ours = [make_result(OWN, gradient, 10.0, 10.0, (10, 0)) for gradient in ("direct", "checkpointed")]
    ours += [
        make_result(OWN, f"adjoint-{norm}", 10.0, 30.0, (10, 9)) for norm in ("full", "seminorm", "state")
    ]
    theirs = [
        make_result("diffrax", gradient, 2.0, 18.0, (10, 20), execution="compiled")
        for gradient in ("checkpointed", "backsolve", "backsolve-seminorm")
    ]
    ratios = make_ratios(make_rows([*ours, *theirs], []), 1e-3)
    assert ratios[["their_gradient", "our_gradient"]].values.tolist() == [
        ["checkpointed", "direct"],
        ["checkpointed", "checkpointed"],
        ["backsolve", "adjoint-full"],
        ["backsolve-seminorm", "adjoint-state"],
        ["best: checkpointed", "best: direct"],
    ]
    assert set(ratios["comparison"]) == {SAME_FIELD}
    assert set(ratios["their_execution"]) == {"compiled"}


def test_eager_and_compiled_modes_of_another_library_are_compared_apart() -> None:
    theirs = [
        make_result("other", "direct", time_ms, time_ms, (10, 0), execution=execution)
        for execution, time_ms in (("eager", 20.0), ("compiled", 5.0))
    ]
    ratios = make_ratios(make_rows([make_result(OWN, "direct", 10.0, 10.0, (10, 0)), *theirs], []), 1e-3)
    assert ratios[["their_execution", "our_execution", "ratio"]].values.tolist() == [
        ["eager", "eager", 2.0],
        ["compiled", "eager", 0.5],
    ]


def test_steps_a_sample_are_compared_with_steps_a_batch() -> None:
    rows = make_rows(
        [
            make_result(OWN, "forward", 10.0, None, (10, None)),
            make_result("torchode", "forward-per-sample", 30.0, None, (10, None)),
        ],
        [],
    )
    (ratio,) = make_ratios(rows, 1e-3)["ratio"]
    assert ratio == 3.0


def test_both_kinds_of_steps_meet_both_of_ours() -> None:
    modes = (("forward", 10.0), ("forward-per-sample", 5.0))
    rows = [make_result(OWN, mode, time_ms, None, (10, None)) for mode, time_ms in modes]
    theirs = [make_result("torchode", mode, 6 * time_ms, None, (10, None)) for mode, time_ms in modes]
    ratios = make_ratios(make_rows([*rows, *theirs], []), 1e-3)
    assert ratios[["their_gradient", "our_gradient", "ratio"]].values.tolist() == [
        ["forward", "forward", 6.0],
        ["forward", "forward-per-sample", 12.0],
        ["forward-per-sample", "forward", 3.0],
        ["forward-per-sample", "forward-per-sample", 6.0],
        ["best: forward-per-sample", "best: forward-per-sample", 6.0],
    ]


def test_without_baselines_there_are_no_ratios() -> None:
    ratios = make_ratios(make_rows([make_result(OWN, "direct", 1.0, 1.0, (2, 0))], []), 1e-3)
    assert ratios.empty


@pytest.mark.parametrize("packed", [True, False])
def test_bare_evaluations_are_of_the_field_alone(packed: bool) -> None:
    class Field(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3))

        def forward(self, t: Tensor, y: State) -> State:
            return self.weight * y if isinstance(y, Tensor) else (self.weight * y[0], t + y[1])

    y0 = torch.ones(3) if packed else (torch.ones(3), torch.ones(1))
    problem = Problem(Field(), OWN, y0, (2.0, 0.0), lambda y1: torch.zeros(()))
    without, with_vjp = (contestant.run() for contestant in bare_contestants(problem))
    assert without.solution.tolist() == ([1.0] * 3 if packed else [1.0, 1.0, 1.0, 3.0])
    assert without.time_backward_ms is None
    assert with_vjp.time_backward_ms is not None
    assert problem.field.weight.grad is None
    assert not problem.parts[0].requires_grad
