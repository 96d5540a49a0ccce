"""Going on from a run on the command line: from its weights, with more epochs; and what cannot be, in a sentence."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from nodebench import cli
from nodebench.config.again import overrides_of
from nodebench.config.compose import compose
from nodebench.config.errors import ConfigError
from nodebench.config.identity import hash8, run_folder
from nodebench.config.saved import read_config
from nodebench.training import RunFolder, RunFolderError

DOCS = Path(__file__).parent.parent.parent / "docs"
TINY = (
    *("data=digits", "data.batch_size=8", "data.limit_train=16", "data.limit_val=8", "data.limit_test=8"),
    *("model=mlp", "training.schedule=constant"),
)


def trained(*overrides: str) -> Path:
    assert cli.main(["train", *overrides]) == 0
    return run_folder(compose(overrides).config)


def refused(capsys: pytest.CaptureFixture[str], *overrides: str) -> str:
    """What is said of a run that cannot be, for which nothing is written."""
    before = sorted(Path("outputs").rglob("*"))
    capsys.readouterr()
    assert cli.main(["train", *overrides]) == 2
    assert sorted(Path("outputs").rglob("*")) == before
    return " ".join(capsys.readouterr().err.split())


def weights(run: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(run / "checkpoints" / name, weights_only=True)
    return content


@pytest.fixture
def source() -> Path:
    return trained(*TINY, "training.epochs=2", "training.ema_decay=0.5")


def test_a_run_starts_from_the_weights_that_the_other_is_evaluated_with(source: Path) -> None:
    run = trained(*TINY, "training.epochs=1", f"training.from={source}", "optimizer.lr=1e-12")
    wanted = weights(source, "step-000000004.pt")["averaged"]
    for name, weight in weights(run, "step-000000002.pt")["model"].items():
        torch.testing.assert_close(weight, wanted[f"module.{name}"], rtol=0, atol=1e-7)


def test_a_run_that_starts_from_another_is_a_run_of_its_own_by_the_weights_and_not_by_the_place(
    source: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere" / source.parent.name / "seed0"
    shutil.copytree(source, elsewhere)
    fresh, one, other = (
        hash8(compose([*TINY, "training.epochs=1", *more]).config)
        for more in ([], [f"training.from={source}"], [f"training.from={elsewhere}"])
    )
    assert one == other != fresh


def test_a_source_that_has_been_trained_anew_makes_another_run_and_that_is_said(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = (*TINY, "training.epochs=1", f"training.from={source}")
    first = trained(*asked)
    other = trained(*TINY, "training.epochs=2", "training.ema_decay=0.5", "seed=1")
    shutil.rmtree(source / "checkpoints")
    shutil.copytree(other / "checkpoints", source / "checkpoints")
    capsys.readouterr()
    second = trained(*asked)
    assert second != first
    said = " ".join(capsys.readouterr().out.split())
    assert f"note {first} started from other weights of {source}, trained anew since" in said


def test_the_config_of_a_run_says_where_it_started_without_a_place_on_this_machine(
    source: Path, tmp_path: Path
) -> None:
    run = trained(*TINY, "training.epochs=1", f"training.from={source.absolute()}")
    kept = yaml.safe_load((run / "config.yaml").read_text())["training"]
    assert kept["from"] == f"{source.parent.name}/seed0"
    assert re.fullmatch("[0-9a-f]{16}", kept["from_weights"])
    assert str(tmp_path) not in (run / "config.yaml").read_text()


def test_the_command_that_makes_such_a_run_again_names_its_source(source: Path) -> None:
    run = trained(*TINY, "training.epochs=1", f"training.from={source}")
    again = overrides_of(read_config(run))
    assert f"training.from={source}" in again.overrides
    assert again.differences == ()
    assert run_folder(compose(again.overrides).config) == run


def test_a_run_from_before_there_was_anything_to_go_on_from_has_the_hash_it_had() -> None:
    config = compose([*TINY, "training.epochs=1"]).config
    older = {**config, "training": dict(config["training"])}
    for key in ("patience", "from", "from_weights", "extend"):
        del older["training"][key]
    assert hash8(older) == hash8(config)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["training.from=nowhere"], "training.from=nowhere: nowhere is no run folder"),
        (["training.from={source}", "model=odenet"], "is of another net: 26 weights are missing"),
        (["training.from_weights=abc"], "unknown key `training.from_weights`"),
        (["training.extend=nowhere"], "training.extend=nowhere: nowhere is no run folder"),
        (["training.extend={source}"], "has training.epochs=2 itself; give more than that, and not 1"),
        (
            ["training.extend={source}", "training.epochs=4", "optimizer.lr=1"],
            "it has optimizer.lr=0.004, and this",
        ),
        (["training.extend={source}", "training.num_steps=40"], "counts its length in training.epochs"),
        (["training.extend={source}", "training.epochs=4", "seed=3"], "has seed 0, and this run has 3"),
    ],
)
def test_what_cannot_be_gone_on_from_is_said(
    source: Path, capsys: pytest.CaptureFixture[str], overrides: list[str], said: str
) -> None:
    asked = [text.format(source=source) for text in overrides]
    length = () if any("epochs" in text or "num_steps" in text for text in asked) else ("training.epochs=1",)
    choices = {text.partition("=")[0] for text in asked}
    usual = [text for text in TINY if text.partition("=")[0] not in choices]
    assert said in refused(capsys, *usual, "training.ema_decay=0.5", *length, *asked)


def test_a_run_that_is_not_finished_is_no_start(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (source / "summary.json").unlink()
    said = refused(capsys, *TINY, "training.epochs=1", f"training.from={source}")
    assert "is not finished, so its weights are not its last" in said


def test_a_one_cycle_run_cannot_be_made_longer_and_what_can_be_done_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    usual = [text for text in TINY if "schedule" not in text]
    source = trained(*usual, "training.epochs=1")
    said = refused(capsys, *usual, "training.epochs=2", f"training.extend={source}")
    assert "the learning rates of one_cycle over 1 epochs are not the first of those over 2" in said
    assert f"training.from={source} starts a run of its own from its weights" in said


def test_a_run_with_more_epochs_has_the_folder_and_the_numbers_of_one_from_the_start(source: Path) -> None:
    asked = (*TINY, "training.epochs=4", "training.ema_decay=0.5")
    whole = trained(*asked, "output_dir=outputs/whole")
    longer = trained(*asked, f"training.extend={source.parent}")  # the folder of its seeds
    assert longer.relative_to("outputs") == whole.relative_to("outputs/whole")
    ends = (json.loads((run / "summary.json").read_text()) for run in (whole, longer))
    one, other = (
        {key: end[key] for key in ("step", "loss_train", "error_val", "error_test")} for end in ends
    )
    assert one == other
    shutil.rmtree(source)  # what has begun needs it no more
    assert cli.main(["train", *asked, f"training.extend={source}"]) == 0


def test_every_command_of_the_page_about_going_on_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", (DOCS / "going_on.md").read_text(encoding="utf-8"), re.DOTALL)
    commands = [shlex.split(line, comments=True) for line in "".join(blocks).splitlines() if line]
    assert len(commands) >= 5
    small = (
        "data.batch_size=8",
        "data.limit_train=16",
        "data.limit_val=8",
        "data.limit_test=8",
        "solver.tol=1",
    )
    run = ""
    for program, command, *arguments in commands:
        assert program == "nodebench"
        given = [text.replace("outputs/classification/RUN", run) for text in arguments]
        assert cli.main([command, *given, *(small if command == "train" else ())]) == 0, arguments
        run = run or str(run_folder(compose([*given, *small]).config).parent)


def test_a_place_that_is_no_run_is_refused_when_the_config_is_composed() -> None:
    with pytest.raises(ConfigError, match=r"training\.from=outputs: outputs is no run folder"):
        compose([*TINY, "training.from=outputs"])


class TestWeightsThatAreNotKept:
    """training.keep_checkpoints=false: a run that is finished is left as a published record is."""

    def test_a_finished_run_has_its_records_and_no_weights(self, capsys: pytest.CaptureFixture[str]) -> None:
        asked = (*TINY, "training.epochs=1")
        run = trained(*asked, "training.keep_checkpoints=false")
        assert run == run_folder(compose(asked).config)
        assert not (run / "checkpoints").exists()
        assert {"summary.json", "metrics.jsonl", "config.yaml"} <= {path.name for path in run.iterdir()}

        assert cli.main(["train", *asked]) == 0
        assert "already finished" in capsys.readouterr().err

        for checkpoint in ("last", "best"):
            assert cli.main(["evaluate", str(run), "--checkpoint", checkpoint]) == 2
            assert "were not kept, as training.keep_checkpoints=false asked" in capsys.readouterr().err
        assert cli.main(["train", *asked, "seed=1", f"training.from={run}"]) == 2
        assert "were not kept, as training.keep_checkpoints=false asked" in capsys.readouterr().err
        assert cli.main(["train", *TINY, "training.epochs=2", f"training.extend={run}"]) == 1
        assert "were not kept, as training.keep_checkpoints=false asked" in capsys.readouterr().err

    def test_one_that_is_asked_for_anew_has_them(self) -> None:
        asked = (*TINY, "training.epochs=1")
        run = trained(*asked, "training.keep_checkpoints=false")
        trained(*asked, "training.force=true")
        assert list((run / "checkpoints").glob("step-*.pt"))

    def test_a_longer_run_that_is_finished_needs_neither_its_own_nor_the_shorter_one(self) -> None:
        shorter = trained(*TINY, "training.epochs=1")
        asked = (*TINY, "training.epochs=2", f"training.extend={shorter}", "training.keep_checkpoints=false")
        trained(*asked)
        shutil.rmtree(shorter)
        trained(*asked)

    def test_nothing_is_removed_before_the_summary_is_on_the_disk(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> None:
            raise RunFolderError("the disk is full")

        asked = (*TINY, "training.epochs=1", "training.keep_checkpoints=false")
        with monkeypatch.context() as patch:
            patch.setattr(RunFolder, "write_summary", full)
            assert cli.main(["train", *asked]) == 1
        run = run_folder(compose(asked).config)
        assert list((run / "checkpoints").glob("step-*.pt"))
        trained(*asked)
        assert not (run / "checkpoints").exists()
