"""The figures of time series, drawn from small run folders written by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from nodebench.reporting import find_runs
from nodebench.reporting.figures import Drawing, NothingToDrawError, draw
from nodebench.reporting.figures.drawing.series import DIRECTION_COLOURS, EXTRAPOLATION, PREDICTION, TRUTH
from nodebench.reporting.pictures import DamagedPicturesError
from nodebench.reporting.series_pictures import (
    CLOCKWISE,
    COUNTER_CLOCKWISE,
    LatentPictures,
    read_latent_pictures,
    read_series_pictures,
)

Write = Callable[..., Path]


def drawn(name: str, root: Path) -> Drawing:
    return draw(name, find_runs(root))


def lines(axes: Axes, colour: str) -> list[np.ndarray]:
    return [np.asarray(line.get_xydata()) for line in axes.lines if line.get_color() == colour]


def series_panels(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if lines(axes, TRUTH["color"])]


def words(figure: Figure) -> str:
    inside = [text.get_text() for axes in figure.axes for text in axes.texts]
    return "\n".join([*inside, *(text.get_text() for text in figure.texts)])


class TestFig8:
    @pytest.fixture(autouse=True)
    def written(self, series_run: Write) -> None:
        series_run("rnn", 30, radius_ratio=0.97, turns_right=0.7)
        for seed in range(2):
            series_run("latent_ode", 30, seed, radius_ratio=0.55, turns_right=0.99, probe_accuracy=0.998)

    def test_each_model_has_a_series_of_either_direction_and_the_same(self, tmp_path: Path) -> None:
        drawing = drawn("fig8", tmp_path)
        assert drawing.notes == []
        rnn_1, rnn_2, latent_1, latent_2 = (
            lines(axes, TRUTH["color"])[0] for axes in series_panels(drawing.figure)
        )
        np.testing.assert_array_equal(rnn_1, latent_1)
        np.testing.assert_array_equal(rnn_2, latent_2)
        assert [turning(path) for path in (rnn_1, rnn_2)] == [CLOCKWISE, COUNTER_CLOCKWISE]

    def test_the_extrapolation_begins_where_the_prediction_ends(self, tmp_path: Path) -> None:
        for axes in series_panels(drawn("fig8", tmp_path).figure):
            (inside,), (beyond,) = lines(axes, PREDICTION["color"]), lines(axes, EXTRAPOLATION["color"])
            np.testing.assert_array_equal(inside[-1], beyond[0])
            assert np.isfinite(inside).all()
            assert np.isfinite(beyond).all()
            assert len(beyond) == 1 + 20

    def test_latent_trajectories_have_the_colour_of_their_direction(self, tmp_path: Path) -> None:
        *_, latent = drawn("fig8", tmp_path).figure.axes
        for direction, colour in DIRECTION_COLOURS.items():
            for path in lines(latent, colour):
                assert set(np.sign(path[:, 0])) <= {direction}
        assert latent.get_xlabel() == "$z_1$"

    def test_the_papers_claims_are_numbers_in_picture_and_data(self, tmp_path: Path) -> None:
        drawing = drawn("fig8", tmp_path)
        assert "0.97 (true: 0.54)" in words(drawing.figure)
        data = drawing.data.set_index(["model", "seed"])
        assert data.loc[("rnn", "0"), "radius_ratio"] == 0.97
        assert data.loc[("rnn", "0"), "radius_ratio_true"] == pytest.approx(
            np.exp(-0.1 * 4 * np.pi * 19 / 39)
        )
        assert data.loc[("latent_ode", "0"), "latent_pair"] == "z1 z2"
        assert data.loc[("latent_ode", "0"), "latent_pair_told_apart"] == 1.0
        assert list(data["is_drawn"]) == [True, True, False]

    def test_series_that_are_not_the_same_in_both_are_said(self, tmp_path: Path, series_run: Write) -> None:
        shown = {"clean": np.ones((4, 40, 2))}
        series_run("rnn", 30, hash8="ffffffff", shown=shown, config={"training": {"num_steps": 3000}})
        assert (
            "the RNN's series are others than the latent ODE's: their data differ"
            in drawn("fig8", tmp_path).notes
        )


def test_fig8_without_one_of_its_models_says_how_it_is_made(tmp_path: Path, series_run: Write) -> None:
    series_run("latent_ode", 30, shown={"prediction": None})
    drawing = drawn("fig8", tmp_path)
    assert words(drawing.figure).count("no run") == 2
    assert words(drawing.figure).count("no picture") == 2
    missing, damaged = drawing.notes
    assert (
        missing
        == "missing: RNN at 30 of 100 points: nodebench train experiment=table2_rnn data.num_observed=30"
    )
    assert "pictures.npz is cut off" in damaged


def test_the_clearest_pair_has_the_latent_dimension_that_tells_the_directions_apart() -> None:
    direction = np.repeat([1, -1], 10)
    latent = np.random.default_rng(0).normal(size=(20, 5, 4))
    latent[..., 3] = 0.1 * latent[..., 3] + direction[:, None]
    found = LatentPictures(latent, direction, np.zeros((4, 1, 5, 2)), np.zeros(1), np.zeros(5))
    _, second, share = found.clearest_pair
    assert (second, share) == (3, 1.0)


class TestFig9:
    def test_a_row_a_dimension_with_its_signed_areas(self, tmp_path: Path, series_run: Write) -> None:
        series_run("latent_ode", 30)
        drawing = drawn("fig9", tmp_path)
        paths = [
            each
            for axes in drawing.figure.axes
            for each in axes.collections
            if isinstance(each, LineCollection)
        ]
        assert len(paths) == 3 * 5
        changes = drawing.data.groupby("dimension")["sign_changes"].first()
        assert list(changes) == [1, 0, 0]
        first = drawing.data[drawing.data["dimension"] == 1]
        assert list(np.sign(first["signed_area"])) == [-1, -1, 0, 1, 1]
        assert "1 change of sign" in words(drawing.figure)

    def test_a_run_without_a_latent_space_is_said(self, tmp_path: Path, series_run: Write) -> None:
        folder = series_run("latent_ode", 30, shown={"traversal": None})
        drawing = drawn("fig9", tmp_path)
        assert "no picture" in words(drawing.figure)
        assert str(folder / "pictures.npz") in drawing.notes[0]
        assert drawing.data.empty


class TestFig10:
    def test_a_column_for_every_number_of_points_with_its_error(
        self, tmp_path: Path, series_run: Write
    ) -> None:
        for number, rmse in ((30, 0.09), (50, 0.08), (100, 0.06)):
            series_run("latent_ode", number, rmse=rmse)
        drawing = drawn("fig10", tmp_path)
        assert len(series_panels(drawing.figure)) == 6
        assert dict(zip(drawing.data["num_observed"], drawing.data["rmse"], strict=True)) == {
            30: 0.09,
            50: 0.08,
            100: 0.06,
        }
        assert "RMSE 0.080" in words(drawing.figure)
        limits = {panel.get_xlim() for panel in series_panels(drawing.figure)}
        assert len(limits) == 2  # one series looks alike in all three columns

    def test_what_is_missing_or_diverged_stands_in_its_place(self, tmp_path: Path, series_run: Write) -> None:
        series_run("latent_ode", 30)
        series_run("latent_ode", 50, status="diverged", reason="loss is NaN at step 3")
        drawing = drawn("fig10", tmp_path)
        assert words(drawing.figure).count("diverged") == words(drawing.figure).count("no run") == 2
        assert any("loss is NaN at step 3" in note for note in drawing.notes)
        assert any(note.startswith("missing: latent ODE at 100 of 100 points") for note in drawing.notes)

    def test_a_direction_that_is_not_there_is_said(self, tmp_path: Path, series_run: Write) -> None:
        series_run("latent_ode", 30, shown={"direction": np.ones(4, dtype=np.int8)})
        assert "none turns clockwise" in words(drawn("fig10", tmp_path).figure)


@pytest.mark.parametrize("name", ["fig8", "fig9", "fig10"])
def test_runs_of_something_else_are_nothing_to_draw(name: str, tmp_path: Path, write_run: Write) -> None:
    write_run()
    with pytest.raises(NothingToDrawError, match=f"nodebench reproduce {name}"):
        drawn(name, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"times": np.zeros((4, 39))}, r"times \(4, 39\).* do not belong together"),
        ({"direction": np.zeros(3)}, r"direction \(3,\)"),
        ({"clean": np.full((4, 40, 2), np.nan)}, "no series in the plane"),
        ({"is_horizon": np.zeros((4, 40), dtype=bool)}, "no series in the plane"),
        ({"values": np.array(["words"])}, "cut off or holds other things"),
        ({"observed": None}, "cut off or holds other things"),
    ],
)
def test_other_series_are_refused_by_name(series_run: Write, change: dict[str, Any], message: str) -> None:
    folder = series_run("rnn", 30, shown=change)
    with pytest.raises(DamagedPicturesError, match=message) as refused:
        read_series_pictures(folder)
    assert "pictures.npz" in str(refused.value)


@pytest.mark.parametrize(
    "change",
    [
        {"latent": np.zeros((4, 40, 2))},
        {"latent_direction": np.zeros(2)},
        {"traversal": np.zeros((3, 5, 40, 1))},
        {"traversal_values": np.zeros(4)},
    ],
)
def test_another_latent_space_is_refused_by_name(series_run: Write, change: dict[str, Any]) -> None:
    with pytest.raises(DamagedPicturesError, match=r"pictures\.npz holds latent .* do not belong together"):
        read_latent_pictures(series_run("latent_ode", 30, shown=change))


def turning(path: np.ndarray) -> int:
    x, y = path.T
    return int(np.sign((x[:-1] * y[1:] - x[1:] * y[:-1]).sum()))
