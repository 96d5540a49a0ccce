from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nodebench.reporting import UnknownColumnError, find_runs, result_summary, result_table
from nodebench.reporting.circumstances import machine_words
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


class TestOnATerminal:
    def rows(self, write_run: WriteRun) -> None:
        for number, model in enumerate(("odenet", "rknet")):
            config = {**ODENET, "model": {**ODENET["model"], "name": model}}
            write_run(
                f"mnist-{model}-dopri5-1e-3-adjoint-{number:08d}", config=config, error_test=0.5 + number
            )

    @pytest.mark.parametrize("width", [60, 80, 100])
    def test_no_line_is_wider_and_no_word_is_broken(
        self, tmp_path: Path, write_run: WriteRun, width: int
    ) -> None:
        self.rows(write_run)
        whole = result_table(find_runs(tmp_path))
        narrow = result_table(find_runs(tmp_path), width=width)
        assert max(map(len, whole.splitlines())) > 100
        assert max(map(len, narrow.splitlines())) <= width
        assert set(narrow.split()) >= {"odenet", "rknet", "0.50", "1.50"}

    def test_what_every_row_shares_is_said_once_and_what_found_no_room_is_named(
        self, tmp_path: Path, write_run: WriteRun
    ) -> None:
        self.rows(write_run)
        grid, _, below = result_table(find_runs(tmp_path), width=60).partition("\n\n")
        assert "dopri5" not in grid
        said = " ".join(below.split())
        assert (
            "The same in every row: data mnist, solver dopri5, tol 1e-3, gradient adjoint, seeds 1," in said
        )
        narrower = " ".join(
            result_table(find_runs(tmp_path), ["model", "hash", "error_test"], width=20).split()
        )
        assert "Left out, for want of room: error_test" in narrower

    def test_what_fits_is_left_whole(self, tmp_path: Path, write_run: WriteRun) -> None:
        self.rows(write_run)
        runs = find_runs(tmp_path)
        columns = ["model", "data", "error_test", "nfe_forward"]
        assert result_table(runs, columns, width=100) == result_table(runs, columns)

    def test_a_single_row_is_written_downwards(self, tmp_path: Path, write_run: WriteRun) -> None:
        write_run()
        lines = result_table(find_runs(tmp_path), width=80).splitlines()
        assert ["model", "odenet"] in [line.split() for line in lines]
        assert ["nfe_forward", "20.0"] in [line.split() for line in lines]

    def test_the_summary_of_one_run_says_no_word_on_seeds(self, tmp_path: Path, write_run: WriteRun) -> None:
        write_run(error_test=0.5)
        summary = result_summary(find_runs(tmp_path), ["model", "kl", "error_test", "status"])
        assert [line.split() for line in summary.splitlines()[:3]] == [
            ["model", "odenet"],
            ["error_test", "0.50"],
            ["status", "finished"],
        ]
        assert "seed" not in summary


def test_units_are_those_of_the_columns_that_are_there(tmp_path: Path, write_run: WriteRun) -> None:
    write_run("mnist-mlp-11111111")
    table = result_table(find_runs(tmp_path), ["model", "error_test", "memory_saved_mib"])
    assert "Units: errors in percent, memory in MiB.\n" in table
    assert "nats" not in table


HOSTILE = "=cmd|' /C calc'!A0 <script>alert(1)</script> [x](http://x) \x1b[2J\u202e\\input{x}\r\nnext\ud800"


class TestWordsOfOthers:
    """Names, values and reasons of a run folder stay words, whatever they hold."""

    def table(self, tmp_path: Path, write_run: WriteRun, style: str) -> str:
        config = {"data": {"name": HOSTILE.rstrip("\ud800")}, "model": {"name": "=2+5"}}
        write_run(config=config, status="failed", reason=HOSTILE)
        return result_table(find_runs(tmp_path), ["model", "data", "status"], style)

    @pytest.mark.parametrize("style", STYLES)
    def test_nothing_steers_a_terminal_and_no_line_is_added(
        self, tmp_path: Path, write_run: WriteRun, style: str
    ) -> None:
        table = self.table(tmp_path, write_run, style)
        assert not {"\x1b", "\r", "\u202e", "\ud800"} & set(table)
        assert r"\x1b" in table.replace(r"\textbackslash{}", "\\")
        assert not any(line.startswith("next") for line in table.splitlines())

    def test_a_spreadsheet_reads_no_formula(self, tmp_path: Path, write_run: WriteRun) -> None:
        (row,) = csv.DictReader(self.table(tmp_path, write_run, "csv").splitlines())
        assert row["model"] == "'=2+5"
        assert row["data"].startswith("'=cmd|")

    def test_a_number_in_words_stays_a_number(self, tmp_path: Path, write_run: WriteRun) -> None:
        write_run(config={**ODENET, "model": {"name": "odenet", "t1": -1.5}})
        (row,) = csv.DictReader(result_table(find_runs(tmp_path), ["model.t1"], "csv").splitlines())
        assert row["model.t1"] == "-1.5"

    def test_markdown_has_no_html_no_link_and_no_further_cell(
        self, tmp_path: Path, write_run: WriteRun
    ) -> None:
        table = self.table(tmp_path, write_run, "markdown")
        assert "<script" not in table
        assert "](" not in table
        header, _, row, *_ = table.splitlines()
        assert row.count("|") == header.count("|")

    def test_latex_reads_no_command(self, tmp_path: Path, write_run: WriteRun) -> None:
        table = self.table(tmp_path, write_run, "latex")
        assert r"\input" not in table


