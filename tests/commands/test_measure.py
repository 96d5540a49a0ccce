"""`nodebench measure`: a trained net's solves, measured in pieces and never mixed."""

from __future__ import annotations

import csv
import errno
import json
import os
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch

from nodebench import cli
from nodebench.commands.measure_files import MeasureFiles
from nodebench.commands.measure_summary import SHOWN, summary
from nodebench.config.compose import compose
from nodebench.config.identity import run_folder
from nodebench.config.saved import config_text
from nodebench.records.measures import Key

NUM_IMAGES = 8
QUICK = ("--reference-tol", "1e-2", "--batches", "2", "solver.tol=1,1e-1")
QUICKEST = ("--reference-tol", "1e-2", "--batches", "1", "solver.tol=1")
OWN_ROWS = 2 * 2 * 3  # tolerances, batches, gradients


@pytest.fixture(autouse=True)
def batches_of_eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nodebench.measurement.measurement.BATCH_SIZE", NUM_IMAGES)
    monkeypatch.setattr("nodebench.measurement.measurement.NUM_REPEATS", 1)


@pytest.fixture
def run(smoke: tuple[str, ...]) -> Path:
    return trained(*smoke)


def trained(*overrides: str) -> Path:
    assert cli.main(["train", *overrides]) == 0
    return run_folder(compose(overrides).config)


def measure(*arguments: str | Path) -> int:
    return cli.main(["measure", *map(str, arguments)])


def rows(run: Path) -> list[dict[str, str]]:
    with open(run / "measure.csv", newline="") as file:
        return list(csv.DictReader(file))


def keys(run: Path) -> list[tuple[str, ...]]:
    return [tuple(row[name] for name in Key._fields) for row in rows(run)]


