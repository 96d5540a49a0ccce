"""Rates of events from the command line: a file of one's own, and toy events up to Figure 7."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nodebench import cli

SHORT = ("task=point_process", "model=latent_rate", "training.num_steps=2", "solver.tol=1e-2")
TOY = ("data=event_toy", "data.num_train=6", "data.num_test=4", "data.batch_size=3", "data.rate=1.0")


def summary() -> dict[str, Any]:
    (path,) = Path("outputs").rglob("summary.json")
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def test_events_of_ones_own_are_trained_on_and_evaluated_with_another_tolerance(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("mine.csv").write_text(
        "id,time\n" + "".join(f"{i},{j + i / 7}\n" for i in range(5) for j in range(i))
    )
    own = ("data=events", "data.path=mine.csv", "data.t_start=-1", "data.t_end=5")
    assert cli.main(["train", *SHORT, *own, "model.encoder=rnn"]) == 0
    found = summary()
    assert found["status"] == "finished"
    assert {"nll_event", "nll_event_constant", "elbo_event", "kl_z0", "ks"} <= set(found)
    assert "rate_error" not in found
    (folder,) = Path("outputs").glob("point_process/*/seed0")
    capsys.readouterr()
    Path("mine.csv").rename("moved.csv")
    assert cli.main(["evaluate", str(folder), "data.path=moved.csv", "solver.tol=1e-4"]) == 0
    assert "nll_event" in capsys.readouterr().out


def test_the_window_of_a_file_is_said_where_it_was_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.csv").write_text("id,time\na,1\nb,2\nc,4\n")
    assert cli.main(["train", *SHORT, "data=events", "data.path=mine.csv"]) == 0
    assert "watched from t=1 to 4" in " ".join("".join(capsys.readouterr()).split())


def test_toy_events_of_both_kinds_are_drawn_as_figure_7(capsys: pytest.CaptureFixture[str]) -> None:
    for own in (("data.variant=sine",), ("data.variant=spiral", "model.encoder=gru")):
        assert cli.main(["train", *SHORT, *TOY, *own]) == 0
    capsys.readouterr()
    assert cli.main(["plot", "fig7"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("not the recipe of fig7") == 2
    assert sorted(path.suffix for path in Path("outputs/figures").iterdir()) == [".csv", ".pdf", ".png"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("data=event_toy", "task=density", "model=cnf"),
            "not from event sequences, which data=event_toy gives",
        ),
        (
            ("data=event_toy", "model=latent_ode"),
            "task=point_process trains a rate model, and model=latent_ode",
        ),
        ((*TOY, "model.encoder=ode_rnn"), "`model.encoder` is 'ode_rnn'; allowed: none, rnn, gru"),
    ],
)
def test_what_does_not_go_together_is_a_sentence(
    overrides: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = [
        each for each in SHORT if each.partition("=")[0] not in {o.partition("=")[0] for o in overrides}
    ]
    assert cli.main(["train", *chosen, *overrides]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
