"""`nodebench compare`: what differs between runs, with intervals where there are seeds."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from nodebench.cli import main
from nodebench.reporting.rows import difference95

ODENET, RKNET = ("experiment=table1_odenet",), ("experiment=table1_rknet",)


@pytest.fixture
def compared(capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """compared(path, ...) is what the command prints, line by line."""

    def compare(*arguments: str | Path) -> list[str]:
        capsys.readouterr()
        assert main(["compare", *map(str, arguments)]) == 0
        return capsys.readouterr().out.splitlines()

    return compare


def cells(lines: list[str], first: str) -> list[str]:
    """What stands behind a line's first words, where the line is there."""
    return next((line.removeprefix(first).split() for line in lines if line.startswith(f"{first} ")), [])


def test_settings_and_results_that_differ_are_lines_and_the_others_a_sentence(
    leave_run: Callable[..., Path], compared: Callable[..., list[str]]
) -> None:
    one = leave_run(*ODENET, error_test=0.5, num_params=208266, nfe_backward=20.0)
    other = leave_run(*RKNET, error_test=0.25, num_params=208266, nfe_backward=0.0)
    lines = compared(one, other)
    assert lines[:2] == [f"A  {one}", f"B  {other}"]
    assert cells(lines, "model.name") == ["odenet", "rknet"]
    assert cells(lines, "model.gradient") == ["adjoint", "direct"]
    assert cells(lines, "error_test") == ["0.50", "0.25", "-0.25"]
    assert cells(lines, "nfe_backward") == ["20.0", "0.0", "-20.0"]
    assert lines[-1] == "The same in all: num_params 208,266."
    assert not any("_target_" in line or "about" in line or "±" in line for line in lines)


def test_all_seeds_of_a_run_have_an_interval_and_so_has_the_difference(
    leave_run: Callable[..., Path], compared: Callable[..., list[str]]
) -> None:
    for seed, error in enumerate((0.4, 0.5, 0.6)):
        one = leave_run(*ODENET, f"seed={seed}", error_test=error)
        other = leave_run(*RKNET, f"seed={seed}", error_test=2 * error)
    lines = compared(one.parent, other.parent)
    assert lines[0] == f"A  {one.parent}, 3 seeds"
    assert cells(lines, "error_test") == ["0.50", "±", "0.25", "1.00", "±", "0.50", "+0.50", "±", "0.42"]
    single = compared(one, other.parent)
    assert cells(single, "seeds") == ["2", "0,", "1,", "2"]
    assert cells(single, "error_test") == ["0.60", "1.00", "±", "0.50", "+0.40"]


def test_the_interval_of_a_difference_is_welchs() -> None:
    ours, theirs = [1.0, 2.0, 4.0], [2.0, 2.5, 7.0, 9.0]
    interval = stats.ttest_ind(theirs, ours, equal_var=False).confidence_interval()
    half_width = difference95(ours, theirs)
    assert half_width == pytest.approx((interval.high - interval.low) / 2)
    assert np.mean(theirs) - np.mean(ours) - half_width == pytest.approx(interval.low)
    assert difference95([1.0, 1.0], [2.0, 2.0]) == 0.0
    assert difference95([1.0], theirs) is None


def test_a_net_without_an_ode_is_not_told_of_all_that_a_solver_has(
    leave_run: Callable[..., Path], compared: Callable[..., list[str]]
) -> None:
    lines = compared(leave_run(*ODENET), leave_run("experiment=table1_mlp"))
    assert cells(lines, "solver.method") == ["dopri5"]
    assert cells(lines, "solver.tol") == ["0.001"]
    assert not any(line.startswith(("solver.max", "solver.adjoint")) for line in lines)


def test_an_unfinished_run_is_a_column_without_results(
    leave_run: Callable[..., Path], compared: Callable[..., list[str]]
) -> None:
    lines = compared(leave_run(*ODENET, error_test=0.5), leave_run(*RKNET, status=None))
    assert cells(lines, "status") == ["finished", "unfinished"]
    assert cells(lines, "error_test") == ["0.50"]
    assert any(line.startswith("B: not counted: ") for line in lines)


def test_a_run_beside_itself_has_no_differences(
    leave_run: Callable[..., Path], compared: Callable[..., list[str]]
) -> None:
    run = leave_run(*ODENET, error_test=0.5)
    assert "Nothing differs." in compared(run, run)


def test_more_than_two_runs_have_no_difference_and_fit_a_terminal(
    leave_run: Callable[..., Path], compared: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [leave_run(*ODENET, f"solver.tol={tol}", error_test=tol) for tol in (0.1, 0.01, 0.001)]
    monkeypatch.setattr("nodebench.commands.compare.terminal_width", lambda _: 80)
    lines = compared(*runs)
    assert cells(lines, "solver.tol") == ["0.1", "0.01", "0.001"]
    assert not any("B - A" in line for line in lines)
    assert max(map(len, lines[3:])) <= 80


def test_formats_are_those_of_the_table(
    leave_run: Callable[..., Path], compared: Callable[..., list[str]]
) -> None:
    one = leave_run(*ODENET, error_test=1 / 3)
    other = leave_run(*RKNET, error_test=0.25)
    markdown = compared(one, other, "--format", "markdown")
    assert markdown[0].startswith("|  ")
    assert f"A  {one}\\" in markdown
    lines = {line["what"]: line for line in csv.DictReader(compared(one, other, "--format", "csv"))}
    assert lines["model.name"]["B"] == "rknet"
    assert float(lines["error_test"]["A"]) == 1 / 3
    assert compared(one, other, "--format", "latex")[0].startswith(r"\begin{tabular}")


def test_names_and_values_of_others_are_words(
    leave_run: Callable[..., Path], compared: Callable[..., list[str]]
) -> None:
    one, other = leave_run(*ODENET), leave_run(*RKNET)
    text = (other / "config.yaml").read_text().replace("name: rknet", 'name: "<b>\\e[2J|"')
    (other / "config.yaml").write_text(text)
    assert cells(compared(one, other), "model.name") == ["odenet", r"<b>\x1b[2J|"]
    (markdown,) = (line for line in compared(one, other, "--format", "markdown") if "model.name" in line)
    assert "&lt;b>" in markdown
    assert "&#124;" in markdown


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["{run}"], "compare takes two runs or more; `nodebench show RUN` shows one"),
        (["{run}", "{run}x"], "there is no folder `{run}x`. Did you mean `{run}`?"),
        (["{run}", "outputs"], "`outputs` holds 2 experiments; name one of them"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(
    leave_run: Callable[..., Path], given: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = leave_run(*ODENET)
    leave_run(*RKNET)
    assert main(["compare", *(each.format(run=run) for each in given)]) == 2
    printed = capsys.readouterr().err
    assert message.format(run=run) in printed
    assert printed.count("\n") == 1


def test_runs_that_lie_anywhere_are_compared(
    leave_run: Callable[..., Path], compared: Callable[..., list[str]]
) -> None:
    shutil.move(leave_run(*ODENET, error_test=0.5), "elsewhere")
    lines = compared("elsewhere", leave_run(*RKNET, error_test=0.25))
    assert cells(lines, "error_test") == ["0.50", "0.25", "-0.25"]