def test_a_run_is_measured_in_pieces_that_end_as_one(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert measure(run, *QUICK, "--batches", "1") == 0
    assert len(rows(run)) == OWN_ROWS / 2
    printed = capsys.readouterr()
    assert "dopri5 at tol 1, 0.1: direct on 1, checkpointed on 1, adjoint on 1 batch of" in printed.out
    assert "adjoint    tolerance the row's, norm state\n" in printed.out
    assert "reference  dopri5 at 0.01 in float64" in printed.out
    assert re.search(r"\n(about|less than) .* for 6 rows\n", printed.err)
    assert f"nodebench plot fig3 --runs {run}" in printed.out

    # Killed in the middle of a line: the half is cut off and measured again, the whole lines are left alone.
    whole = (run / "measure.csv").read_text()
    (run / "measure.csv").write_text(whole[:-10])
    assert measure(run, *QUICK) == 0
    assert (run / "measure.csv").read_text().startswith(whole[: whole[:-1].rfind("\n") + 1])
    assert len(set(keys(run))) == len(keys(run)) == OWN_ROWS

    assert measure(run, *QUICK) == 0
    assert f"rows       {OWN_ROWS}, {OWN_ROWS} of them done" in capsys.readouterr().out
    assert len(rows(run)) == OWN_ROWS
    notes = json.loads((run / "measure.json").read_text())
    assert notes["made_with"]["step"] == 2
    assert notes["made_with"]["reference"]["tol"] == 1e-2
    assert notes["made_with"]["solver"]["adjoint"]["norm"] == "state"
    assert notes["reference_errors"]["endpoint"] == pytest.approx(
        float(rows(run)[0]["error_reference"]), rel=1e-4
    )

    assert measure(run, *QUICK, "solver=bosh3", "--batches", "1") == 0
    added = [row for row in rows(run) if row["solver"] == "bosh3"]
    assert [(row["tol"], row["gradient"], row["nfe_backward"]) for row in added] == [
        ("1", "adjoint", ""),
        ("0.1", "adjoint", ""),
    ]
    assert all(float(row["error_endpoint"]) > 0 for row in added)


def test_the_medians_fit_the_terminal_and_what_has_no_room_is_named() -> None:
    names = [column.name for column in SHOWN]
    solves = [(library, tol) for library in ("nodebench", "torchdiffeq") for tol in (1.0, 0.1)]
    measured = [
        {"library": library, "solver": "adaptive_heun", "tol": tol, "gradient": "adjoint"}
        | dict.fromkeys(names, 1.0 + number)
        for number, (library, tol) in enumerate(solves)
    ]
    assert max(map(len, summary(measured, None).splitlines())) > 100
    for width in (60, 80):
        shown = summary(measured, None, width)
        assert max(map(len, shown.splitlines())) <= width
        told = " ".join(shown.split())
        assert "Left out, for want of room: " in told
        assert "The same in every row: gradient adjoint, batches 1." in told


def test_what_is_about_to_be_measured_is_told_in_lines_of_the_terminals_width(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("nodebench.terminal.terminal_width", lambda stream: 60)
    capsys.readouterr()
    assert measure(run, *QUICKEST, "solver=dopri5,bosh3") == 0
    first, *told = capsys.readouterr().out.partition("\n\n")[0].splitlines()
    assert first == f"run        {run}, step 2"
    assert max(map(len, told)) <= 60
    assert any(line.startswith(" " * 11) for line in told)


def test_a_table_from_before_other_libraries_were_measured_goes_on_as_nodebenchs_own(
    run: Path,
) -> None:
    assert measure(run, *QUICK, "--batches", "1") == 0
    text, notes = (run / "measure.csv").read_text(), json.loads((run / "measure.json").read_text())
    before = "".join(line.partition(",")[2] for line in text.splitlines(keepends=True))
    assert before.startswith("solver,tol")
    (run / "measure.csv").write_text(before)
    del notes["libraries"]
    assert "steps" not in notes["made_with"]["solver"]  # shared ones, of which nobody spoke then
    (run / "measure.json").write_text(json.dumps(notes))
    assert measure(run, *QUICK) == 0
    assert (run / "measure.csv").read_text().startswith(text)
    assert len(set(keys(run))) == len(rows(run)) == OWN_ROWS
    assert {row["library"] for row in rows(run)} == {"nodebench"}


class TestBaselines:
    METHODS = ("dopri5", "bosh3", "dopri8", "adaptive_heun", "fehlberg2")
    BESIDE = (*QUICKEST, "--baselines")

    def test_torchdiffeqs_solvers_are_measured_beside_ours_and_once(
        self, run: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        torchdiffeq = pytest.importorskip("torchdiffeq")
        capsys.readouterr()
        assert measure(run, *self.BESIDE) == 0
        printed = capsys.readouterr()
        for method in self.METHODS:
            assert f"solver     torchdiffeq {method} at tol 1: forward on 1 batch of 100\n" in printed.out
            assert f"\ntorchdiffeq {method} " in printed.out
        assert re.search(r"(about|less than) .* for 8 rows, .* of it for torchdiffeq's\n", printed.err)
        theirs = [row for row in rows(run) if row["library"] == "torchdiffeq"]
        assert [row["solver"] for row in theirs] == list(self.METHODS)
        for row in theirs:
            assert int(row["nfe_forward"]) > 0
            assert float(row["error_endpoint"]) > 0
            assert float(row["time_forward_ms"]) > 0
            assert row["nfe_backward"] == row["recon_error"] == ""
        notes = json.loads((run / "measure.json").read_text())
        assert notes["libraries"] == {"torchdiffeq": torchdiffeq.__version__}
        whole = (run / "measure.csv").read_text()

        # Interrupted in the middle of its rows; what is asked for without it leaves them alone.
        (run / "measure.csv").write_text(whole[:-30])
        assert measure(run, *self.BESIDE[:-1], "--batches", "2") == 0
        assert measure(run, *self.BESIDE) == 0
        assert len(set(keys(run))) == len(rows(run)) == 3 + 3 + 5
        assert json.loads((run / "measure.json").read_text())["libraries"] == notes["libraries"]

    def test_rows_of_two_versions_are_not_mixed(
        self, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        pytest.importorskip("torchdiffeq")
        assert measure(run, *self.BESIDE) == 0
        before = (run / "measure.csv").read_text()
        monkeypatch.setattr("nodebench.commands.measure_plan.version", lambda name: "9.9")
        assert measure(run, *self.BESIDE) == 2
        assert "and not 9.9; move measure.csv and measure.json away" in capsys.readouterr().err
        assert (run / "measure.csv").read_text() == before
        assert measure(run, *self.BESIDE[:-1]) == 0

    def test_without_torchdiffeq_what_to_install_is_said(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def missing(name: str) -> str:
            raise PackageNotFoundError(name)

        monkeypatch.setattr("nodebench.commands.measure_plan.version", missing)
        (tmp_path / "config.yaml").write_text(config_text(compose(["data=digits"]).config))
        assert measure(tmp_path, "--baselines") == 2
        assert (
            "--baselines needs torchdiffeq, which is not installed: `pip install" in capsys.readouterr().err
        )


def test_what_was_measured_before_an_interruption_is_kept(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    append, num_left = MeasureFiles.append, iter(range(2))

    def stop_after_two(*args: object) -> None:
        if next(num_left, None) is None:
            raise KeyboardInterrupt
        append(*args)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(MeasureFiles, "append", stop_after_two)
        assert measure(run, *QUICK) == 130
    assert f"2 of {OWN_ROWS} rows are in {run}/measure.csv; the same command continues" in (
        capsys.readouterr().err
    )
    assert len(rows(run)) == 2
    assert measure(run, *QUICK) == 0
    assert len(set(keys(run))) == len(rows(run)) == OWN_ROWS


def test_what_was_stopped_before_its_first_row_leaves_no_measurement(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("nodebench.measurement.Measurement.estimate", stop)
        assert measure(run, *QUICK) == 130
    assert not (run / "measure.csv").exists()


def test_a_table_without_rows_is_no_measurement_whatever_it_was_begun_with(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert measure(run, *QUICKEST) == 0
    first, *_ = (run / "measure.csv").read_text().splitlines(keepends=True)
    (run / "measure.csv").write_text(first)
    capsys.readouterr()
    assert cli.main(["plot", "fig3", "--runs", str(run)]) == 2
    assert f"not measured yet: `nodebench measure {run}`" in capsys.readouterr().err
    assert measure(run, *QUICKEST, "--reference-tol", "1e-3") == 0
    assert len(rows(run)) == 3
    assert json.loads((run / "measure.json").read_text())["made_with"]["reference"]["tol"] == 1e-3


def test_a_run_that_cannot_be_written_is_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(folder: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("nodebench.commands.measure.check_folder", refuse)
    (tmp_path / "config.yaml").write_text(config_text(compose(["data=digits"]).config))
    assert measure(tmp_path) == 2
    assert (
        f"cannot write to `{tmp_path}`: Read-only file system; measure.csv belongs" in capsys.readouterr().err
    )


def test_rows_made_with_something_else_are_named_and_not_mixed(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert measure(run, *QUICKEST) == 0
    before = (run / "measure.csv").read_text()
    notes = json.loads((run / "measure.json").read_text())

    def refused() -> Iterator[str]:
        assert measure(run, *QUICKEST, "--reference-tol", "1e-3") == 2
        yield '"tol": 0.01'
        assert measure(run, *QUICKEST, "solver.adjoint.norm=full") == 2
        yield '"norm": "state"'
        changed = {**notes, "made_with": {**notes["made_with"], "step": 1}}
        (run / "measure.json").write_text(json.dumps(changed))
        assert measure(run, *QUICKEST) == 2
        yield "was measured with step 1 and not 2"
        (run / "measure.json").unlink()
        assert measure(run, *QUICKEST) == 2
        yield "what"
        (run / "measure.csv").write_text(before.replace("library,", "libary,"))
        assert measure(run, *QUICKEST) == 2
        yield "measure.csv is damaged: its first line does not name the columns"
        (run / "measure.csv").write_text(before)

    capsys.readouterr()
    for reason in refused():
        printed = capsys.readouterr().err
        assert reason in printed
        assert "move measure.csv and measure.json away to measure anew" in printed
    assert (run / "measure.csv").read_text() == before


def test_a_damaged_line_is_measured_again_and_the_others_are_kept(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert measure(run, *QUICKEST) == 0
    whole = (run / "measure.csv").read_text()
    damaged = whole.replace("dopri5,1,direct,0,", "dopri5,1,direct,zero,")
    (run / "measure.csv").write_text(damaged)
    capsys.readouterr()
    assert measure(run, *QUICKEST) == 0
    assert "damaged: line 2 has batch=zero, which is no number. Such lines are measured again" in (
        capsys.readouterr().err
    )
    assert (run / "measure.csv.damaged").read_text() == damaged
    kept = [line for line in whole.splitlines() if "dopri5,1,direct,0," not in line]
    assert (run / "measure.csv").read_text().splitlines()[:-1] == kept
    assert len(set(keys(run))) == len(whole.splitlines()) - 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--batches", "0"],
            "--batches: 0 is not possible; it must be a whole number, 1 or above; `nodebench me",
        ),
        (["--batches", "many"], "--batches: many is not possible"),
        (
            ["--reference-tol", "0"],
            "--reference-tol: 0 is not possible; it must be a number from 1e-12 to 0.1",
        ),
        (["--reference-tol", "1e-30"], "--reference-tol: 1e-30 is not possible"),
        (["--reference-tol", "nan"], "--reference-tol: nan is not possible"),
        (
            ["--reference-tol", "1e-3"],
            "is no tighter than the solves that are measured against it, down to solver.tol",
        ),
        (["solver.tol=small"], "solver.tol=small is not possible"),
        (["solver.rtol=1e-3"], "measure varies the tolerance"),
        (["solver=euler"], "euler takes fixed steps, and measure varies the tolerance"),
        (["solver=dopri6"], "unknown solver.method `dopri6`"),
        (["solver=lsoda"], "lsoda stores a dense Jacobian"),
        (["model=mlp"], "`model` is the run's own"),
    ],
)
def test_what_cannot_be_measured_is_a_sentence(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text(config_text(compose(["data=digits"]).config))
    assert measure(tmp_path, *arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data=digits", "model=resnet"], "resnet has no ODE to solve, which `nodebench measure` is about"),
        (["task=density", "data=two_circles", "model=cnf"], "cnf is no classifier"),
        (["data=digits", "solver=rk4", "solver.dt=0.25"], "rk4 at fixed steps of 0.25"),
        (["data=digits"], "no readable checkpoint"),
    ],
)
def test_a_run_that_cannot_be_measured_is_a_sentence(
    overrides: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text(config_text(compose(overrides).config))
    assert measure(tmp_path) == 2
    assert message in capsys.readouterr().err


def test_a_folder_that_is_no_run_and_a_damaged_checkpoint_are_sentences(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert measure("nowhere") == 2
    assert "nowhere is no run folder" in capsys.readouterr().err
    for path in (run / "checkpoints").iterdir():
        path.write_bytes(b"not a checkpoint")
    assert measure(run) == 2
    assert "no readable checkpoint" in capsys.readouterr().err
    assert not (run / "measure.csv").exists()


class Payload:
    """Runs a command where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_of_somebody_elses_making_is_never_unpickled(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (run / "checkpoints").iterdir():
        content = torch.load(path, weights_only=True)
        torch.save({**content, "more": Payload(tmp_path / "was here")}, path)
    for command in (["measure"], ["evaluate"], ["evaluate", "--swap"]):
        assert cli.main([*command, str(run)]) == 2
        assert "it holds objects that are not tensors or plain values" in capsys.readouterr().err
    assert not (tmp_path / "was here").exists()
    assert not (run / "measure.csv").exists()


def test_a_checkpoint_of_another_model_is_one_sentence(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (run / "checkpoints").iterdir():
        content = torch.load(path, weights_only=True)
        weights = {name: weight for name, weight in content["model"].items() if "head" not in name}
        torch.save({**content, "model": weights}, path)
    capsys.readouterr()
    for command in ("measure", "evaluate"):
        assert cli.main([command, str(run)]) == 2
        (sentence,) = capsys.readouterr().err.splitlines()
        assert re.search(
            r"is of another model: \d weights are missing \(head\..*\); train the run again", sentence
        )
