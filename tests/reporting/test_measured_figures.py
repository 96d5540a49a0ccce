"""The figures of measured runs, drawn from run folders written by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from nodebench.records.measures import TOLERANCES
from nodebench.reporting import find_runs
from nodebench.reporting.figures import Drawing, NothingToDrawError, draw, figure_names
from nodebench.reporting.figures.drawing.charts import power
from nodebench.reporting.figures.drawing.saving import save
from nodebench.reporting.figures.drawing.style import TOLERANCE_COLOURS, tolerance_colour
from nodebench.reporting.measures import NotMeasuredError

Write = Callable[..., Path]
ODENET = {
    "model": {"name": "odenet", "gradient": "adjoint"},
    "solver": {"method": "dopri5", "tol": 0.001, "rtol": None, "atol": None, "dt": None},
}
OTHERS = ("dopri8", "tsit5", "bosh3", "adaptive_heun", "fehlberg2", "vode_adams")
THEIRS = tuple(
    f"torchdiffeq {solver}" for solver in ("dopri5", "bosh3", "dopri8", "adaptive_heun", "fehlberg2")
)
FIGURES = ("fig3", "gradients", "memory", "nfe", "speed_accuracy")


def write_epochs(run: Path, counts: list[float], cut_off: str = "") -> None:
    records = [
        {"kind": "epoch", "epoch": number, "nfe_forward": count, "nfe_backward": count / 2}
        for number, count in enumerate(counts, start=1)
    ]
    records.append({"kind": "final", "epoch": len(counts), "nfe_forward": 99.0})
    (run / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records) + cut_off)


@pytest.fixture
def measured(tmp_path: Path, write_run: Write, write_measures: Write) -> Path:
    """A run with three batches at every tolerance, three solvers and two epochs."""
    run = write_run()
    write_measures(run, solvers=("dopri5", "tsit5", "torchdiffeq dopri5"))
    write_epochs(run, [14.0, 20.0])
    return run


def drawn(name: str, root: Path) -> Drawing:
    return draw(name, find_runs(root))


def panel(figure: Figure, title: str) -> Axes:
    (axes,) = (axes for axes in figure.axes if axes.get_title(loc="left") == title)
    return axes


def dots_of(axes: Axes) -> dict[str, np.ndarray]:
    """The dots by colour."""
    return {to_hex(dots.get_facecolor()[0]): np.asarray(dots.get_offsets()) for dots in axes.collections}


def curve(axes: Axes, label: str) -> np.ndarray:
    (line,) = (line for line in axes.lines if str(line.get_label()).startswith(label))
    return np.asarray(line.get_xydata())


def test_the_figures_of_measured_runs_are_in_the_folder() -> None:
    assert set(FIGURES) <= set(figure_names())


@pytest.mark.parametrize("name", FIGURES)
def test_the_same_runs_give_the_same_bytes(name: str, tmp_path: Path, measured: Path) -> None:
    for folder in ("first", "second"):
        save(drawn(name, tmp_path / "outputs"), tmp_path / folder, name)
    for ending in ("png", "pdf", "csv"):
        first, second = (
            (tmp_path / folder / f"{name}.{ending}").read_bytes() for folder in ("first", "second")
        )
        assert first == second


@pytest.mark.parametrize("tolerances", [TOLERANCES, (1.0, 0.7, 0.5)], ids=["six decades", "within a decade"])
@pytest.mark.parametrize("name", FIGURES)
def test_nothing_reaches_over_the_edge_of_the_figure(
    name: str, tolerances: tuple[float, ...], tmp_path: Path, write_run: Write, write_measures: Write
) -> None:
    run = write_run()
    write_epochs(run, [14.0, 20.0])
    write_measures(run, solvers=("dopri5", *OTHERS, *THEIRS), tolerances=tolerances)
    figure = drawn(name, tmp_path).figure
    width, height = figure.get_size_inches()
    reach = figure.get_tightbbox()
    assert reach.x0 >= 0
    assert reach.y0 >= 0
    assert reach.x1 <= width
    assert reach.y1 <= height


class TestFig3OfEqualCounts:
    @pytest.fixture
    def figure(self, measured: Path, tmp_path: Path) -> Figure:
        """Of a net that takes the same evaluations at the tolerances 1 and 0.1, and others at every other one."""
        table = pd.read_csv(measured / "measure.csv")
        table["nfe_forward"] = table["tol"].map(dict(zip(TOLERANCES, (14, 14, 20, 26, 32, 38), strict=True)))
        table.to_csv(measured / "measure.csv", index=False)
        return drawn("fig3", tmp_path).figure

    @pytest.mark.parametrize("title", ["(a) error", "(b) time"])
    def test_dots_of_the_same_counts_stand_side_by_side_in_order(self, figure: Figure, title: str) -> None:
        axes = panel(figure, title)
        middles = [dots.get_offset_transform().transform((14.0, 0.5))[0] for dots in axes.collections]
        at_14 = axes.transData.transform((14.0, 0.5))[0]
        assert middles[0] < at_14 < middles[1]
        assert middles[-1] == pytest.approx(at_14)  # none shares its counts
        left, right = axes.get_xlim()
        assert left == 0
        assert right > 38

    def test_dots_beneath_those_of_a_tighter_tolerance_are_larger(self, figure: Figure) -> None:
        axes = panel(figure, "(c) backward pass")
        sizes = [float(dots.get_sizes()[0]) for dots in axes.collections]
        assert sizes[0] > sizes[1]
        assert sizes[1] == sizes[-1]  # none lies on either

    def test_the_legend_names_the_tolerances_in_the_order_of_reading(self, figure: Figure) -> None:
        by_columns = [text.get_text() for text in figure.legends[0].get_texts()]
        by_rows = [*by_columns[::2], *by_columns[1::2]]  # of two rows
        assert by_rows == [power(tol) for tol in TOLERANCES]

    def test_no_two_tolerances_of_the_same_counts_stand_in_one_place(
        self, measured: Path, tmp_path: Path
    ) -> None:
        axes = panel(drawn("fig3", tmp_path).figure, "(a) error")  # 14 and 20, 20 and 26, 26 and 32, ...
        asides = [dots.get_offset_transform().transform((20.0, 0.5))[0] for dots in axes.collections]
        assert all(one != next_one for one, next_one in pairwise(asides))


@pytest.mark.parametrize("name", [name for name in FIGURES if name != "nfe"])
def test_without_measurements_the_command_that_makes_them_is_named(
    name: str, tmp_path: Path, write_run: Write
) -> None:
    write_run()
    with pytest.raises(NotMeasuredError, match="nodebench measure"):
        drawn(name, tmp_path)


def test_every_tolerance_has_its_colour_from_red_to_purple() -> None:
    assert [tolerance_colour(tol) for tol in TOLERANCES] == list(TOLERANCE_COLOURS)
    assert tolerance_colour(1e-9) == TOLERANCE_COLOURS[-1]


class TestFig3:
    def test_every_batch_is_a_dot_in_its_tolerances_colour(self, tmp_path: Path, measured: Path) -> None:
        axes = panel(drawn("fig3", tmp_path).figure, "(a) error")
        dots = dots_of(axes)
        assert list(dots) == list(TOLERANCE_COLOURS)
        np.testing.assert_allclose(dots[TOLERANCE_COLOURS[0]], [[14, 0.1], [20, 0.1], [14, 0.1]])
        dashed = [line for line in axes.lines if line.get_linestyle() == "--"]
        assert [line.get_ydata()[0] for line in dashed] == list(TOLERANCES)
        assert [to_hex(line.get_color()) for line in dashed] == list(TOLERANCE_COLOURS)

    def test_times_are_over_the_largest(self, tmp_path: Path, measured: Path) -> None:
        dots = np.concatenate(list(dots_of(panel(drawn("fig3", tmp_path).figure, "(b) time")).values()))
        assert dots[:, 1].max() == 1.0
        np.testing.assert_allclose(dots[:, 1], dots[:, 0] / dots[:, 0].max())

    def test_counts_are_true_ones_and_the_papers_counting_adds_the_batch_before(
        self, tmp_path: Path, measured: Path
    ) -> None:
        drawing = drawn("fig3", tmp_path)
        true = dots_of(panel(drawing.figure, "(c) backward pass"))[TOLERANCE_COLOURS[0]]
        np.testing.assert_allclose(true, [[14, 8], [20, 14], [14, 8]])
        published = dots_of(panel(drawing.figure, "(c) as the paper counted it"))[TOLERANCE_COLOURS[0]]
        np.testing.assert_allclose(published, [[20 + 8 + 1, 14], [14 + 14 + 1, 8]])

    def test_epochs_are_those_of_training_and_damaged_records_are_named(
        self, tmp_path: Path, measured: Path
    ) -> None:
        write_epochs(measured, [14.0, 20.0, 26.0], cut_off='{"kind": "ep')
        drawing = drawn("fig3", tmp_path)
        axes = panel(drawing.figure, "(d) training")
        assert [[1, 14], [2, 20], [3, 26]] in [np.asarray(line.get_xydata()).tolist() for line in axes.lines]
        assert any("the last line is cut off" in note for note in drawing.notes)

    def test_what_is_not_measured_yet_is_said_with_its_command(self, tmp_path: Path, measured: Path) -> None:
        notes = drawn("fig3", tmp_path).notes
        assert any(
            "fewer than 100 batches at tolerance 1, 0.1," in note
            and f"`nodebench measure {measured}`" in note
            for note in notes
        )

    def test_panels_without_data_say_so(
        self, tmp_path: Path, write_run: Write, write_measures: Write
    ) -> None:
        path = write_measures(write_run(), gradients=("adjoint",), batches=1)
        header, *lines = path.read_text().splitlines()
        columns = header.split(",")
        kept = {"library", "solver", "tol", "gradient", "batch", "nfe_forward"}
        emptied = [
            ",".join(
                text if name in kept else "" for name, text in zip(columns, line.split(","), strict=True)
            )
            for line in lines
        ]
        path.write_text("\n".join([header, *emptied]) + "\n")
        figure = drawn("fig3", tmp_path).figure
        words = [text.get_text() for axes in figure.axes for text in axes.texts]
        assert words.count("no backward pass was measured") == 2
        assert {"no error was measured", "no time was measured", "metrics.jsonl has no epochs"} <= set(words)

    def test_the_data_holds_every_dot_and_every_number_of_the_paper(
        self, tmp_path: Path, measured: Path
    ) -> None:
        data = drawn("fig3", tmp_path).data
        assert len(data[(data["panel"] == "abc") & (data["source"] == "nodebench")]) == 6 * 3
        assert len(data[(data["panel"] == "d") & (data["source"] == "nodebench")]) == 2
        assert len(data[(data["panel"] == "abc") & (data["source"] == "paper")]) == 6


@pytest.mark.parametrize("name", [name for name in FIGURES if name != "speed_accuracy"])
def test_torchdiffeqs_rows_are_in_no_other_figure(
    name: str, tmp_path: Path, write_run: Write, write_measures: Write
) -> None:
    run = write_run()
    write_epochs(run, [14.0, 20.0])
    write_measures(run)
    alone = drawn(name, tmp_path)
    path = run / "measure.csv"
    header, *lines = path.read_text().splitlines()
    slower = [
        line.replace("nodebench,dopri5", "torchdiffeq,dopri5").replace(",14,", ",1400,") for line in lines
    ]
    path.write_text("\n".join([header, *slower, *lines]) + "\n")
    beside = drawn(name, tmp_path)
    assert beside.data.to_csv(index=False) == alone.data.to_csv(index=False)
    assert beside.notes == alone.notes
    assert len(beside.figure.axes) == len(alone.figure.axes)


@pytest.mark.parametrize("name", FIGURES)
def test_a_seed_that_lies_in_two_places_counts_once(
    name: str, tmp_path: Path, write_run: Write, write_measures: Write
) -> None:
    run = write_run()
    write_epochs(run, [14.0, 20.0])
    write_measures(run)
    alone = drawn(name, tmp_path)
    copy = write_run(root=tmp_path / "outputs" / "copy")
    write_epochs(copy, [50.0, 70.0])
    beside = drawn(name, tmp_path)
    assert beside.data.to_csv(index=False) == alone.data.to_csv(index=False)
    if name in ("fig3", "nfe"):
        assert f"seed 0 is counted once: {copy} repeats {run}" in beside.notes


def test_a_run_that_is_not_finished_is_named(tmp_path: Path, write_run: Write, write_measures: Write) -> None:
    run = write_run(status="interrupted", reason="by Ctrl-C")
    write_measures(run)
    assert (
        f"{run} is interrupted (by Ctrl-C): what is shown may not be its last"
        in drawn("fig3", tmp_path).notes
    )


def test_figure_3_of_other_data_says_so(tmp_path: Path, write_run: Write, write_measures: Write) -> None:
    write_measures(write_run(config={**ODENET, "data": {"name": "digits"}}))
    drawing = drawn("fig3", tmp_path)
    (note,) = drawing.notes
    assert note.startswith("the net is of digits and the paper's of mnist")
    words = [text.get_text() for legend in drawing.figure.legends for text in legend.get_texts()]
    assert any(text.startswith("one batch of 100 test images of digits\n") for text in words)


class TestSpeedAccuracy:
    def test_a_curve_a_solver_and_torchdiffeqs_in_the_same_colour(
        self, tmp_path: Path, measured: Path
    ) -> None:
        drawing = drawn("speed_accuracy", tmp_path)
        axes = panel(drawing.figure, "(a) evaluations")
        ours = curve(axes, "tsit5")
        np.testing.assert_allclose(ours, [[14 + 6 * step, 10.0 ** -(step + 1)] for step in range(6)])
        colours = {str(line.get_label()): line.get_color() for line in axes.lines}
        assert colours["dopri5"] == colours["torchdiffeq dopri5"] != colours["tsit5"]
        assert drawing.notes == []

    def test_torchdiffeqs_curves_are_dashed_and_hollow(self, tmp_path: Path, measured: Path) -> None:
        drawing = drawn("speed_accuracy", tmp_path)
        for title in ("(a) evaluations", "(b) time"):
            looks = {
                str(line.get_label()): (line.get_linestyle(), to_hex(line.get_markerfacecolor()) == "#ffffff")
                for line in panel(drawing.figure, title).lines
            }
            assert looks == {
                "dopri5": ("-", False),
                "tsit5": ("-", False),
                "torchdiffeq dopri5": ("--", True),
            }
        assert set(zip(drawing.data["library"], drawing.data["solver"], strict=True)) == {
            ("nodebench", "dopri5"),
            ("nodebench", "tsit5"),
            ("torchdiffeq", "dopri5"),
        }

    def test_what_torchdiffeqs_solvers_reuse_and_that_they_are_not_measured_is_said(
        self, tmp_path: Path, write_run: Write, write_measures: Write
    ) -> None:
        run = write_run()
        write_measures(run, solvers=("dopri5", "tsit5"))
        (note,) = drawn("speed_accuracy", tmp_path).notes
        assert f"`nodebench measure {run} --baselines`" in note
        write_measures(run, solvers=("dopri5", "adaptive_heun", "torchdiffeq adaptive_heun"))
        (note,) = drawn("speed_accuracy", tmp_path).notes
        assert note.startswith("torchdiffeq's adaptive_heun and fehlberg2 begin a step with a slope")

    def test_only_batches_of_every_solver_are_compared(self, tmp_path: Path, measured: Path) -> None:
        path = measured / "measure.csv"
        lines = path.read_text().splitlines()
        kept = [line for line in lines if not (line.split(",")[1] == "tsit5" and line.split(",")[4] == "1")]
        path.write_text("\n".join(kept) + "\n")
        data = drawn("speed_accuracy", tmp_path).data
        assert set(data["batches"]) == {2}
        own = data[(data["library"] == "nodebench") & (data["solver"] == "dopri5")]
        assert own["nfe_forward"].tolist() == [44, 38, 32, 26, 20, 14]

    def test_one_solver_alone_asks_for_others(
        self, tmp_path: Path, write_run: Write, write_measures: Write
    ) -> None:
        write_measures(write_run())
        assert any("solver=dopri8,tsit5" in note for note in drawn("speed_accuracy", tmp_path).notes)


def test_memory_grows_with_evaluations_by_what_one_evaluation_keeps(tmp_path: Path, measured: Path) -> None:
    drawing = drawn("memory", tmp_path)
    (axes,) = drawing.figure.axes
    labels = [str(line.get_label()) for line in axes.lines]
    assert "direct: +3.00 MiB an evaluation" in labels
    assert "adjoint: +0.00 MiB an evaluation" in labels
    np.testing.assert_allclose(curve(axes, "direct")[:2], [[14, 42], [20, 60]])


def test_memory_of_a_mode_that_was_not_measured_is_a_note(
    tmp_path: Path, write_run: Write, write_measures: Write
) -> None:
    write_measures(write_run(), gradients=("adjoint", "direct"))
    assert any(
        "the memory of checkpointed was not measured" in note for note in drawn("memory", tmp_path).notes
    )


def test_gradient_error_stands_against_the_cost_of_both_passes(tmp_path: Path, measured: Path) -> None:
    figure = drawn("gradients", tmp_path).figure
    time = curve(panel(figure, "(a) time"), "adjoint")
    np.testing.assert_allclose(sorted(time.tolist())[0], [6 * 14, 0.2])
    evaluations = curve(panel(figure, "(b) evaluations"), "adjoint")
    np.testing.assert_allclose(sorted(evaluations.tolist())[0], [14 + 8, 0.2])


@pytest.mark.parametrize("seed", range(5))
def test_no_tolerance_is_written_over_a_mark(
    seed: int, tmp_path: Path, write_run: Write, write_measures: Write
) -> None:
    path = write_measures(write_run(), batches=1)
    lines = pd.read_csv(path)
    generator = np.random.default_rng(seed)
    for name, span in (("time_backward_ms", 200), ("nfe_backward", 30), ("error_gradient", 0.1)):
        lines[name] = span * (0.2 + generator.random(len(lines)))
    lines.to_csv(path, index=False)
    figure = drawn("gradients", tmp_path).figure
    figure.draw_without_rendering()
    for axes in figure.axes:
        marks = np.concatenate(
            [axes.transData.transform(np.asarray(line.get_xydata())) for line in axes.lines]
        )
        assert axes.texts
        for text in axes.texts:
            box = text.get_window_extent()
            assert not any(box.contains(*mark) for mark in marks), text.get_text()


class TestNfe:
    def test_forward_and_backward_stand_apart(self, tmp_path: Path, measured: Path) -> None:
        drawing = drawn("nfe", tmp_path)
        forward, backward, *_ = panel(drawing.figure, "(a) trained net").lines
        assert list(forward.get_ydata()) == [44, 38, 32, 26, 20, 14]
        assert list(backward.get_ydata()) == [38, 32, 26, 20, 14, 8]
        training = panel(drawing.figure, "(b) training")
        assert [list(line.get_ydata()) for line in training.lines] == [[14, 20], [7, 10]]

    def test_epochs_alone_are_drawn_and_what_lacks_is_named(self, tmp_path: Path, write_run: Write) -> None:
        for seed, counts in ((0, [14.0, 20.0]), (1, [20.0, 26.0])):
            write_epochs(write_run(seed=seed), counts)
        drawing = drawn("nfe", tmp_path)
        assert any(note.startswith("(a) is empty: ") for note in drawing.notes)
        assert list(panel(drawing.figure, "(b) training").lines[0].get_ydata()) == [17, 23]

    def test_nets_of_the_papers_data_have_colours_before_others(
        self, tmp_path: Path, write_run: Write
    ) -> None:
        for number in range(12):
            config = {**ODENET, "model": {"name": "a"}, "data": {"name": f"digits{number:02}"}}
            write_epochs(write_run(f"digits-a-0a1b2c{number:02}", config=config), [8.0, 8.0])
        write_epochs(write_run(), [14.0, 20.0])
        drawing = drawn("nfe", tmp_path)
        first = panel(drawing.figure, "(b) training").lines[0]
        assert list(first.get_ydata()) == [14, 20]
        assert sum("left out" in note for note in drawing.notes) == 3
        assert not any("mnist" in note for note in drawing.notes)

    def test_recipes_of_the_same_name_say_what_differs_between_them(
        self, tmp_path: Path, write_run: Write
    ) -> None:
        for number, stem in enumerate(("conv", "$res")):
            config = {**ODENET, "model": {**ODENET["model"], "stem": stem}, "num_threads": number}
            write_epochs(write_run(f"mnist-odenet-0000000{number}", config=config), [8.0, 9.0])
        drawing = drawn("nfe", tmp_path)
        names = [text.get_text() for text in panel(drawing.figure, "(b) training").get_legend().get_texts()]
        assert names == [rf"odenet mnist dopri5 1e-3 adjoint, stem={stem}" for stem in (r"\$res", "conv")]

    def test_a_curve_that_others_lie_on_is_wider(self, tmp_path: Path, write_run: Write) -> None:
        rknet = {**ODENET, "model": {"name": "rknet", "gradient": "direct"}}
        for name, config, counts in (
            ("mnist-odenet-11111111", ODENET, [14.0, 20.0]),
            ("mnist-odenet-22222222", {**ODENET, "solver": {"method": "tsit5", "tol": 0.1}}, [8.0, 9.0]),
            ("mnist-rknet-33333333", rknet, [14.1, 20.0]),
        ):
            config = {**config, "data": {"name": "mnist"}}
            write_epochs(write_run(name, config=config), counts)
        lines = panel(drawn("nfe", tmp_path).figure, "(b) training").lines
        widths = [line.get_linewidth() for line in lines if line.get_linestyle() == "-"]
        assert widths[0] > widths[1] == widths[2]

    def test_neither_is_nothing_to_draw(self, tmp_path: Path, write_run: Write) -> None:
        write_run()
        with pytest.raises(NothingToDrawError, match="nodebench train experiment=table1_odenet"):
            drawn("nfe", tmp_path)
