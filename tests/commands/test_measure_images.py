"""`nodebench measure --per-sample`: what each image needs, measured in pieces and never mixed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nodebench import cli
from nodebench.commands.measure_image_files import ImageFiles
from nodebench.config.compose import compose
from nodebench.config.identity import run_folder
from nodebench.config.saved import config_text
from nodebench.records.per_image import ImageRow, read_rows

BATCH = 8
QUICK = ("--per-sample", "--reference-tol", "1e-2", "solver.tol=1,1e-1")


@pytest.fixture(autouse=True)
def batches_of_eight(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("measurement.images", "commands.measure_image_files", "commands.measure_images"):
        monkeypatch.setattr(f"nodebench.{module}.BATCH_SIZE", BATCH)


@pytest.fixture
def run(smoke: tuple[str, ...]) -> Path:
    assert cli.main(["train", *smoke]) == 0
    return run_folder(compose(smoke).config)


def measure(*arguments: str | Path) -> int:
    return cli.main(["measure", *map(str, arguments)])


def test_images_are_measured_in_pieces_that_end_as_one(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert measure(run, *QUICK, "--batches", "1") == 0
    printed = capsys.readouterr().out
    assert "solver     dopri5 at tol 1, 0.1: forward, a step size an image and one a batch\n" in printed
    assert "pieces     2, 0 of them done\n" in printed
    assert f"nodebench plot per_image --runs {run}" in printed
    first = read_rows(run)
    assert {(row.tol, row.image) for row in first} == {(tol, i) for tol in (1, 0.1) for i in range(BATCH)}
    assert all(row.nfe == 2 + 6 * ((row.num_accepted or 0) + (row.num_rejected or 0)) for row in first)
    assert not (run / "measure.csv").exists()

    # Killed within a batch: what is there of it is measured again, and all of the batches before is left alone.
    append, num_left = ImageFiles.append, iter(range(1))

    def stop_after_one(self: ImageFiles, rows: list[ImageRow]) -> None:
        if next(num_left, None) is None:
            append(self, rows[:3])
            raise KeyboardInterrupt
        append(self, rows)

    with monkeypatch.context() as patched:
        patched.setattr(ImageFiles, "append", stop_after_one)
        assert measure(run, *QUICK, "--batches", "2") == 130
    assert "1 of 2 pieces are in" in capsys.readouterr().err
    assert len(read_rows(run)) == 3 * BATCH + 3
    assert measure(run, *QUICK, "--batches", "2") == 0
    assert read_rows(run)[: 2 * BATCH] == first
    assert len(read_rows(run)) == 4 * BATCH

    assert measure(run, *QUICK, "--batches", "2") == 0
    assert "pieces     4, 4 of them done\n" in capsys.readouterr().out
    made_with = json.loads((run / "per_image.json").read_text())["made_with"]
    assert made_with["solver"]["method"] == "dopri5"
    assert made_with["reference"]["tol"] == 1e-2


def test_images_made_with_something_else_or_damaged_are_not_mixed(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quickest = (*QUICK[:-1], "solver.tol=1", "--batches", "1")
    assert measure(run, *quickest) == 0
    before = (run / "per_image.csv").read_text()
    again = "move per_image.csv and per_image.json away to measure anew"
    assert measure(run, *quickest, "solver=bosh3") == 2
    printed = capsys.readouterr().err
    assert '"method": "dopri5"' in printed
    assert again in printed
    (run / "per_image.json").rename(run / "elsewhere.json")
    assert measure(run, *quickest) == 2
    assert f"is not known; {again}" in capsys.readouterr().err
    (run / "elsewhere.json").rename(run / "per_image.json")
    (run / "per_image.csv").write_text(f"{before}1,many\n")
    assert measure(run, *quickest) == 2
    assert f"damaged: line 10 has 2 entries in place of 10; {again}" in capsys.readouterr().err
    assert (run / "per_image.csv").read_text() == f"{before}1,many\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["solver=dopri5,bosh3"],
            "--per-sample keeps the images of one solver, and dopri5, bosh3 are several",
        ),
        (["solver=vode_adams"], "vode_adams has one step size for a whole batch"),
        (["solver=rk4"], "rk4 takes fixed steps"),
        (["--baselines"], "torchdiffeq's solvers do not have; drop --baselines"),
    ],
)
def test_what_has_no_steps_of_its_own_is_a_sentence(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text(config_text(compose(["data=digits"]).config))
    assert measure(tmp_path, "--per-sample", *arguments) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert len(printed.splitlines()) == 1


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data=digits", "model=resnet"], "resnet has no ODE to solve"),
        (["task=density", "data=two_circles", "model=cnf"], "cnf is no classifier"),
        (["data=digits", "solver=rk4", "solver.dt=0.25"], "rk4 at fixed steps of 0.25"),
    ],
)
def test_a_run_without_images_that_choose_their_steps_is_a_sentence(
    overrides: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text(config_text(compose(overrides).config))
    assert measure(tmp_path, "--per-sample") == 2
    assert message in capsys.readouterr().err
