from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nodebench.cli import main
from nodebench.config.compose import compose
from nodebench.config.identity import run_folder
from nodebench.config.saved import config_text


def write_run(root: Path, data: str, units: int) -> None:
    parts = {"data": {"name": data}, "model": {"name": "cnf", "width": units}}
    config = {"seed": 0, **parts, **{key: {} for key in ("task", "training", "optimizer")}}
    write_config(root / "density" / f"{data}-cnf-0a1b2c3d" / "seed0", json.dumps(config))


def write_config(folder: Path, config: str) -> None:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(config)
    summary = {"status": "finished", "kl": 0.25, "kl_stderr": 0.01, "nll": 1.5}
    (folder / "summary.json").write_text(json.dumps(summary))
    square = np.ones((2, 4, 4))
    np.savez_compressed(
        folder / "pictures.npz",
        **{"window": 4.0, "fractions": [0.5, 1.0], "target": square[0]},
        **{"density": square, "samples": square},
    )


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder with one run of each figure."""
    write_run(tmp_path / "runs", "u3", 8)
    write_run(tmp_path / "runs", "two_moons", 64)
    return tmp_path / "runs"


def test_png_pdf_and_csv_are_written_beside_the_runs_and_printed(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plot", "fig4", "--runs", str(runs)]) == 0
    *missing, png, pdf, table = capsys.readouterr().out.splitlines()
    assert len([line for line in missing if line.startswith("missing: ")]) == 29
    assert len([line for line in missing if line.startswith("not the recipe of fig4")]) == 1
    written = [runs / "figures" / f"fig4.{ending}" for ending in ("png", "pdf", "csv")]
    assert [png, pdf, table] == [f"wrote {path}" for path in written]
    assert written[0].read_bytes().startswith(b"\x89PNG")
    assert written[1].read_bytes().startswith(b"%PDF")
    lines = list(csv.DictReader(written[2].read_text().splitlines()))
    (line,) = (line for line in lines if line["kl"])
    assert (line["data"], line["model"], line["units"], line["kl"]) == ("u3", "cnf", "8", "0.25")
    assert sorted((runs / "figures").iterdir()) == sorted(written)


def test_fig5_is_animated_into_the_folder_asked_for(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "place"
    assert main(["plot", "fig5", "--runs", str(runs), "--out", str(out), "--animate"]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["fig5.csv", "fig5.gif", "fig5.pdf", "fig5.png"]
    assert (out / "fig5.gif").read_bytes().startswith(b"GIF89a")
    assert not (runs / "figures").exists()


def test_a_figure_that_does_not_move_is_not_animated_and_nothing_is_written(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plot", "fig4", "--runs", str(runs), "--animate"]) == 2
    assert "only fig5 has frames" in capsys.readouterr().err
    assert not (runs / "figures").exists()


@pytest.mark.parametrize(("typed", "meant"), [("fig55", "`fig5`"), ("figure4", "`fig4`")])
def test_an_unknown_figure_exits_2_with_the_nearest_name(
    typed: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plot", typed]) == 2
    message = capsys.readouterr().err
    assert f"unknown figure `{typed}`" in message
    assert meant in message


def test_where_a_figure_goes_is_looked_at_before_it_is_drawn(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("nodebench.commands.plot.draw", lambda *_: pytest.fail("a figure is drawn"))
    in_the_way = runs / "figures"
    in_the_way.write_text("a file")
    for out, options in ((in_the_way, []), (in_the_way / "new", ["--out", in_the_way / "new"])):
        assert main(["plot", "fig5", "--runs", str(runs), *map(str, options)]) == 2
        message = f"cannot write to `{out}`: Not a directory; choose another place with --out"
        assert message in capsys.readouterr().err


def test_without_runs_the_folder_and_the_command_that_makes_one_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plot", "fig5", "--runs", str(tmp_path / "none")]) == 2
    message = capsys.readouterr().err
    assert str(tmp_path / "none") in message
    assert "nodebench train -m experiment=fig5_cnf" in message


def test_a_figure_of_measured_runs_names_the_command_that_measures(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plot", "fig3", "--runs", str(runs)]) == 2
    message = capsys.readouterr().err
    assert f"no runs of fig3 under `{runs}`" in message
    assert "`nodebench measure RUN`" in message
    assert not (runs / "figures").exists()


def test_runs_of_other_figures_only_are_no_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path, "u3", 8)
    assert main(["plot", "fig5", "--runs", str(tmp_path)]) == 2
    assert f"no runs of fig5 under `{tmp_path}`" in capsys.readouterr().err
    assert not (tmp_path / "figures").exists()


def test_a_file_in_the_way_is_named(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (runs / "figures").write_text("in the way")
    assert main(["plot", "fig4", "--runs", str(runs)]) == 2
    assert str(runs / "figures") in capsys.readouterr().err


def train_by_hand(root: Path, *overrides: str) -> None:
    """The folder of a finished run, as the command with these overrides leaves it."""
    config = compose([*overrides, f"output_dir={root}"]).config
    write_config(run_folder(config), config_text(config))


def test_another_recipe_than_the_figures_is_said_in_notes_and_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_by_hand(tmp_path, "experiment=fig5_cnf", "training.num_steps=30", "compile=true")
    assert main(["plot", "fig5", "--runs", str(tmp_path)]) == 0
    note, *_ = capsys.readouterr().out.splitlines()
    assert note.startswith("not the recipe of fig5")
    assert "training.num_steps=30 (3000)" in note
    assert "compile=true (false)" in note
    with Image.open(tmp_path / "figures" / "fig5.png") as with_footnote:
        height = with_footnote.height

    train_by_hand(tmp_path, "experiment=fig5_cnf", "seed=3")
    assert main(["plot", "fig5", "--runs", str(tmp_path)]) == 0
    notes = capsys.readouterr().out
    assert "not the recipe" not in notes
    assert "(3,000 steps), left out: " in notes
    with Image.open(tmp_path / "figures" / "fig5.png") as figure:
        assert figure.height < height


def test_drawing_imports_neither_torch_nor_pyplot(runs: Path) -> None:
    code = (
        f"import sys; from nodebench.cli import main; main(['plot', 'fig4', '--runs', {str(runs)!r}]); "
        "print(sorted({'torch', 'matplotlib.pyplot'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_curves_are_drawn_as_their_options_say(
    leave_run: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    leave_run(
        "model=mlp", epochs=[{"loss_train": 2.0, "error_val": 9.0}, {"loss_train": 1.0, "error_val": 3.0}]
    )
    command = ["plot", "curves", "--columns", "loss_train", "--x", "step", "--group", "model.name,seed"]
    assert main(command) == 0
    lines = list(csv.DictReader(Path("outputs/figures/curves.csv").read_text().splitlines()))
    assert [(line["curve"], line["x"], line["mean"]) for line in lines] == [
        ("model=mlp, seed=0", "100", "2.0"),
        ("model=mlp, seed=0", "200", "1.0"),
    ]
    capsys.readouterr()
    assert main(["plot", "curves", "--columns", "los_train"]) == 2
    assert "no run has a column `los_train`; the nearest is `loss_train`" in capsys.readouterr().err
    assert main(["plot", "fig4", "--x", "step", "--group", "seed"]) == 2
    assert "--x, --group goes with curves alone" in capsys.readouterr().err
