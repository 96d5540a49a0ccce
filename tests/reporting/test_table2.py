"""table2, made from run folders written by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nodebench.reporting import find_runs
from nodebench.reporting.layout import NothingToTabulateError, Table
from nodebench.reporting.named_tables import named_table
from nodebench.reporting.recipes import Recipe, Recipes
from nodebench.reporting.rendering import STYLES, render

Write = Callable[..., Path]
OURS = {"latent_ode": (0.09, 0.08, 0.06), "rnn": (0.86, 0.4, 0.21), "rnn_dt": (0.73, 0.5, 0.27)}


@pytest.fixture
def write_all(series_run: Write) -> Callable[[], None]:
    """Three seeds of every cell, 0.01 apart."""

    def write() -> None:
        for model, values in OURS.items():
            for number, value in zip((30, 50, 100), values, strict=True):
                for seed in range(3):
                    series_run(
                        model, number, seed, rmse=value + 0.01 * (seed - 1), rmse_last=0.94, nll_scalar=1.5
                    )

    return write


def made(root: Path, recipes: Recipes | None = None) -> Table:
    runs = find_runs(root)
    return (
        named_table("table2", runs, root) if recipes is None else named_table("table2", runs, root, recipes)
    )


def cells(table: Table, row: str, measured: str = "RMSE") -> list[str]:
    (line,) = (line for line in table.lines if list(line.cells[:2]) == [row, measured])
    return list(line.cells[2:])


def notes(table: Table, row: str) -> list[str]:
    return list(next(line.notes for line in table.lines if line.cells[0] == row))


def test_models_come_first_then_the_papers_numbers_then_naive_predictors(
    tmp_path: Path, write_all: Callable[[], None]
) -> None:
    write_all()
    table = made(tmp_path)
    assert [line.cells[0] for line in table.lines[:8]] == [
        *("RNN", "RNN with dt", "latent ODE", "RNN (paper)", "latent ODE (paper)"),
        *("0 predicted", "last value held", "radius frozen"),
    ]
    assert [cell.split(" ± ")[0] for cell in cells(table, "latent ODE")] == ["0.090", "0.080", "0.060"]
    assert all("±" in cell for cell in cells(table, "RNN"))
    assert cells(table, "RNN (paper)") == ["0.3937", "0.3202", "0.1813"]
    assert cells(table, "radius frozen") == ["0.220"] * 3
    assert cells(table, "last value held") == ["0.940"] * 3
    first = table.data.iloc[0]
    assert (first["row"], first["measured"], first["at_30_seeds"]) == ("rnn", "rmse", 3)
    assert first["at_30"] == pytest.approx(0.86)
    assert table.data.iloc[4]["at_100"] == 0.1346


def test_what_else_was_measured_stands_below_for_the_models_that_have_it(
    tmp_path: Path, series_run: Write
) -> None:
    series_run("latent_ode", 30, kl_z0=9.5, radius_ratio=0.53)
    series_run("rnn", 30, radius_ratio=0.97)
    table = made(tmp_path)
    told = [(line.cells[0], line.cells[1]) for line in table.lines]
    assert ("latent ODE", "KL (nats)") in told
    assert ("RNN", "KL (nats)") not in told
    assert float(cells(table, "RNN", "radius ratio")[0]) == 0.97


def test_it_says_whether_the_latent_ode_is_below_and_what_each_gains(
    tmp_path: Path, write_all: Callable[[], None], series_run: Write
) -> None:
    write_all()
    text = " ".join(made(tmp_path).legend)
    assert "Latent ODE below RNN by RMSE? 30: yes; 50: yes; 100: yes." in text
    assert "RNN 4.10, paper 2.17" in text
    assert "latent ODE 1.50, paper 1.22" in text
    for seed, rmse in enumerate((0.02, 0.5, 0.3), start=3):
        series_run("rnn", 100, seed, rmse=rmse)
    assert "100: undecided, the intervals overlap." in " ".join(made(tmp_path).legend)


def test_a_seed_that_diverged_is_counted_out_said_and_in_the_row_of_seeds(
    tmp_path: Path, series_run: Write
) -> None:
    for seed in range(2):
        series_run("latent_ode", 30, seed, rmse=0.1)
    series_run("latent_ode", 30, 2, status="diverged", reason="loss is NaN at step 12", rmse=None)
    series_run("rnn", 30, status="diverged", reason="loss is NaN at step 3")
    table = made(tmp_path)
    assert cells(table, "latent ODE")[0] == "0.100 ± 0.000"
    assert [cells(table, "latent ODE", f"RMSE, seed {seed}")[0] for seed in range(3)] == [
        *("0.100", "0.100", "diverged")
    ]
    assert cells(table, "latent ODE", "RMSE, seed 2")[1] == ""
    assert any("seed2 is diverged: loss is NaN at step 12" in note for note in notes(table, "latent ODE"))
    assert cells(table, "RNN")[0] == "diverged"
    assert any("loss is NaN at step 3" in note for note in notes(table, "RNN"))


def test_a_missing_cell_names_its_command_and_a_missing_model_one_for_all(
    tmp_path: Path, series_run: Write
) -> None:
    series_run("latent_ode", 30)
    table = made(tmp_path)
    assert (
        "missing: latent ODE at 50 of 100 points: nodebench train experiment=table2_latent_ode data.num_observed=50"
        in notes(table, "latent ODE")
    )
    assert "fewer than 3 seeds at 30" in notes(table, "latent ODE")
    assert notes(table, "RNN with dt") == ["no run: nodebench train -m experiment=table2_rnn_dt"]


def test_the_recipe_of_the_table_comes_first_and_another_is_said(tmp_path: Path, series_run: Write) -> None:
    asked = series_run("latent_ode", 30, hash8="bbbbbbbb", rmse=0.4).parent.name
    for seed in range(2):
        series_run("latent_ode", 30, seed, hash8="aaaaaaaa", rmse=0.1)
    series_run("latent_ode", 50, hash8="cccccccc", config={"training": {"num_steps": 30}})
    at_50 = Recipe("spirals-latent_ode-dddddddd", {"model.name": "latent_ode", "training.num_steps": 2000})
    recipes = Recipes("table2", (Recipe(asked, {}), at_50))
    table = made(tmp_path, recipes)
    assert cells(table, "latent ODE")[0] == "0.400"
    said = " ".join(notes(table, "latent ODE"))
    assert "shown is bbbbbbbb (2,000 steps), left out: aaaaaaaa (2,000 steps)" in said
    assert "not the recipe of table2" in said
    assert "training.num_steps=30 (2000)" in said


def test_what_a_model_is_made_of_and_versions_that_differ_are_notes(
    tmp_path: Path, series_run: Write
) -> None:
    for number in (30, 50, 100):
        series_run("rnn", number, config={"model": {"cell": "gru", "clock": "mean_gap"}})
    folder = series_run("latent_ode", 30)
    (folder / "environment.json").write_text('{"version": "9.9.9"}')
    table = made(tmp_path)
    assert "with model.cell=gru, model.clock=mean_gap" in notes(table, "RNN")
    assert "made by nodebench 0.1.0" in notes(table, "RNN")
    assert "made by nodebench 9.9.9 at 30" in notes(table, "latent ODE")


def test_naive_predictors_of_different_test_sets_are_told_apart(tmp_path: Path, series_run: Write) -> None:
    series_run("rnn", 30, rmse_zero=0.57)
    series_run("latent_ode", 30, rmse_zero=0.4)
    assert notes(made(tmp_path), "0 predicted") == [
        "the runs at 30 are not of one test set: 0.5700 by RNN, 0.4000 by latent ODE"
    ]


def test_other_data_have_lines_of_their_own_without_the_papers_numbers(
    tmp_path: Path, series_run: Write
) -> None:
    series_run("rnn", 30, data="spirals_example", rmse=1.5)
    table = made(tmp_path)
    names = [line.cells[0] for line in table.lines]
    assert names[:3] == ["RNN", "RNN with dt", "latent ODE"]
    assert cells(table, "RNN on spirals_example")[0] == "1.500"
    assert "latent ODE on spirals_example" not in names
    assert sum("(paper)" in name for name in names) == 2
    (missing, *_) = [note for note in notes(table, "RNN on spirals_example") if "missing" in note]
    assert missing.endswith("experiment=table2_rnn data=spirals_example data.num_observed=50")


def test_runs_of_something_else_are_no_cell(tmp_path: Path, series_run: Write, write_run: Write) -> None:
    write_run()
    series_run("latent_ode", 40)
    series_run("latent_ode", 30, hash8="eeeeeeee", config={"about": {"reproduces": "nothing in the paper"}})
    with pytest.raises(NothingToTabulateError, match="nodebench reproduce table2"):
        made(tmp_path)


def test_a_terminal_of_80_characters_shows_all_columns(tmp_path: Path, write_all: Callable[[], None]) -> None:
    write_all()
    assert "for want of room" not in render(made(tmp_path), "terminal", 80)


@pytest.mark.parametrize("style", STYLES)
def test_it_is_written_in_every_style(tmp_path: Path, write_all: Callable[[], None], style: str) -> None:
    write_all()
    text = render(made(tmp_path), style)
    assert "0.1346" in text
    if style != "csv":
        assert "0.090 ± 0.025" in text.replace("$\\pm$", "±")
        assert "Deviations from the paper" in text


@pytest.mark.parametrize("data", [{"omega": 0}, {"omega": 1e-300}, {"rho": -1e9}])
def test_spirals_that_cannot_be_have_a_table_without_their_radius(
    tmp_path: Path, series_run: Write, data: dict[str, float]
) -> None:
    series_run(config={"data": {"rho": 0.1, "omega": 1.0, "horizon": 100, **data}})
    legend = named_table("table2", find_runs(tmp_path), tmp_path).legend
    assert not [sentence for sentence in legend if sentence.startswith("True radius")]
