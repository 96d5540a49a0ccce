"""`nodebench reproduce`: what is finished is skipped, what lacks is trained, and the artefact is drawn at the end.

The artefact here is small: two experiments on the embedded digits, which `nodebench table` draws.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from nodebench import cli
from nodebench.commands import reproduce, session
from nodebench.commands.artefacts import ARTEFACTS, RECIPES, Artefact
from nodebench.commands.endings import Ending, train_member
from nodebench.commands.members import Member
from nodebench.config import files
from nodebench.config.compose import Composed
from nodebench.training import Outcome

EXPERIMENT = """# @package _global_
# A small experiment
defaults:
  - override /data: digits
  - override /model: {model}
  - override /training: smoke
about: {{{about}}}
data: {{batch_size: 8, limit_train: 64}}
sweep: {sweep}
"""
NETS = "{model.num_blocks: [0, 1], seed: [3]}"
MLPS = "{optimizer.lr: [0.1, 0.01]}"


@pytest.fixture(autouse=True)
def artefact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`small`, from experiments that lie beside the shipped ones."""
    configs = tmp_path / "configs"
    shutil.copytree(files.shipped_folder(), configs)
    for name, model, about, own_sweep in (
        ("nets", "resnet", "cost: 2 runs of two steps, minutes_a_run: 41.5", NETS),
        ("mlps", "mlp", "cost: nothing", MLPS),
    ):
        (configs / "experiment" / f"{name}.yaml").write_text(
            EXPERIMENT.format(model=model, about=about, sweep=own_sweep)
        )
    monkeypatch.setattr(files, "shipped_folder", lambda: configs)
    recipes = {
        "fast": (("experiment=nets",), ("experiment=mlps",)),
        "paper": (("experiment=mlps", "training.num_steps=3"),),
    }
    small = Artefact("small", "four nets", recipes, ("table", "model,error_test"))
    monkeypatch.setitem(ARTEFACTS, "small", small)


def statuses(folder: str = "outputs") -> list[str]:
    return sorted(json.loads(path.read_text())["status"] for path in Path(folder).rglob("summary.json"))


