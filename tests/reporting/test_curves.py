"""The curves of training: what is drawn, over which runs, and what is said of what is not."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from nodebench.reporting import UnknownColumnError, find_runs
from nodebench.reporting.figures import Drawing, NothingToDrawError, draw

ODENET, MLP = "mnist-odenet-dopri5-1e-3-adjoint-0a1b2c3d", "mnist-mlp-1a2b3c4d"


@pytest.fixture
def train(write_run: Callable[..., Path]) -> Callable[..., Path]:
    """train(name, seed, errors, ...) writes a run with an epoch an error, each of 100 steps."""

    def write(name: str, seed: int, errors: Sequence[float | None], **settings: object) -> Path:
        folder = write_run(name, seed, **settings)
        records = [
            {"kind": "epoch", "epoch": number, "step": 100 * number, "error_val": error, "nfe_backward": 0.0}
            for number, error in enumerate(errors, start=1)
        ]
        (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records))
        return folder

    return write


@pytest.fixture
def drawn(tmp_path: Path) -> Callable[..., Drawing]:
    return lambda **asked: draw("curves", find_runs(tmp_path), **asked)


def curve(drawing: Drawing, name: str) -> list[tuple[float, ...]]:
    """Of the curve whose name begins so: x, mean, lowest, highest and how many runs, point by point."""
    table = drawing.data[drawing.data["curve"].str.startswith(name)]
    return [tuple(line) for line in table[["x", "mean", "lowest", "highest", "num_runs"]].to_numpy().tolist()]


def test_a_curve_is_the_mean_over_seeds_and_the_band_reaches_from_the_lowest_to_the_highest(
    train: Callable[..., Path], drawn: Callable[..., Drawing]
) -> None:
    for seed, last in enumerate((1.0, 2.0, 6.0)):
        train(ODENET, seed, [10.0, last])
    train(MLP, 0, [20.0, 5.0])
    drawing = drawn()
    assert curve(drawing, "odenet mnist") == [(1, 10, 10, 10, 3), (2, 3, 1, 6, 3)]
    assert curve(drawing, "mlp mnist") == [(1, 20, 20, 20, 1), (2, 5, 5, 5, 1)]
    (panel,) = drawing.figure.axes  # nfe_backward is 0 throughout
    assert len(panel.lines) == 2
    assert len(panel.collections) == 1  # of the one that has seeds
    assert drawing.notes == []


def test_curves_are_over_steps_and_of_any_column_where_that_is_asked_for(
    train: Callable[..., Path], drawn: Callable[..., Drawing]
) -> None:
    train(MLP, 0, [20.0, 5.0])
    drawing = drawn(columns=["nfe_backward", "error_val", "error_val"], x="step")
    assert [axes.get_title(loc="left") for axes in drawing.figure.axes] == ["nfe_backward", "error_val"]
    assert sorted(set(drawing.data["x"])) == [100, 200]


def test_a_task_without_epochs_is_drawn_over_steps_and_all_beside_it(
    train: Callable[..., Path], drawn: Callable[..., Drawing]
) -> None:
    train(MLP, 0, [20.0, 5.0])
    assert sorted(set(drawn().data["x"])) == [1, 2]
    flow = {
        "data": {"name": "two_moons"},
        "model": {"name": "cnf"},
        "task": {"name": "density", "steps_per_record": 100},
    }
    train("two_moons-cnf-2a2b3c4d", 0, [2.0, 1.0], config=flow)
    assert sorted(set(drawn().data["x"])) == [100, 200]
    assert sorted(set(drawn(x="epoch").data["x"])) == [1, 2]


def test_a_group_is_all_runs_that_share_the_values_of_its_settings(
    train: Callable[..., Path], drawn: Callable[..., Drawing]
) -> None:
    train(ODENET, 0, [4.0])
    train(ODENET.replace("0a1b", "ffff"), 0, [8.0])
    train(MLP, 0, [9.0])
    assert curve(drawn(group=["model.name"]), "model=odenet") == [(1, 6, 4, 8, 2)]
    by_seed = drawn(group=["data.name", "seed"])
    assert set(by_seed.data["curve"]) == {"data=mnist, seed=0"}


def test_a_run_that_ends_before_the_others_of_its_curve_is_named(
    train: Callable[..., Path], drawn: Callable[..., Drawing]
) -> None:
    train(ODENET, 0, [8.0, 6.0, 4.0])
    (train(ODENET, 1, [8.0]) / "summary.json").unlink()
    drawing = drawn()
    assert curve(drawing, "odenet")[-1] == (3, 4, 4, 4, 1)
    (note,) = drawing.notes
    assert note.endswith("seed 1 ends at epoch 1; behind that the curve is of the others")


def test_numbers_over_decades_are_drawn_on_a_logarithmic_axis(
    train: Callable[..., Path], drawn: Callable[..., Drawing]
) -> None:
    train(MLP, 0, [20.0, 5.0])
    assert drawn().figure.axes[0].get_yscale() == "linear"
    train(MLP, 1, [20.0, 0.05])
    assert drawn().figure.axes[0].get_yscale() == "log"


def test_what_no_run_has_is_told_with_the_nearest(
    train: Callable[..., Path], drawn: Callable[..., Drawing]
) -> None:
    train(MLP, 0, [20.0, None])
    with pytest.raises(
        UnknownColumnError, match="no run has a column `error_vla`; the nearest is `error_val`"
    ):
        drawn(columns=["error_vla"])
    with pytest.raises(
        UnknownColumnError, match=r"no run has a setting `model.nam`; the nearest is `model.name`"
    ):
        drawn(group=["model.nam"])


def test_runs_without_an_epoch_have_no_curves(
    write_run: Callable[..., Path], drawn: Callable[..., Drawing]
) -> None:
    write_run()
    with pytest.raises(NothingToDrawError, match="no run has recorded an epoch yet"):
        drawn()


def test_of_more_curves_than_there_are_colours_the_first_are_drawn(
    train: Callable[..., Path], drawn: Callable[..., Drawing]
) -> None:
    for number in range(12):
        train(MLP.replace("1a2b", f"{number:04x}"), 0, [20.0, 5.0])
    drawing = drawn()
    assert drawing.data["curve"].nunique() == 10
    (note,) = drawing.notes
    assert note.startswith("left out, for want of colours: 2 curves, from mlp mnist, ")


def test_a_name_from_a_config_is_drawn_as_it_stands(
    train: Callable[..., Path], drawn: Callable[..., Drawing], tmp_path: Path
) -> None:
    train(MLP, 0, [20.0, 5.0], config={"data": {"name": "<b>$x$"}, "model": {"name": "mlp\x1b[2J"}})
    drawing = drawn()
    texts = [text.get_text() for text in drawing.figure.legends[0].get_texts()]
    assert texts == [r"mlp\x1b[2J <b>\$x\$"]
    drawing.figure.savefig(tmp_path / "curves.png")
