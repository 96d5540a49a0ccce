"""measure.csv as `nodebench measure` leaves it, whole and damaged."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nodebench.records.measures import NAMES
from nodebench.reporting import find_runs
from nodebench.reporting.measures import (
    DamagedMeasuresError,
    Measures,
    NotMeasuredError,
    pick_measured,
    read_measures,
)
from nodebench.reporting.recipes import Recipe, Recipes

Write = Callable[..., Path]


def read(root: Path) -> Measures:
    (run,) = find_runs(root)
    measures = read_measures(run)
    assert measures is not None
    return measures


def all_lines(measures: Measures) -> pd.DataFrame:
    return measures.table


def test_every_line_is_read_and_what_is_empty_is_no_number(
    tmp_path: Path, write_run: Write, write_measures: Write
) -> None:
    write_measures(write_run(), batches=2, gradients=("adjoint",), solvers=("dopri5", "tsit5"))
    measures = read(tmp_path)
    assert len(measures.table) == 2 * 6 * 2
    assert measures.notes == ()
    first = measures.table.iloc[0]
    assert (first["solver"], first["tol"], first["gradient"], first["batch"]) == ("dopri5", 1.0, "adjoint", 0)
    assert (first["nfe_forward"], first["memory_saved_mib"], first["norm_adjoint"]) == (14.0, 2.0, "state")
    assert np.isnan(measures.table.iloc[-1]["nfe_backward"])
    assert set(measures.own["solver"]) == {"dopri5"}


def test_a_run_without_the_file_is_not_measured(tmp_path: Path, write_run: Write) -> None:
    write_run()
    (run,) = find_runs(tmp_path)
    assert read_measures(run) is None


def test_a_last_line_that_was_cut_off_is_left_out_even_where_it_looks_whole(
    tmp_path: Path, write_run: Write, write_measures: Write
) -> None:
    path = write_measures(write_run(), batches=1, gradients=("adjoint",))
    whole = path.read_text()
    path.write_text(whole.rstrip("\n"))
    assert len(read(tmp_path).table) == 5
    path.write_text(whole + "nodebench,dopri5,1e-0")
    measures = read(tmp_path)
    assert len(measures.table) == 6
    assert "the last line is cut off" in measures.notes[0]
    assert "nodebench measure" in measures.notes[0]


def test_a_quotation_mark_damages_no_more_than_its_line(
    tmp_path: Path, write_run: Write, write_measures: Write
) -> None:
    path = write_measures(write_run(), batches=1, gradients=("adjoint",))
    path.write_text(path.read_text().replace("dopri5,0.1,", 'dopri5,"0.1,'))
    measures = read(tmp_path)
    assert len(measures.table) == 5
    assert [note.partition(": ")[2] for note in measures.notes] == ["line 3 is damaged and is left out"]


def test_a_tolerance_that_is_not_finite_is_damage(
    tmp_path: Path, write_run: Write, write_measures: Write
) -> None:
    path = write_measures(write_run(), batches=1, gradients=("adjoint",))
    path.write_text(path.read_text().replace("dopri5,0.1,", "dopri5,inf,"))
    assert len(read(tmp_path).table) == 5


@pytest.mark.parametrize(("step", "is_of_last_step"), [(7496, True), (500, False), ("much", True)])
def test_measurements_of_other_weights_than_the_runs_last_say_so(
    tmp_path: Path, write_run: Write, write_measures: Write, step: object, is_of_last_step: bool
) -> None:
    run = write_run(step=7496)
    write_measures(run, batches=1)
    errors = {"endpoint": 3.58e-6, "gradient": 1.77e-3}
    (run / "measure.json").write_text(json.dumps({"made_with": {"step": step}, "reference_errors": errors}))
    measures = read(tmp_path)
    assert measures.is_of_last_step == is_of_last_step
    assert any("is of weights of step 500" in note for note in measures.notes) != is_of_last_step
    assert measures.reference_errors == "The reference's own errors: endpoint 3.6e-06, gradient 1.8e-03."


@pytest.mark.parametrize("text", ["", "[]", '{"made_with": 3, "reference_errors": "none"}'])
def test_damaged_notes_tell_nothing_and_stop_nothing(
    tmp_path: Path, write_run: Write, write_measures: Write, text: str
) -> None:
    run = write_run(step=7496)
    write_measures(run, batches=1)
    (run / "measure.json").write_text(text)
    measures = read(tmp_path)
    assert (measures.step, measures.reference_errors, measures.notes) == (None, "", ())


@pytest.mark.parametrize(
    "line",
    [
        "nodebench,dopri5,0.1,adjoint",  # too few fields
        "nodebench,dopri5,0.1,adjoint,7" + ",nonsense" * 15,
        "nodebench,dopri5,0.1,sideways,7" + "," * 15,
        "nodebench,dopri5,-0.1,adjoint,7" + "," * 15,
        ",dopri5,0.1,adjoint,7" + "," * 15,
        "nodebench,,0.1,adjoint,7" + "," * 15,
        "\x00\x00\x00",
    ],
)
def test_a_damaged_line_is_named_and_the_others_count(
    tmp_path: Path, write_run: Write, write_measures: Write, line: str
) -> None:
    path = write_measures(write_run(), batches=1, gradients=("adjoint",))
    header, *lines = path.read_text().splitlines()
    path.write_text("\n".join([header, lines[0], line, *lines[1:]]) + "\n")
    measures = read(tmp_path)
    assert len(measures.table) == 6
    assert [note.partition(": ")[2] for note in measures.notes] == ["line 3 is damaged and is left out"]


def test_a_batch_that_stands_twice_counts_once(
    tmp_path: Path, write_run: Write, write_measures: Write
) -> None:
    path = write_measures(write_run(), batches=1, gradients=("adjoint",))
    path.write_text(path.read_text() + path.read_text().splitlines()[1] + "\n")
    measures = read(tmp_path)
    assert len(measures.table) == 6
    assert "line 8 repeats nodebench, dopri5, 1.0, adjoint, 0" in measures.notes[0]


def test_the_same_solver_of_another_library_is_no_repetition_and_not_the_runs_own(
    tmp_path: Path, write_run: Write, write_measures: Write
) -> None:
    write_measures(write_run(), batches=2, solvers=("dopri5", "tsit5", "torchdiffeq dopri5"))
    measures = read(tmp_path)
    assert measures.notes == ()
    assert len(measures.table) == 2 * 6 * (3 + 1 + 1)
    assert len(measures.ours) == 2 * 6 * (3 + 1)
    assert len(measures.own) == 2 * 6 * 3


def test_a_file_from_before_other_libraries_were_measured_is_nodebenchs_own(
    tmp_path: Path, write_run: Write, write_measures: Write
) -> None:
    path = write_measures(write_run(), batches=2)
    now = read(tmp_path)
    path.write_text("".join(line.partition(",")[2] for line in path.read_text().splitlines(keepends=True)))
    before = read(tmp_path)
    assert path.read_text().startswith("solver,tol")
    assert before.table.equals(now.table)
    assert set(before.table["library"]) == {"nodebench"}


def test_the_command_that_measures_can_be_copied_whatever_the_folder_is_called(
    tmp_path: Path, write_run: Write
) -> None:
    (write_run() / "checkpoints" / "step-000000001.pt").touch()
    (run,) = find_runs((tmp_path / "outputs").rename(tmp_path / "o ut"))
    with pytest.raises(NotMeasuredError) as told:
        pick_measured([run], lambda measures: measures.own)
    (command,) = re.findall("`(.*)`", str(told.value))
    assert shlex.split(command) == ["nodebench", "measure", str(run.folder)]


@pytest.mark.parametrize("num_lines", [0, 0.5, 1])
def test_a_file_without_rows_is_no_measurement(
    tmp_path: Path, write_run: Write, write_measures: Write, num_lines: float
) -> None:
    folder = write_run()
    write_measures(folder, batches=1)
    path = folder / "measure.csv"
    first, *_ = path.read_text().splitlines(keepends=True)
    path.write_text(first[: int(num_lines * len(first))])
    (run,) = find_runs(tmp_path)
    assert read_measures(run) is None
    with pytest.raises(NotMeasuredError, match="nodebench measure"):
        pick_measured([run], lambda measures: measures.own)


def test_a_file_with_other_columns_is_named_with_what_to_do(tmp_path: Path, write_run: Write) -> None:
    folder = write_run()
    for first, what in (
        ("some,other,table", "has no column `solver`"),
        (",".join(reversed(NAMES)), "is damaged: its first line does not name the columns of a measurement"),
    ):
        (folder / "measure.csv").write_text(f"{first}\n1,2,3\n")
        with pytest.raises(DamagedMeasuresError, match=rf"measure.csv {what}; delete it and measure"):
            read(tmp_path)


def test_the_run_with_the_most_lines_is_picked_and_the_others_are_named(
    tmp_path: Path, write_run: Write, write_measures: Write
) -> None:
    for seed, batches in ((0, 2), (1, 4)):
        write_measures(write_run(seed=seed), batches=batches)
    (write_run(seed=2) / "measure.csv").write_text("nothing\n")
    measures, lines, notes, _ = pick_measured(find_runs(tmp_path), all_lines)
    assert measures.run.seed == "1"
    assert len(lines) == 4 * 6 * 3
    assert notes[0].startswith("several runs are measured")
    assert any("has no column" in note for note in notes)


def test_a_run_of_the_recipe_comes_first_and_another_one_is_said(
    tmp_path: Path, write_run: Write, write_measures: Write
) -> None:
    write_measures(write_run("mnist-odenet-dopri5-1e-3-adjoint-aaaaaaaa"), batches=4)
    own = "mnist-odenet-dopri5-1e-3-adjoint-bbbbbbbb"
    recipes = Recipes("fig3", (Recipe(own, {"training.epochs": 160, "solver.tol": 0.001}),))
    picked = pick_measured(find_runs(tmp_path), all_lines, recipes)
    (footnote,) = picked.footnotes
    assert footnote in picked.notes
    assert footnote.startswith("not the recipe of fig3")
    assert footnote.endswith("seed0 has training.epochs=8 (160)")
    write_measures(write_run(own), batches=2)
    picked = pick_measured(find_runs(tmp_path), all_lines, recipes)
    assert picked.measures.run.group == own
    assert picked.footnotes == []


def test_where_nothing_is_measured_the_command_is_named(tmp_path: Path, write_run: Write) -> None:
    folder = write_run()
    with pytest.raises(NotMeasuredError, match="has no checkpoint to measure"):
        pick_measured(find_runs(tmp_path), all_lines)
    (folder / "checkpoints" / "step-000000001.pt").touch()
    with pytest.raises(NotMeasuredError, match=f"`nodebench measure {folder}`"):
        pick_measured(find_runs(tmp_path), all_lines)
    with pytest.raises(NotMeasuredError, match="nodebench train experiment=table1_odenet"):
        pick_measured([], all_lines)


def test_a_flow_which_measure_refuses_is_not_called_one_to_be_measured(
    tmp_path: Path, write_run: Write
) -> None:
    flow = {"task": {"name": "density"}, "model": {"name": "cnf"}, "solver": {"method": "dopri5"}}
    (write_run(config=flow) / "checkpoints" / "step-000000001.pt").touch()
    with pytest.raises(NotMeasuredError, match=r"^no trained ODE net is here"):
        pick_measured(find_runs(tmp_path), all_lines)


def test_a_run_is_complete_with_all_tolerances_batches_and_gradients(
    tmp_path: Path, write_run: Write, write_measures: Write
) -> None:
    folder = write_run()
    write_measures(folder, batches=100)
    assert read(tmp_path).is_complete
    write_measures(folder, batches=99)
    assert not read(tmp_path).is_complete
    write_measures(folder, batches=100, gradients=("adjoint",))
    assert not read(tmp_path).is_complete
    write_measures(folder, batches=100, tolerances=(1.0, 0.1))
    assert not read(tmp_path).is_complete
