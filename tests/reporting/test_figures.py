"""The figures of flows, drawn from small run folders written by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nodebench.reporting import find_runs
from nodebench.reporting.figures import Drawing, NothingToDrawError, draw, figure_names
from nodebench.reporting.figures.drawing.panels import to_unit
from nodebench.reporting.figures.drawing.saving import save
from nodebench.reporting.flow_cells import find_flow_cell
from nodebench.reporting.pictures import DamagedPicturesError, read_pictures
from nodebench.reporting.rows import interval95

GRID = 8
FlowRun = Callable[..., Path]


def pictures(num_fractions: int = 1, bright: tuple[int, int] = (1, 2)) -> dict[str, Any]:
    """A density whose mass is in one cell (z2, z1), and a target that is bright one cell further."""
    density = np.zeros((num_fractions, GRID, GRID), dtype=np.float16)
    density[:, *bright] = np.arange(1, num_fractions + 1)
    target = np.zeros((GRID, GRID), dtype=np.float32)
    target[bright[0] + 1, bright[1]] = 3.0
    return {
        "window": 4.0,
        "fractions": np.arange(1, num_fractions + 1) / num_fractions,
        "density": density,
        "samples": (2 * density).astype(np.uint16),
        "target": target,
    }


@pytest.fixture
def flow_run(write_run: Callable[..., Path]) -> FlowRun:
    """flow_run(data, model, units, ...) writes a run folder with its pictures and returns it."""

    def write(
        data: str,
        model: str,
        units: int,
        *,
        seed: int = 0,
        hash8: str = "0a1b2c3d",
        num_steps: int = 3000,
        shown: dict[str, Any] | None = None,
        reproduces: str | None = None,
        **summary: Any,
    ) -> Path:
        key = "width" if model == "cnf" else "num_layers"
        config = {
            "data": {"name": data},
            "model": {"name": model, key: units},
            "training": {"num_steps": num_steps},
            "about": None if reproduces is None else {"reproduces": reproduces},
        }
        folder = write_run(f"{data}-{model}-{units}-{hash8}", seed, config=config, **summary)
        np.savez_compressed(folder / "pictures.npz", **(pictures() if shown is None else shown))
        return folder

    return write


def images(figure: Figure) -> Iterator[tuple[Axes, np.ndarray]]:
    """Every picture in the figure as (axes, values)."""
    yield from ((axes, image.get_array()) for axes in figure.axes for image in axes.get_images())


def words(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_the_figures_are_the_modules_of_the_folder() -> None:
    assert {"fig4", "fig5"} <= set(figure_names())
    assert "drawing" not in figure_names()


class TestFig4:
    def drawn(self, root: Path) -> Drawing:
        return draw("fig4", find_runs(root))

    def test_every_cell_has_a_panel_and_a_line_in_the_data(self, tmp_path: Path, flow_run: FlowRun) -> None:
        for data in ("u1", "u3", "u4"):
            for model in ("planar_nf", "cnf"):
                for units in (2, 4, 8, 16, 32):
                    flow_run(data, model, units, kl=1 / units, kl_stderr=0.01)
        drawing = self.drawn(tmp_path)
        assert drawing.notes == []
        assert len(list(images(drawing.figure))) == 3 * (1 + 3 + 3)
        assert len(drawing.data) == 30
        assert list(drawing.data["kl"]) == [1 / units for _ in range(6) for units in (2, 4, 8, 16, 32)]

    def test_z2_grows_downwards(self, tmp_path: Path, flow_run: FlowRun) -> None:
        flow_run("u1", "cnf", 2, shown=pictures(bright=(1, 2)))  # z2 < 0: near the top
        for axes, image in images(self.drawn(tmp_path).figure):
            row, column = np.argwhere(image == 1.0)[0]
            assert column == 2
            _, height = axes.transAxes.inverted().transform(axes.transData.transform((column, row)))
            assert height > 0.5

    def test_the_curves_show_kl_against_the_number_of_units(self, tmp_path: Path, flow_run: FlowRun) -> None:
        for units, kl in ((2, 0.5), (8, 0.02), (32, -0.001)):
            flow_run("u3", "cnf", units, kl=kl, kl_stderr=0.002)
        panels = [axes for axes in self.drawn(tmp_path).figure.axes if axes.containers]
        (curve,) = (panel for panel in panels[1].containers if panel.get_label() == "CNF")
        np.testing.assert_allclose(curve.lines[0].get_xydata(), [[2, 0.5], [8, 0.02], [32, -0.001]])
        (bars,) = curve.lines[2]
        np.testing.assert_allclose(bars.get_segments()[0][:, 1], [0.498, 0.502])
        assert all(panel.get_ylim()[0] < -0.001 for panel in panels)

    def test_several_seeds_give_mean_and_interval_and_the_lowest_seeds_picture(
        self, tmp_path: Path, flow_run: FlowRun
    ) -> None:
        for seed, kl in ((10, 0.1), (2, 0.3)):
            flow_run("u1", "cnf", 8, seed=seed, kl=kl, kl_stderr=0.5, shown=pictures(bright=(seed // 2, 0)))
        drawing = self.drawn(tmp_path)
        (line,) = drawing.data[drawing.data["seeds"] == 2].to_dict("records")
        assert line["kl"] == pytest.approx(0.2)
        assert line["kl_error_bar"] == pytest.approx(interval95([0.1, 0.3]))
        density = list(images(drawing.figure))[1][1]
        assert np.argwhere(density == 1.0).tolist() == [[1, 0]]
        assert drawing.notes[0] == (
            "numbers are means of 2 seeds, ± half the 95 % interval (Student's t); "
            "densities are those of the lowest seed"
        )
        panel = next(axes for axes in drawing.figure.axes if axes.containers)
        (seeds,) = (line for line in panel.lines if line.get_marker() == "." and len(line.get_xdata()) == 2)
        assert sorted(seeds.get_ydata()) == [0.1, 0.3]

    def test_what_is_missing_is_an_empty_panel_and_a_command(self, tmp_path: Path, flow_run: FlowRun) -> None:
        flow_run("u3", "planar_nf", 16)
        drawing = self.drawn(tmp_path)
        assert len(drawing.notes) == 29
        assert (
            "missing: cnf on u3 with width 16: nodebench train experiment=fig4_cnf data=u3 model.width=16"
            in drawing.notes
        )
        assert (
            "missing: planar_nf on u1 with num_layers 2: "
            "nodebench train experiment=fig4_nf data=u1 model.num_layers=2" in drawing.notes
        )
        assert words(drawing.figure).count("no run") == 3 * 6 + 2  # u3's target is known
        assert list(drawing.data["status"]).count("no run") == 29

    def test_a_failed_run_is_marked_by_its_status(self, tmp_path: Path, flow_run: FlowRun) -> None:
        flow_run("u3", "cnf", 8, status="diverged", reason="loss is NaN at step 12", kl=7.0)
        drawing = self.drawn(tmp_path)
        assert "diverged" in words(drawing.figure)
        assert any(
            note.startswith("diverged: cnf on u3 with width 8: loss is NaN at step 12; again: nodebench")
            for note in drawing.notes
        )
        (line,) = drawing.data[drawing.data["status"] == "diverged"].to_dict("records")
        assert line["seeds"] == 0
        crosses = [line for axes in drawing.figure.axes for line in axes.lines if line.get_marker() == "x"]
        assert [8] in [list(cross.get_xdata()) for cross in crosses]

    def test_a_run_without_readable_pictures_keeps_its_kl(self, tmp_path: Path, flow_run: FlowRun) -> None:
        folder = flow_run("u1", "cnf", 32, kl=0.25, kl_stderr=0.01)
        (folder / "pictures.npz").write_bytes(b"PK\x03\x04 cut off")
        drawing = self.drawn(tmp_path)
        assert "no picture" in words(drawing.figure)
        assert any(note.startswith("no picture: cnf on u1 with width 32") for note in drawing.notes)
        assert drawing.data["kl"].dropna().tolist() == [0.25]

    def test_runs_of_something_else_are_nothing_to_draw(self, tmp_path: Path, write_run: FlowRun) -> None:
        write_run()
        with pytest.raises(NothingToDrawError, match="experiment=fig4_cnf"):
            self.drawn(tmp_path)


class TestRecipes:
    def cell(self, root: Path) -> Any:
        return find_flow_cell(find_runs(root), "fig4_cnf", "u1", "cnf", 2)

    def test_the_longest_training_is_drawn_and_the_others_are_named(
        self, tmp_path: Path, flow_run: FlowRun
    ) -> None:
        flow_run("u1", "cnf", 2, hash8="aaaaaaaa", num_steps=3000, kl=0.5)
        flow_run("u1", "cnf", 2, hash8="bbbbbbbb", num_steps=10000, kl=0.1)
        cell = self.cell(tmp_path)
        assert cell.mean("kl") == 0.1
        assert cell.notes == (
            "several recipes: cnf on u1 with width 2: shown is bbbbbbbb (10,000 steps), "
            "left out: aaaaaaaa (3,000 steps)",
        )

    def test_one_that_finished_comes_before_a_longer_one_that_did_not(
        self, tmp_path: Path, flow_run: FlowRun
    ) -> None:
        flow_run("u1", "cnf", 2, hash8="aaaaaaaa", num_steps=3000, kl=0.5)
        flow_run("u1", "cnf", 2, hash8="bbbbbbbb", num_steps=10000, status="interrupted")
        assert self.cell(tmp_path).mean("kl") == 0.5

    def test_a_failed_seed_is_named_and_not_counted(self, tmp_path: Path, flow_run: FlowRun) -> None:
        flow_run("u1", "cnf", 2, seed=0, status="diverged", reason="loss is NaN at step 12", kl=9.0)
        flow_run("u1", "cnf", 2, seed=1, kl=0.5, kl_stderr=0.1)
        cell = self.cell(tmp_path)
        assert (cell.status, cell.mean("kl"), cell.error("kl")) == ("finished", 0.5, 0.1)
        assert ["seed0 is diverged: loss is NaN" in note for note in cell.notes] == [True]


class TestFig5:
    def write_all(self, flow_run: FlowRun, num_fractions: int = 20) -> None:
        for data in ("two_circles", "two_moons"):
            for model in ("cnf", "planar_nf"):
                flow_run(data, model, 64, shown=pictures(num_fractions), nll=1.5, nll_tight=1.25)

    def test_two_blocks_of_three_rows_and_a_target_each(self, tmp_path: Path, flow_run: FlowRun) -> None:
        self.write_all(flow_run)
        drawing = draw("fig5", find_runs(tmp_path))
        shown = list(images(drawing.figure))
        assert len(shown) == 2 * (3 * 6 + 1)
        assert drawing.notes == []
        targets = [image for _, image in shown if image[2, 2] == 1.0]
        assert len(targets) == 2
        assert drawing.data["nll"].tolist() == [1.5] * 4
        assert list(drawing.data.columns[:4]) == ["data", "model", "units", "seed"]

    def test_its_numbers_say_how_the_way_was_where_there_is_a_picture_of_it(
        self, tmp_path: Path, flow_run: FlowRun
    ) -> None:
        self.write_all(flow_run)
        next(tmp_path.rglob("two_moons-cnf-*/*/pictures.npz")).unlink()
        data = draw("fig5", find_runs(tmp_path)).data.set_index(["data", "model"])
        assert data["tv_step"].notna().to_dict() == {
            ("two_circles", "cnf"): True,
            ("two_circles", "planar_nf"): True,
            ("two_moons", "cnf"): False,
            ("two_moons", "planar_nf"): True,
        }

    def test_several_seeds_are_a_likelihood_with_an_interval_below(
        self, tmp_path: Path, flow_run: FlowRun
    ) -> None:
        self.write_all(flow_run)
        flow_run("two_moons", "cnf", 64, seed=1, nll=1.7)
        drawing = draw("fig5", find_runs(tmp_path))
        below = [text.get_text() for text in drawing.figure.texts if text.get_text().startswith("(")]
        interval = interval95([1.5, 1.7])
        assert below == ["(a) Two Circles", f"(b) Two Moons; NLL in nats: CNF 1.600 ± {interval:.3f}"]
        assert drawing.notes[0].startswith("numbers are means of 1 to 2 seeds, ")

    def test_z2_grows_upwards(self, tmp_path: Path, flow_run: FlowRun) -> None:
        self.write_all(flow_run)
        axes, _ = next(images(draw("fig5", find_runs(tmp_path)).figure))
        bottom, top = axes.get_ylim()
        assert bottom < top

    def test_the_columns_are_the_papers_shares_of_the_time(self, tmp_path: Path, flow_run: FlowRun) -> None:
        folder = flow_run("two_moons", "cnf", 64, shown=pictures(20))
        at = read_pictures(folder).at
        assert [at(share) for share in (0.05, 0.2, 0.4, 0.6, 0.8, 1.0)] == [0, 3, 7, 11, 15, 19]

    def test_a_missing_row_says_so(self, tmp_path: Path, flow_run: FlowRun) -> None:
        flow_run("two_moons", "planar_nf", 64)
        drawing = draw("fig5", find_runs(tmp_path))
        assert words(drawing.figure).count("no run") == 3 * 6 + 1 + 2 * 6
        assert (
            "missing: cnf on two_moons with width 64: "
            "nodebench train experiment=fig5_cnf data=two_moons model.width=64" in drawing.notes
        )

    def test_the_animation_shows_every_share_and_holds_the_last(
        self, tmp_path: Path, flow_run: FlowRun
    ) -> None:
        from PIL import Image

        self.write_all(flow_run, num_fractions=3)
        drawing = draw("fig5", find_runs(tmp_path))
        assert drawing.frames is not None
        shares = [words(figure)[-1] for figure in drawing.frames()]
        assert shares == ["33%", "67%", "100%"]
        gif = save(drawing, tmp_path, "fig5", animate=True)[-1]
        with Image.open(gif) as image:
            assert (image.n_frames, image.info["loop"]) == (3, 0)
            durations = []
            for number in range(image.n_frames):
                image.seek(number)
                durations.append(image.info["duration"])
        assert durations[0] == durations[1] < durations[2]

    def test_the_animation_of_one_data_set_leaves_the_other_empty(
        self, tmp_path: Path, flow_run: FlowRun
    ) -> None:
        flow_run("two_circles", "cnf", 64, shown=pictures(2))
        drawing = draw("fig5", find_runs(tmp_path))
        assert drawing.frames is not None
        assert [words(figure) for figure in drawing.frames()] == [
            ["no run", "no run", "50%"],
            ["no run", "no run", "100%"],
        ]


class TestSaving:
    def test_the_same_runs_give_the_same_bytes(self, tmp_path: Path, flow_run: FlowRun) -> None:
        flow_run("u1", "cnf", 2, kl=0.5, kl_stderr=0.01)
        for folder in ("first", "second"):
            paths = save(draw("fig4", find_runs(tmp_path)), tmp_path / folder, "fig4")
            assert [path.name for path in paths] == ["fig4.png", "fig4.pdf", "fig4.csv"]
            assert sorted(path.name for path in (tmp_path / folder).iterdir()) == sorted(
                path.name for path in paths
            )
        for name in ("fig4.png", "fig4.pdf", "fig4.csv"):
            assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()

    def test_words_in_its_csv_are_no_formula_and_break_no_encoding(
        self, tmp_path: Path, flow_run: FlowRun
    ) -> None:
        flow_run("two_circles", "cnf", 64, nll="=1+2\ud800")
        *_, path = save(draw("fig5", find_runs(tmp_path)), tmp_path, "fig5")
        assert r"'=1+2\ud800" in path.read_text(encoding="utf-8")

    def test_what_cannot_be_rendered_leaves_the_older_files(
        self, tmp_path: Path, flow_run: FlowRun, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        flow_run("u1", "cnf", 2)
        drawing = draw("fig4", find_runs(tmp_path))
        (tmp_path / "fig4.png").write_text("older")

        def fail(*_: object, **__: object) -> None:
            raise MemoryError

        monkeypatch.setattr(type(drawing.data), "to_csv", fail)
        with pytest.raises(MemoryError):
            save(drawing, tmp_path, "fig4")
        assert (tmp_path / "fig4.png").read_text() == "older"


class TestPictures:
    def test_they_are_read_as_they_were_written(self, tmp_path: Path, flow_run: FlowRun) -> None:
        written = pictures(3)
        read = read_pictures(flow_run("u1", "cnf", 2, shown=written))
        assert read.window == 4.0
        for name in ("fractions", "density", "samples", "target"):
            np.testing.assert_array_equal(getattr(read, name), written[name])

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"density": np.zeros((2, GRID, GRID))}, r"holds density \(2, 8, 8\)"),
            ({"window": 0.0}, "window 0.0"),
            ({"fractions": np.zeros((0,))}, r"fractions \(0,\)"),
            ({"target": np.array([object()])}, "cut off or holds other things"),
            ({"target": None}, "cut off or holds other things"),
        ],
    )
    def test_another_file_is_refused_by_name(
        self, tmp_path: Path, change: dict[str, Any], message: str
    ) -> None:
        content = {name: value for name, value in {**pictures(), **change}.items() if value is not None}
        np.savez_compressed(tmp_path / "pictures.npz", **content)
        with pytest.raises(DamagedPicturesError, match=message) as refused:
            read_pictures(tmp_path)
        assert "pictures.npz" in str(refused.value)

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(DamagedPicturesError, match=r"pictures\.npz is missing"):
            read_pictures(tmp_path)

    def test_a_panel_is_brightest_at_its_own_maximum_and_dark_where_nothing_is_known(self) -> None:
        image = np.array([[0.0, 2.0], [np.nan, np.inf]])
        np.testing.assert_array_equal(to_unit(image), [[0.0, 1.0], [0.0, 0.0]])
        np.testing.assert_array_equal(to_unit(np.zeros((2, 2))), np.zeros((2, 2)))


def test_a_run_of_another_purpose_never_fills_a_cell_and_one_of_the_figure_comes_first(
    flow_run: FlowRun, tmp_path: Path
) -> None:
    flow_run(
        "two_circles", "cnf", 64, hash8="aaaaaaaa", num_steps=9, reproduces="nothing in the paper", nll=1.0
    )
    cell = find_flow_cell(find_runs(tmp_path), "fig5_cnf", "two_circles", "cnf", 64)
    assert cell.status == "no run"
    flow_run("two_circles", "cnf", 64, hash8="bbbbbbbb", num_steps=9, nll=2.0)
    cell = find_flow_cell(find_runs(tmp_path), "fig5_cnf", "two_circles", "cnf", 64)
    assert cell.mean("nll") == 2.0
    flow_run("two_circles", "cnf", 64, hash8="cccccccc", num_steps=3, reproduces="Figure 5: it", nll=3.0)
    cell = find_flow_cell(find_runs(tmp_path), "fig5_cnf", "two_circles", "cnf", 64)
    assert cell.mean("nll") == 3.0
    assert "left out: bbbbbbbb" in cell.notes[0]


def test_a_share_of_time_that_was_not_recorded_is_said_and_not_drawn(
    flow_run: FlowRun, tmp_path: Path
) -> None:
    flow_run("two_circles", "cnf", 64, shown=pictures(num_fractions=5))  # 20, 40, 60, 80 and 100 %
    shown = words(draw("fig5", find_runs(tmp_path)).figure)
    assert shown.count("not recorded") == 2  # 5 % of density and samples
