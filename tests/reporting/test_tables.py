from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nodebench.reporting import UnknownColumnError, find_runs, result_table
from nodebench.reporting.rendering import STYLES
from nodebench.reporting.rows import interval95, rows_over_seeds

WriteRun = Callable[..., Path]
ODENET = {
    "data": {"name": "mnist"},
    "model": {"name": "odenet", "stem": "conv", "gradient": "adjoint"},
    "solver": {"method": "dopri5", "tol": 0.001},
}

GOLDEN_MARKDOWN = Path(__file__).with_name("golden_table.md")


def write_three_experiments(write_run: WriteRun) -> None:
    """An ODE-Net with three seeds, an MLP with one, and an RK-Net that diverged."""
    for seed, error in enumerate((0.42, 0.48, 0.51)):
        write_run(seed=seed, error_test=error, nfe_forward=20.0 + seed)
    no_ode = dict.fromkeys(("nfe_forward", "nfe_backward", "recon_error", "recon_ok"))
    write_run("mnist-mlp-11111111", error_test=1.6, num_params=238510, **no_ode)
    rknet = "mnist-rknet-dopri5-1e-3-direct-22222222"
    config = {
        "data": {"name": "mnist"},
        "model": {"name": "rknet", "gradient": "direct"},
        "solver": {"method": "dopri5", "tol": "1e-3"},
    }
    nothing = dict.fromkeys(("error_test", "num_params", "nfe_forward"))
    write_run(rknet, config=config, status="diverged", reason="loss is NaN at step 12", **nothing)


def test_the_markdown_table_is_the_golden_one(tmp_path: Path, write_run: WriteRun) -> None:
    write_three_experiments(write_run)
    assert result_table(find_runs(tmp_path), style="markdown") == GOLDEN_MARKDOWN.read_text().rstrip("\n")


@pytest.mark.parametrize("style", STYLES)
def test_every_style_shows_every_experiment_and_every_note(
    tmp_path: Path, write_run: WriteRun, style: str
) -> None:
    write_three_experiments(write_run)
    table = result_table(find_runs(tmp_path), style=style)
    for words in ("odenet", "mlp", "rknet", "fewer than 3 seeds", "loss is NaN at step 12"):
        assert words in table


def test_latex_escapes_what_latex_would_read(tmp_path: Path, write_run: WriteRun) -> None:
    write_run(status="failed", reason="50% of a_b & c")
    table = result_table(find_runs(tmp_path), ["model", "error_test"], style="latex")
    assert r"error\_test" in table
    assert r"50\% of a\_b \& c" in table


def test_csv_holds_plain_numbers_and_the_interval_in_its_own_column(
    tmp_path: Path, write_run: WriteRun
) -> None:
    for seed, error in enumerate((0.4, 0.5, 0.6)):
        write_run(seed=seed, error_test=error)
    (row,) = csv.DictReader(result_table(find_runs(tmp_path), style="csv").splitlines())
    assert float(row["error_test"]) == pytest.approx(0.5)
    assert float(row["error_test_interval"]) == pytest.approx(4.302652729749 * 0.1 / math.sqrt(3))
    assert (row["num_params"], row["recon_ok"], row["notes"]) == ("208266.0", "yes", "")


def test_the_interval_is_students_and_there_is_none_for_one_value() -> None:
    assert interval95([0.5]) is None
    # t_{0.975, 1} = 12.7062; the deviation of {0, 2} is sqrt(2), so half the interval is t itself.
    assert interval95([0.0, 2.0]) == pytest.approx(12.706204736432095)


def test_a_failed_seed_is_named_and_not_counted(tmp_path: Path, write_run: WriteRun) -> None:
    write_run(seed=0, error_test=0.4)
    write_run(seed=1, error_test=90.0, status="interrupted", reason="SIGTERM")
    (row,) = rows_over_seeds(find_runs(tmp_path))
    assert row.text("error_test") == "0.40"
    assert row.text("seeds") == "1"
    assert row.text("status") == "1 finished, 1 interrupted"
    assert any("seed1 is interrupted: SIGTERM" in note for note in row.notes)


