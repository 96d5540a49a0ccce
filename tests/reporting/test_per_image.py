"""The figure and the table of what each image needs, from records written by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nodebench.records.per_image import FILE, ImageRow, append_rows, write_notes
from nodebench.reporting import find_runs
from nodebench.reporting.figures import Drawing, draw
from nodebench.reporting.measures import NotMeasuredError
from nodebench.reporting.named_tables import named_table

Write = Callable[..., Path]
COUNTS = {1e-3: (26, 26), 1e-5: (50, 62)}  # of even and odd images


def write_images(run: Path, num_images: int = 12) -> None:
    """Classes 0 and 1 in turn; a batch takes 26 or 56; image 5 is wrong; the first eight have errors."""
    for tol, counts in COUNTS.items():
        rows = [
            ImageRow(
                tol, i, i % 2, i != 5, counts[i % 2], counts[i % 2] // 6, 0, None, 26 if tol == 1e-3 else 56
            )
            for i in range(num_images)
        ]
        rows = [
            row._replace(error=2e-4 if row.label else 1e-4, error_shared=1.5e-4) if row.image < 8 else row
            for row in rows
        ]
        append_rows(run, rows)
    write_notes(run, {"made_with": {"step": 9, "solver": {"method": "dopri5"}}, "git_commits": [None]})


def drawn(tmp_path: Path) -> Drawing:
    return draw("per_image", find_runs(tmp_path))


def test_bars_are_the_shares_of_a_class_and_stand_at_their_counts(tmp_path: Path, write_run: Write) -> None:
    write_images(write_run())
    drawing = drawn(tmp_path)
    assert drawing.notes == []
    loose, loose_errors, tight, tight_errors = drawing.figure.axes
    assert [label.get_text() for label in tight.get_yticklabels()] == ["0", "1", "all", "right", "wrong"]
    bars = {
        (round(bar.get_x() + bar.get_width() / 2), round(abs(bar.get_height()) / 0.84, 3))
        for bar in tight.patches
    }
    assert bars == {(50, 1.0), (62, 1.0), (50, 0.5), (62, 0.5), (50, 0.545), (62, 0.455)}
    assert {round(bar.get_x() + bar.get_width() / 2) for bar in loose.patches} == {26}
    span = [axes.get_xlim()[1] - axes.get_xlim()[0] for axes in (loose, tight)]
    assert span[0] == pytest.approx(span[1])
    for axes in (loose_errors, tight_errors):
        assert any("50 % of 8 images" in text.get_text() for text in axes.texts)


def test_the_numbers_of_the_figure_say_who_needs_more_than_the_batch(
    tmp_path: Path, write_run: Write
) -> None:
    write_images(write_run())
    data = drawn(tmp_path).data.set_index(["tol", "class", "nfe"])
    assert data.loc[(1e-5, "all", 50), ["needed_by", "fewer", "same", "more"]].tolist() == [6, 6, 0, 0]
    assert data.loc[(1e-5, "wrong", 62), ["needed_by", "fewer", "same", "more"]].tolist() == [1, 0, 0, 1]
    assert data.loc[(1e-3, "all", 26), ["needed_by", "fewer", "same", "more"]].tolist() == [12, 0, 12, 0]


def test_the_table_has_a_mean_a_class_and_says_the_rest_in_words(tmp_path: Path, write_run: Write) -> None:
    run = write_run()
    write_images(run)
    table = named_table("per_image", find_runs(tmp_path), tmp_path)
    assert [list(line.cells) for line in table.lines] == [
        ["0", "6", "26.0", "50.0"],
        ["1", "6", "26.0", "62.0"],
        ["all", "12", "26.0", "56.0"],
        ["wrong", "1", "26.0", "62.0"],
        ["shared", "", "26.0", "56.0"],
    ]
    tight = next(sentence for sentence in table.legend if sentence.startswith("At 1e-5"))
    assert "50.0 % of 12 images need fewer evaluations than their batch takes, 50.0 % more" in tight
    assert "the test error is 8.33 %" in tight
    assert "of 8 images the median error is 1.5e-04 by own steps and 1.5e-04 by shared ones" in tight


def test_failed_solves_are_left_out_and_told_and_so_are_other_weights(
    tmp_path: Path, write_run: Write
) -> None:
    run = write_run(step=10)
    write_images(run)
    append_rows(run, [ImageRow(1e-5, 12, 0)])
    drawing = drawn(tmp_path)
    assert f"{run / FILE} is of weights of step 9, and the run's last are of step 10" in drawing.notes
    assert "1 of 25 solves failed and are left out" in drawing.notes
    assert drawing.data["needed_by"].max() == 12


def test_without_images_the_command_that_measures_them_is_said(tmp_path: Path, write_run: Write) -> None:
    run = write_run()
    (run / "checkpoints" / "step-1.pt").touch()
    with pytest.raises(NotMeasuredError, match=f"not measured yet: `nodebench measure {run} --per-sample`"):
        drawn(tmp_path)
    (run / FILE).write_text("tol\n1\n")
    with pytest.raises(
        NotMeasuredError, match="line 1 does not name its columns; move it away and measure again"
    ):
        drawn(tmp_path)


def test_the_run_with_the_most_images_is_drawn(tmp_path: Path, write_run: Write) -> None:
    few, many = write_run(seed=0), write_run(seed=1)
    write_images(few, 4)
    write_images(many)
    drawing = drawn(tmp_path)
    assert f"several runs are measured: shown is {many}, left out: {few}" in drawing.notes


def test_errors_within_one_decade_have_two_to_five_numbers_at_their_axes(
    tmp_path: Path, write_run: Write
) -> None:
    errors = (2.6e-4, 4e-4, 8.4e-4)
    rows = [ImageRow(1e-3, i, 0, True, 26, 4, 0, error, 26, error) for i, error in enumerate(errors)]
    append_rows(write_run(), rows)
    *_, axes = drawn(tmp_path).figure.axes
    assert 2 <= sum(errors[0] <= tick <= errors[-1] for tick in axes.get_xticks()) <= 5