def test_what_lacks_is_trained_then_table_and_artefact_are_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["reproduce", "small"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("small, recipe fast: four nets\n4 runs: 0 done, 0 unfinished, 4 missing\n")
    assert "[1/4] resnet on digits, num_blocks 0, seed 3\n" in printed
    assert re.search(r"\[2/4, (about|less than) .* left\] resnet on digits, num_blocks 1, seed 3\n", printed)
    assert re.search(r"\[4/4, (about|less than) .* left\] mlp on digits, lr 0.01\n", printed)
    assert statuses() == ["finished"] * 4
    table, drawn = printed.split("table     nodebench table --runs outputs\n")
    assert {"model.num_blocks", "optimizer.lr", "0.01"} <= set(table.split())
    assert "optimizer.lr" not in drawn
    assert {"model", "error_test", "resnet", "mlp"} <= set(drawn.split())


def test_finished_runs_are_skipped_and_only_the_members_are_in_the_table(
    smoke: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["train", *smoke, "model=noblock"]) == 0
    assert cli.main(["train", "experiment=mlps", "optimizer.lr=0.1"]) == 0
    (done,) = Path("outputs").glob("*/digits-mlp-*/seed0")
    shutil.rmtree(done / "checkpoints")  # as in a committed record
    before = (done / "metrics.jsonl").stat().st_mtime_ns
    capsys.readouterr()

    assert cli.main(["reproduce", "small"]) == 0
    printed = capsys.readouterr()
    assert "4 runs: 1 done, 0 unfinished, 3 missing\n" in printed.out
    assert "[3/4" not in printed.out
    assert "already finished" not in printed.err
    assert (done / "metrics.jsonl").stat().st_mtime_ns == before
    table, drawn = printed.out.split("table     nodebench table")
    assert "noblock" not in table
    assert "noblock" in drawn

    assert cli.main(["reproduce", "small"]) == 0
    printed = capsys.readouterr()
    assert "4 runs: 4 done, 0 unfinished, 0 missing\n" in printed.out
    assert "[1/4]" not in printed.out


def test_a_dry_run_prints_state_command_counts_and_cost_and_trains_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    overrides = ["experiment=nets", "model.num_blocks=1", "seed=3", "output_dir=some runs"]
    assert cli.main(["train", *overrides[:-1], "output_dir='some runs'"]) == 0
    (folder,) = Path("some runs").glob("*/*/seed3")
    (folder / "summary.json").unlink()
    capsys.readouterr()

    assert cli.main(["reproduce", "small", "--dry-run", "--runs", "some runs"]) == 0
    assert capsys.readouterr().out == (
        "small, recipe fast: four nets\n"
        "missing     nodebench train experiment=nets 'output_dir=some runs' model.num_blocks=0 seed=3\n"
        "unfinished  nodebench train experiment=nets 'output_dir=some runs' model.num_blocks=1 seed=3\n"
        "missing     nodebench train experiment=mlps 'output_dir=some runs' optimizer.lr=0.1\n"
        "missing     nodebench train experiment=mlps 'output_dir=some runs' optimizer.lr=0.01\n"
        "4 runs: 0 done, 1 unfinished, 3 missing\n"
        "cost        experiment=nets: 2 runs of two steps; 41.5 minutes a run on one CPU core\n"
        "cost        experiment=mlps: nothing\n"
        "together    about 1 h 23 min on one CPU core for 2 runs that are not done; how long 2 more take nobody has "
        "measured\n"
    )
    assert statuses("some runs") == []
    assert not Path("outputs").exists()


def test_where_runs_and_artefact_go_is_looked_at_before_anything_is_trained(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("file").write_text("in the way")
    assert cli.main(["reproduce", "small", "--runs", "file/below"]) == 2
    printed = capsys.readouterr()
    assert "cannot write to `file/below`: Not a directory; choose another place with --runs" in printed.err
    assert "[1/4]" not in printed.out


def test_the_cost_is_that_of_the_runs_that_are_not_done(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "experiment=nets", "model.num_blocks=1", "seed=3"]) == 0
    assert cli.main(["train", "-m", "experiment=mlps"]) == 0
    capsys.readouterr()
    assert cli.main(["reproduce", "small", "--dry-run"]) == 0
    assert "together    about 42 min on one CPU core for 1 run that is not done\n" in capsys.readouterr().out
    assert cli.main(["reproduce", "small", "--dry-run", "--recipe", "paper"]) == 0
    assert "together    nobody has measured how long 2 runs take\n" in capsys.readouterr().out
    assert cli.main(["train", "experiment=nets", "model.num_blocks=0", "seed=3"]) == 0
    capsys.readouterr()
    assert cli.main(["reproduce", "small", "--dry-run"]) == 0
    assert "together" not in capsys.readouterr().out


def test_every_run_of_an_artefacts_fast_recipe_says_how_long_it_takes() -> None:
    for artefact in ARTEFACTS.values():
        if artefact.name != "small":
            for first, *_ in artefact.recipes["fast"]:
                path = files.shipped_folder() / "experiment" / f"{first.partition('=')[2]}.yaml"
                assert files.load(path)["about"]["minutes_a_run"] > 0, path


def test_seeds_make_a_run_of_each_with_one_seed_of_all_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "experiment=mlps", "optimizer.lr=0.1"]) == 0  # seed 0, as nobody said
    capsys.readouterr()
    assert cli.main(["reproduce", "small", "--seeds", "0,2,0", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[1:9] == [
        f"{state}nodebench train experiment={experiment} seed={seed} {key}"
        for seed in (0, 2)
        for experiment, key, state in (
            ("nets", "model.num_blocks=0", "missing     "),
            ("nets", "model.num_blocks=1", "missing     "),
            ("mlps", "optimizer.lr=0.1", "missing     " if seed else "done        "),
            ("mlps", "optimizer.lr=0.01", "missing     "),
        )
    ]
    assert "8 runs: 1 done, 0 unfinished, 7 missing\n" in printed
    assert cli.main(["reproduce", "fig8", "--dry-run"]) == 0  # its runs have a seed of their own
    plan = capsys.readouterr().out
    assert cli.main(["reproduce", "fig8", "--seeds", "0", "--dry-run"]) == 0
    assert capsys.readouterr().out == plan


@pytest.mark.parametrize("seeds", ["", "0,,1", "-1", "one", "0.5", "1²"])
def test_seeds_that_are_none_are_refused(seeds: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["reproduce", "small", f"--seeds={seeds}"]) == 2
    assert f"--seeds: {seeds} is not possible; it must be whole numbers" in capsys.readouterr().err


def test_with_jobs_what_lacks_is_trained_side_by_side_then_the_table_is_drawn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[int, int]] = []

    def run_side_by_side(
        members: Mapping[Path, Member], labels: Sequence[str], number: int
    ) -> dict[Path, Ending]:
        asked.append((len(members), number))
        assert list(labels)[-1] == "mlp on digits, num_steps 3, seed 1, lr 0.01"
        return {folder: train_member(member.composed) for folder, member in members.items()}

    monkeypatch.setattr(reproduce, "run_side_by_side", run_side_by_side)
    for _ in range(2):
        assert cli.main(["reproduce", "small", "--recipe", "paper", "--seeds", "1", "--jobs", "3"]) == 0
    assert asked == [(2, 2)]
    assert "2 runs: 2 done" in capsys.readouterr().out


def test_a_damaged_record_is_called_so_and_not_trained_over(
    smoke: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["train", "experiment=mlps", "optimizer.lr=0.1"]) == 0
    (folder,) = Path("outputs").glob("*/digits-mlp-*/seed0")
    shutil.rmtree(folder / "checkpoints")  # as in a committed record
    (folder / "summary.json").write_text('{"status": "fini')
    before = (folder / "metrics.jsonl").read_bytes()
    capsys.readouterr()
    assert cli.main(["reproduce", "small", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "damaged     nodebench train experiment=mlps optimizer.lr=0.1\n" in printed
    assert "4 runs: 0 done, 0 unfinished, 3 missing, 1 damaged\n" in printed
    assert cli.main(["reproduce", "small"]) == 1
    printed = capsys.readouterr()
    assert "has the records of a finished run" in printed.out + printed.err
    assert (folder / "metrics.jsonl").read_bytes() == before


def test_another_recipe_has_runs_of_its_own_in_the_folder_that_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["reproduce", "small", "--recipe", "paper", "--runs", "there"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"\[2/2, (about|less than) .* left\] mlp on digits, num_steps 3, lr 0.01\n", printed)
    assert "\ntable     nodebench table --runs there\n" in printed
    assert statuses("there") == ["finished"] * 2
    assert not Path("outputs").exists()


def test_a_member_that_fails_is_a_row_and_the_others_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train_run = session.train_run

    def break_the_first(composed: Composed, config_dir: str | None = None) -> Any:
        if composed.config["model"].get("num_blocks") == 0:
            raise ZeroDivisionError("division by zero")
        return train_run(composed, config_dir)

    monkeypatch.setattr(session, "train_run", break_the_first)
    assert cli.main(["reproduce", "small"]) == 1
    printed = capsys.readouterr().out
    assert statuses() == ["failed", "finished", "finished", "finished"]
    assert "failed    outputs/classification/digits-resnet-" in printed
    assert "ZeroDivisionError: division by zero" in printed
    assert printed.rstrip().splitlines()[-1].startswith("[")  # the artefact is drawn from the others

    monkeypatch.setattr(session, "train_run", train_run)
    assert cli.main(["reproduce", "small"]) == 0
    assert "4 runs: 3 done, 1 unfinished, 0 missing\n" in capsys.readouterr().out


def test_an_artefact_that_cannot_be_drawn_is_said_and_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ARTEFACTS["small"]
    drawn_by = ("table", "no_such_column")
    monkeypatch.setitem(ARTEFACTS, "small", Artefact("small", "", small.recipes, drawn_by))
    assert cli.main(["reproduce", "small", "--recipe", "paper"]) == 1
    assert "not drawn: no column is called `no_such_column`" in capsys.readouterr().out
    assert statuses() == ["finished"] * 2


@pytest.mark.usefixtures("signals_arrive")
@pytest.mark.parametrize(("number", "code"), [(2, 130), (15, 143)])
def test_a_signal_stops_all_members(monkeypatch: pytest.MonkeyPatch, number: int, code: int) -> None:
    ran = []

    def interrupted(composed: Composed, config_dir: str | None = None) -> Outcome:
        ran.append(composed.config["model"]["name"])
        return Outcome("interrupted", {}, "stopped", number)

    monkeypatch.setattr(session, "train_run", interrupted)
    if number == 2:
        assert cli.main(["reproduce", "small"]) == code
    else:
        with pytest.raises(SystemExit) as ended:
            cli.main(["reproduce", "small"])
        assert ended.value.code == code
    assert ran == ["resnet"]


def test_every_member_is_checked_before_the_first_one_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "configs" / "experiment" / "mlps.yaml"
    path.write_text(path.read_text().replace("[0.1, 0.01]", "[0.1, -1]"))
    assert cli.main(["reproduce", "small"]) == 2
    errors = capsys.readouterr().err
    assert "optimizer.lr=-1 is not possible" in errors
    assert "in the sweep's member experiment=mlps optimizer.lr=-1" in errors
    assert not Path("outputs").exists()


def test_a_misspelled_artefact_is_named_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["reproduce", "smal"]) == 2
    assert "unknown artefact `smal`. Did you mean `small`?" in capsys.readouterr().err


def test_help_names_every_artefact(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        reproduce.run(["--help"])
    printed = " ".join(capsys.readouterr().out.split())
    assert all(artefact.description in printed for artefact in ARTEFACTS.values())


def test_every_artefact_has_every_recipe_and_names_its_experiments_first() -> None:
    for artefact in ARTEFACTS.values():
        assert set(artefact.recipes) == set(RECIPES)
        firsts = [overrides[0] for recipe in artefact.recipes.values() for overrides in recipe]
        assert all(first.startswith("experiment=") for first in firsts)


class TestMeasuring:
    """An artefact whose runs are measured before it is drawn; `nodebench measure` is played by a stub."""

    @pytest.fixture(autouse=True)
    def measured(self, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
        """What the stub was asked for; it writes an empty measure.csv, as one that has only begun."""
        asked: list[list[str]] = []

        def run(argv: list[str]) -> int:
            asked.append(argv)
            (Path(argv[0]) / "measure.csv").write_text("")
            return 0

        small = ARTEFACTS["small"]
        recipes = {**small.recipes, "fast": (("experiment=mlps", "optimizer.lr=0.1"),)}
        chosen = Artefact("small", "", recipes, small.drawn_by, is_measured=True)
        monkeypatch.setitem(ARTEFACTS, "small", chosen)
        stub = types.ModuleType("nodebench.commands.measure")
        stub.run = run  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "nodebench.commands.measure", stub)
        return asked

    def test_what_is_trained_is_measured_until_it_is_complete(
        self, measured: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(["reproduce", "small"]) == 0
        assert cli.main(["reproduce", "small"]) == 0
        ((folder,), again) = measured
        assert [folder] == again
        assert f"measure   {folder}" in capsys.readouterr().out
        monkeypatch.setattr(reproduce, "_is_measured", lambda folder: True)
        assert cli.main(["reproduce", "small"]) == 0
        assert len(measured) == 2

    def test_a_dry_run_names_what_would_be_measured(
        self, measured: list[list[str]], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(["reproduce", "small", "--dry-run"]) == 0
        assert "\nmissing     nodebench measure outputs/classification/digits-mlp-" in capsys.readouterr().out
        assert cli.main(["reproduce", "small", "--dry-run", "--runs", "o ut"]) == 0
        assert "\nmissing     nodebench measure 'o ut/classification/digits-mlp-" in capsys.readouterr().out
        assert measured == []

    def test_a_committed_record_that_is_not_measured_says_so_and_is_drawn(
        self, measured: list[list[str]], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(["train", "experiment=mlps", "optimizer.lr=0.1"]) == 0
        (done,) = Path("outputs").glob("*/digits-mlp-*/seed0")
        shutil.rmtree(done / "checkpoints")
        capsys.readouterr()
        assert cli.main(["reproduce", "small"]) == 1
        printed = capsys.readouterr().out
        assert f"not measured: {done} has no checkpoint (a committed record has none)" in printed
        assert printed.rstrip().splitlines()[-1].startswith("[")
        assert measured == []


def test_table1_has_one_seed_of_every_row_before_the_second() -> None:
    for recipe in RECIPES:
        overrides = ARTEFACTS["table1"].recipes[recipe]
        assert len(overrides) == 18
        assert [override[-1] for override in overrides] == [
            f"seed={seed}" for seed in range(3) for _ in range(6)
        ]
        assert len({override[0] for override in overrides[:6]}) == 6


def test_table2_has_one_seed_of_every_cell_before_the_second_and_its_figures_show_some_of_them() -> None:
    for recipe in RECIPES:
        members = ARTEFACTS["table2"].recipes[recipe]
        assert len(set(members)) == 27
        assert [member[-1] for member in members] == [f"seed={seed}" for seed in range(3) for _ in range(9)]
        for figure, size in (("fig8", 2), ("fig9", 1), ("fig10", 3)):
            shown = ARTEFACTS[figure].recipes[recipe]
            assert len(shown) == size
            assert set(shown) <= set(members)