def test_a_seed_that_lies_in_two_places_is_marked_and_counted_once(
    tmp_path: Path, write_run: WriteRun
) -> None:
    write_run(seed=0, error_test=0.4)
    write_run(seed=0, error_test=0.4, root=tmp_path / "outputs" / "copy")
    (row,) = rows_over_seeds(find_runs(tmp_path))
    assert row.text("seeds") == "1"
    assert any(note.startswith("seed 0 is counted once") for note in row.notes)


def test_rows_of_different_versions_say_so(tmp_path: Path, write_run: WriteRun) -> None:
    write_run(environment={"version": "0.1.0"})
    write_run("mnist-mlp-11111111", environment={"version": "0.2.0"})
    mlp, odenet = rows_over_seeds(find_runs(tmp_path))
    assert "made by nodebench 0.2.0" in mlp.notes
    assert "made by nodebench 0.1.0" in odenet.notes


def test_a_solve_that_fails_the_reconstruction_check_is_marked(tmp_path: Path, write_run: WriteRun) -> None:
    write_run(seed=0)
    write_run(seed=1, recon_ok=False, recon_error=0.2)
    (row,) = rows_over_seeds(find_runs(tmp_path))
    assert row.text("recon_ok") == "no"
    assert any("reconstruction check" in note for note in row.notes)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"data": {"name": "fashion_mnist"}}, "by its config: data"),
        ({"model": {"name": "odenet", "stem": "res", "gradient": "adjoint"}}, "by its config: model.stem"),
        ({"solver": {"method": "dopri5", "tol": 0.1}}, "by its config: tol"),
    ],
)
def test_a_run_of_another_experiment_in_the_folder_is_named_and_not_counted(
    tmp_path: Path, write_run: WriteRun, changes: dict[str, Any], told: str
) -> None:
    write_run(seed=0, error_test=0.4)
    write_run(seed=1, error_test=9.9, config={**ODENET, **changes})
    write_run(seed=2, error_test=0.6)
    (row,) = rows_over_seeds(find_runs(tmp_path))
    assert row.values("error_test") == [0.4, 0.6]
    assert any("seed1 is of another experiment than seed0" in note and told in note for note in row.notes)


def test_rows_that_would_look_alike_show_their_hash(tmp_path: Path, write_run: WriteRun) -> None:
    write_run()
    assert "0a1b2c3d" not in result_table(find_runs(tmp_path))
    write_run("mnist-odenet-dopri5-1e-3-adjoint-33333333")
    table = result_table(find_runs(tmp_path))
    assert "0a1b2c3d" in table
    assert "33333333" in table


def test_a_key_of_the_config_is_a_column_too(tmp_path: Path, write_run: WriteRun) -> None:
    write_run()
    table = result_table(find_runs(tmp_path), ["model", "training.epochs"])
    assert table.splitlines()[2].split()[-1] == "8"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("eror_test", "error_test"), ("training.epoch", "training.epochs"), ("nfe", "nfe_eval")],
)
def test_an_unknown_column_is_refused_with_the_nearest_name(
    tmp_path: Path, write_run: WriteRun, typed: str, meant: str
) -> None:
    write_run()
    with pytest.raises(UnknownColumnError, match=f"`{typed}`; the nearest is `{meant}`"):
        result_table(find_runs(tmp_path), ["model", typed])


@pytest.mark.parametrize(
    ("solver", "tol"),
    [
        ({"tol": 0.001}, "1e-3"),
        ({"tol": 0.001, "rtol": 0.00025, "atol": 1e-6}, "2.5e-4/1e-6"),
        ({"tol": 0.001, "dt": 0.1}, "dt=0.1"),
    ],
)
def test_the_tolerance_is_shown_as_the_solve_used_it(
    tmp_path: Path, write_run: WriteRun, solver: dict[str, float], tol: str
) -> None:
    config = {
        "model": {"name": "odenet"},
        "data": {"name": "mnist"},
        "solver": {"method": "dopri5", **solver},
    }
    write_run(config=config)
    (row,) = rows_over_seeds(find_runs(tmp_path))
    assert row.text("tol") == tol