def test_numbers_beyond_all_floats_are_no_numbers(tmp_path: Path, write_run: WriteRun) -> None:
    write_run(error_test=10**400)
    write_run(seed=1, error_test=0.5)
    (row,) = rows_over_seeds(find_runs(tmp_path))
    assert row.values("error_test") == [0.5]


def test_a_run_evaluated_on_part_of_the_images_is_marked_and_others_are_not(
    tmp_path: Path, write_run: WriteRun
) -> None:
    def notes(**data: int | None) -> str:
        folder = write_run(
            config={"model": {"name": "mlp"}, "data": {"name": "mnist", **data}}, root=tmp_path / str(data)
        )
        (row,) = rows_over_seeds(find_runs(folder))
        return "; ".join(row.notes)

    assert "errors of the first images, so many at most: data.limit_val=50, data.limit_test=100" in notes(
        limit_val=50, limit_test=100
    )
    assert "errors of the first images, so many at most: data.limit_test=100" in notes(
        limit_val=None, limit_test=100
    )
    assert "first images" not in notes(limit_val=None, limit_test=None)
    assert "first images" not in notes()


def test_times_of_runs_that_shared_their_machine_are_marked_where_they_are_shown(
    tmp_path: Path, write_run: WriteRun
) -> None:
    machine = {"version": "0.1.0", "device_name": "a processor", "device": "cpu", "num_threads": 1}
    write_run(environment=machine, time_step_ms=7.0)
    write_run(seed=1, environment={**machine, "jobs": 2}, time_step_ms=9.0)
    write_run("mnist-mlp-11111111", environment={**machine, "jobs": "2"}, time_step_ms=3.0)  # by hand
    runs = find_runs(tmp_path)
    note = "times taken while the machine trained 2 runs at a time"
    assert result_table(runs, ["model", "time_step_ms"]).count(note) == 1
    assert note not in result_table(runs, ["model", "error_test"])
    words = [machine_words(row) for row in rows_over_seeds(runs)]
    assert words == [
        "a processor, 1 thread",
        "a processor, 1 thread; a processor, 1 thread, 2 runs at a time",
    ]


@pytest.mark.parametrize("file", ["summary.json", "config.yaml", "environment.json"])
def test_a_damaged_run_is_a_row_and_the_others_are_whole(
    tmp_path: Path, write_run: WriteRun, file: str
) -> None:
    write_run(error_test=0.5)
    (write_run("mnist-mlp-11111111") / file).write_text("[" * 100_000)
    table = result_table(find_runs(tmp_path), ["model", "error_test", "status"])
    assert ["mlp", "damaged"] in [[line.split()[0], line.split()[-1]] for line in table.splitlines() if line]
    assert "0.50" in table
    assert f"{file} cannot be read" in table


@pytest.mark.parametrize("words", ["[9cm] x", "*x", "=1+1", "\uff1d1+1", "\t@SUM(1)"])
def test_a_first_cell_is_no_argument_of_latex_and_no_formula(
    tmp_path: Path, write_run: WriteRun, words: str
) -> None:
    write_run(config={**ODENET, "model": {**ODENET["model"], "note": words}})
    runs, shown = find_runs(tmp_path), words.strip()
    lines = result_table(runs, ["model.note", "error_test"], "latex").splitlines()
    (line,) = [line for line in lines if line.endswith(r"\\") and "0.50" in line]
    assert not line.lstrip().startswith(("[", "*"))
    (row,) = csv.DictReader(result_table(runs, ["model.note"], "csv").splitlines())
    is_formula = words.lstrip()[0] not in "[*"
    assert row["model.note"].startswith("'") == is_formula
    assert shown in row["model.note"]
