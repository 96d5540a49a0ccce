"""Figure 7, drawn from small run folders written by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

from nodebench.reporting import find_runs
from nodebench.reporting.figures import Drawing, NothingToDrawError, draw
from nodebench.reporting.figures.drawing.series import OBSERVATION, PREDICTION, TRUTH
from nodebench.reporting.pictures import DamagedPicturesError
from nodebench.reporting.rate_pictures import read_rate_pictures

GRID = np.linspace(0.0, 10.0, 21)
ENCODERS = {"sine": "none", "spiral": "rnn"}
HASHES = {("sine", "none"): "a" * 8, ("spiral", "rnn"): "b" * 8, ("spiral", "none"): "c" * 8}
NUMBERS = {"nll_event_true": -0.8, "nll_event_constant": -0.6, "ks": 0.004, "rate_error": 0.02}


def pictures(num_sequences: int = 4) -> dict[str, np.ndarray]:
    """Sequence k has the true rate k + 2, the learned one k + 3 and k + 1 events."""
    numbers = np.arange(num_sequences)[:, None]
    events = np.where(np.arange(4) <= numbers, np.arange(4) + 0.5, np.nan)
    flat = np.ones((num_sequences, 21))
    return {
        "events": events,
        "grid": GRID,
        "rate": (numbers + 3) * flat,
        "rate_true": (numbers + 2) * flat,
        "rate_constant": np.array(2.5),
    }


Write = Callable[..., Path]


@pytest.fixture
def rate_run(write_run: Write, tmp_path: Path) -> Write:
    """rate_run(variant, seed, **summary) writes a finished run with its pictures under tmp_path."""

    def write(
        variant: str, seed: int = 0, *, shown: dict[str, Any] | None = None, encoder: str = "", **summary: Any
    ) -> Path:
        encoder = encoder or ENCODERS[variant]
        config = {
            "task": {"name": "point_process"},
            "data": {"name": "event_toy", "variant": variant},
            "model": {"name": "latent_rate", "encoder": encoder, "gradient": "direct"},
            "training": {"num_steps": 1000},
            "about": {"reproduces": "Figure 7"},
        }
        name = f"event_toy-latent_rate-dopri5-1e-5-direct-{HASHES[variant, encoder]}"
        folder = write_run(
            name,
            seed,
            config=config,
            root=tmp_path,
            **{"nll_event": -0.7 - 0.01 * seed, **NUMBERS, **summary},
        )
        np.savez(folder / "pictures.npz", **{**pictures(), **(shown or {})})
        return folder

    return write


def drawn(root: Path) -> Drawing:
    return draw("fig7", find_runs(root))


def lines(axes: Axes, colour: str) -> list[np.ndarray]:
    return [np.asarray(line.get_xydata()) for line in axes.lines if line.get_color() == colour]


def words(drawing: Drawing) -> str:
    inside = [text.get_text() for axes in drawing.figure.axes for text in axes.texts]
    return "\n".join([*inside, *(text.get_text() for text in drawing.figure.texts)])


def test_one_sequence_with_a_shared_rate_and_three_with_their_own_are_drawn_a_line_a_seed(
    tmp_path: Path, rate_run: Write
) -> None:
    for seed in range(3):
        rate_run("sine", seed)
        rate_run("spiral", seed, elbo_event=0.5, kl_z0=2.0)
    drawing = drawn(tmp_path)
    assert drawing.notes == []
    assert len(drawing.figure.axes) == 4
    for axes, sequence in zip(drawing.figure.axes, (0, 0, 1, 2), strict=True):
        (true,) = lines(axes, TRUTH["color"])
        assert set(true[:, 1]) == {sequence + 2}
        learned = lines(axes, PREDICTION["color"])
        assert [set(line[:, 1]) for line in learned] == [{sequence + 3}] * 3
        (events,) = lines(axes, OBSERVATION["color"])
        assert events[:, 0].tolist() == [0.5, 1.5, 2.5][: sequence + 1]
        assert axes.get_ylim()[0] < float(events[0, 1]) < 0
    assert [axes.get_ylabel() != "" for axes in drawing.figure.axes] == [True, True, False, False]


def test_what_the_rates_are_worth_is_said_below_and_in_the_data(tmp_path: Path, rate_run: Write) -> None:
    for seed in range(2):
        rate_run("sine", seed)
    rate_run("spiral", elbo_event=0.5, kl_z0=2.0)
    drawing = drawn(tmp_path)
    assert "learned -0.705 ± 0.064, true rate -0.800, constant rate -0.600" in words(drawing)
    assert "bound (with the KL of z(t0)) -0.500" in words(drawing)
    assert "relative: 0.020; KS distance of the rescaled times: 0.0040" in words(drawing)
    data = drawing.data.set_index(["data", "seed"])
    assert data.loc[("sine", "1"), "nll_event"] == -0.71
    assert data.loc[("spiral", "0"), "kl_z0"] == 2.0
    assert list(data["is_drawn"]) == [True, False, True]


def test_a_kind_without_a_run_says_how_it_is_made_and_none_at_all_is_an_error(
    tmp_path: Path, rate_run: Write
) -> None:
    with pytest.raises(NothingToDrawError, match="nodebench reproduce fig7"):
        drawn(tmp_path)
    rate_run("sine")
    drawing = drawn(tmp_path)
    assert words(drawing).count("no run") == 3
    assert drawing.notes == ["missing: rates of spiral: nodebench train experiment=fig7_spiral"]


def test_runs_that_could_not_know_a_rate_of_its_own_are_no_part_of_it(
    tmp_path: Path, rate_run: Write
) -> None:
    rate_run("sine")
    rate_run("spiral", encoder="none")
    assert "missing: rates of spiral" in drawn(tmp_path).notes[0]


@pytest.mark.parametrize(
    "shown", [{"rate": np.ones((4, 20))}, {"rate_true": np.ones((3, 21))}, {"rate_constant": np.ones(2)}]
)
def test_pictures_that_do_not_belong_together_are_named(
    tmp_path: Path, rate_run: Write, shown: dict[str, Any]
) -> None:
    folder = rate_run("sine", shown=shown)
    with pytest.raises(DamagedPicturesError, match="which do not belong together"):
        read_rate_pictures(folder)
    drawing = drawn(tmp_path)
    assert "no picture" in words(drawing)
    assert str(folder / "pictures.npz") in drawing.notes[-1]


def test_a_test_set_of_fewer_sequences_says_so(tmp_path: Path, rate_run: Write) -> None:
    rate_run("sine")
    rate_run("spiral", shown=pictures(2))
    assert words(drawn(tmp_path)).count("the test set has 2 sequences alone") == 1
