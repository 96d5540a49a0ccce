"""`nodebench train -m`: members checked first, run one after the other, and a failing one is a row."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from tqdm import tqdm

from nodebench import cli
from nodebench.commands import members, session, sweep
from nodebench.commands.endings import train_member
from nodebench.commands.pace import Pace
from nodebench.commands.session import train_run
from nodebench.config import compose as compose_module
from nodebench.config import launch
from nodebench.config.compose import Composed, compose
from nodebench.config.errors import ConfigError
from nodebench.training import Outcome


def multirun(*arguments: str) -> int:
    return cli.main(["train", "-m", *arguments])


def statuses() -> list[str]:
    return sorted(json.loads(path.read_text())["status"] for path in Path("outputs").rglob("summary.json"))


def test_a_sweep_runs_every_combination_prints_a_table_and_resumes(
    smoke: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert multirun(*smoke, "model=rknet,mlp", "seed=0,1") == 0
    printed = capsys.readouterr().out
    assert "sweep     4 runs" in printed
    places = re.findall("^member    (.*?): ", printed, re.M)
    assert [place.partition(",")[0] for place in places] == ["1/4", "2/4", "3/4", "4/4"]
    assert all(re.search(r", (about \d\d:\d\d|less than a second) left$", place) for place in places[1:])
    assert statuses() == ["finished"] * 4
    table = printed.split("member")[-1]
    assert {"rknet", "mlp", "error_test"} <= set(table.split())

    assert multirun(*smoke, "model=rknet,mlp", "seed=0,1") == 0
    assert capsys.readouterr().err.count("already finished") == 4


def test_time_left_is_of_the_members_that_are_still_to_be_trained() -> None:
    now = 0.0
    pace = Pace([False, True, True, False, True], lambda: now)
    places = []
    for index, seconds in enumerate([0.1, 100.0, 200.0, 0.1, 0.0]):
        places.append(pace.place(index))
        with pace.timed(index):
            now += seconds
    assert places == ["1/5", "2/5", "3/5, about 03:20 left", "4/5, about 02:30 left", "5/5, about 02:30 left"]


def test_members_that_are_the_same_run_run_once(
    smoke: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert multirun(*smoke[:-1], "model=mlp", "solver.tol=1e-1,1e-2") == 0
    assert "sweep     1 run; 1 more combination asked for one of them again\n" in capsys.readouterr().out


def test_every_member_is_checked_before_the_first_one_runs(
    smoke: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    for impossible, message in {
        "solver.tol=1,0": "solver.tol=0 is not possible",
        "solver=dopri5,lsoda": "lsoda stores a dense Jacobian",
        "model=mlp,cnf": "task=classification trains a classifier, and model=cnf is a flow",
    }.items():
        assert multirun(*smoke[:-1], impossible) == 2
        errors = capsys.readouterr().err
        assert message in errors
        assert "in the sweep's member" in errors
    assert not Path("outputs").exists()


def test_a_member_that_fails_is_a_row_and_the_others_run(
    smoke: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = [text for text in smoke if not text.startswith(("data.batch_size", "solver"))]
    assert multirun(*overrides, "model=mlp", "data.batch_size=5000,8") == 1
    printed = capsys.readouterr().out
    assert statuses() == ["failed", "finished"]
    assert "failed    outputs/classification/digits-mlp-" in printed
    assert "\nfailed    `data.batch_size` is 5000" in printed.partition("member    2/2")[0]  # at once


def test_a_bug_in_one_member_is_kept_with_its_traceback(
    smoke: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def build_or_break(composed: Composed, config_dir: str | None = None) -> Any:
        if composed.config["seed"] == 0:
            raise ZeroDivisionError("division by zero")
        return train_run(composed, config_dir)

    monkeypatch.setattr(session, "train_run", build_or_break)
    assert multirun(*smoke[:-1], "model=mlp", "seed=0,1") == 1
    assert statuses() == ["failed", "finished"]
    assert (
        "ZeroDivisionError: division by zero (full traceback in outputs/nodebench.log)"
        in capsys.readouterr().out
    )
    assert "Traceback" in Path("outputs/nodebench.log").read_text()


@pytest.mark.usefixtures("signals_arrive")
@pytest.mark.parametrize(("number", "code"), [(2, 130), (15, 143)])
def test_a_signal_stops_the_whole_sweep(
    smoke: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    ran = []

    def interrupted(composed: Composed, config_dir: str | None = None) -> Outcome:
        ran.append(composed.config["seed"])
        return Outcome("interrupted", {}, "stopped", number)

    monkeypatch.setattr(session, "train_run", interrupted)
    if number == 2:
        assert multirun(*smoke, "seed=0,1") == code
    else:
        with pytest.raises(SystemExit) as ended:
            multirun(*smoke, "seed=0,1")
        assert ended.value.code == code
    assert ran == [0]


def test_a_run_that_could_not_be_built_does_not_overwrite_an_earlier_runs_config(
    smoke: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = ["optimizer=sgd", "training=smoke", "data=digits", "model=mlp"]

    def no_data(composed: Composed, config_dir: str | None = None) -> None:
        raise ConfigError("no data")

    monkeypatch.setattr(session, "train_run", no_data)
    assert train_member(compose(overrides)) == ("failed", "no data")
    (path,) = Path("outputs").rglob("config.yaml")
    path.write_text("seed: 0\n")
    assert train_member(compose(overrides)).status == "failed"
    assert path.read_text() == "seed: 0\n"


def test_a_run_that_could_not_be_built_anew_stays_finished(
    smoke: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = ["model=mlp", *smoke[:-1]]
    assert train_member(compose(overrides)).status == "finished"

    def no_data(composed: Composed, config_dir: str | None = None) -> None:
        raise ConfigError("no data")

    monkeypatch.setattr(session, "train_run", no_data)
    assert train_member(compose([*overrides, "training.force=true"])) == ("failed", "no data")
    assert statuses() == ["finished"]


def test_a_setting_that_the_launcher_here_does_not_have_is_refused_before_anything_runs(
    smoke: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert multirun(*smoke, "model=mlp", "seed=0,1", "hydra.launcher.n_jobs=2") == 2
    assert "hydra/launcher=basic has no setting `hydra.launcher.n_jobs`" in capsys.readouterr().err
    assert not Path("outputs").exists()


@pytest.mark.parametrize(
    ("launcher", "sentence"),
    [
        ("jobli", "unknown hydra/launcher `jobli`. Did you mean `joblib`?"),
        ("joblib,basic", "unknown hydra/launcher `joblib,basic`"),
        ("none_such", "hydra/launcher=none_such is not installed; pip install 'nodebench[none]' installs it"),
    ],
)
@pytest.mark.parametrize("done", [True, False])
def test_a_launcher_that_cannot_be_had_is_refused_before_a_line_is_printed(
    launcher: str,
    sentence: str,
    done: bool,
    smoke: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(launch.INSTALLED_WITH, "none_such", "nodebench[none]")
    monkeypatch.setattr(sweep, "_is_to_train", lambda folder, member: not done)
    for more in ([], ["--dry-run"]):
        assert multirun(*smoke, "seed=0,1", f"hydra/launcher={launcher}", *more) == 2
        printed = capsys.readouterr()
        assert sentence in printed.err
        assert printed.out == ""


class TestAnExperimentsOwnSweep:
    @pytest.fixture(autouse=True)
    def experiment(self, tmp_path: Path) -> None:
        """`mine`, which sweeps over seeds and learning rates."""
        (tmp_path / "own" / "experiment").mkdir(parents=True)
        self.write(tmp_path, "{seed: [0, 1], optimizer.lr: [0.1, 0.01]}")

    def write(self, folder: Path, own_sweep: str) -> None:
        (folder / "own" / "experiment" / "mine.yaml").write_text(
            "# @package _global_\n"
            "defaults: [override /data: digits, override /model: mlp, override /training: smoke]\n"
            "data: {batch_size: 8, limit_train: 64}\n"
            f"sweep: {own_sweep}\n"
        )

    def asked(self, *overrides: str) -> list[str]:
        members, _ = sweep.compose_members([list(overrides)], "own")
        return [" ".join(member.overrides) for member in members.values()]

    def test_m_runs_the_product_and_shows_what_varies(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert multirun("experiment=mine", "--config-dir", "own") == 0
        printed = capsys.readouterr().out
        assert "sweep     4 runs\n" in printed
        assert "note" not in printed
        assert statuses() == ["finished"] * 4
        assert {"optimizer.lr", "0.1", "0.01"} <= set(printed.split("member")[-1].split())
        assert not any("sweep" in path.read_text() for path in Path("outputs").rglob("config.yaml"))

    def test_without_m_its_single_values_are_run_and_a_note_says_what_m_would_do(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(["train", "experiment=mine", "--config-dir", "own"]) == 0
        note = "note      this experiment sweeps over seed, optimizer.lr: add -m to run all 4\n"
        assert note in capsys.readouterr().out
        assert statuses() == ["finished"]

    def test_a_key_on_the_command_line_replaces_its_list(self) -> None:
        assert self.asked("experiment=mine", "seed=5") == [
            "experiment=mine seed=5 optimizer.lr=0.1",
            "experiment=mine seed=5 optimizer.lr=0.01",
        ]
        assert self.asked("experiment=mine", "seed=5", "optimizer.lr=1") == [
            "experiment=mine seed=5 optimizer.lr=1"
        ]

    def test_it_joins_a_sweep_on_the_command_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert multirun("experiment=mine", "optimizer.lr=1", "seed=3,4", "--config-dir", "own") == 0
        assert "sweep     2 runs\n" in capsys.readouterr().out

    def test_members_that_repeat_one_another_count_once(self, tmp_path: Path) -> None:
        self.write(tmp_path, "{optimizer.lr: [0.1, 1.0e-1], seed: [0, 1]}")
        members, repeated = sweep.compose_members([["experiment=mine"]], "own")
        assert (len(members), repeated) == (2, 2)

    def test_a_value_that_cannot_be_is_named_before_anything_runs(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.write(tmp_path, "{data: [digits, no_such_data]}")
        assert multirun("experiment=mine", "--config-dir", "own") == 2
        errors = capsys.readouterr().err
        assert "unknown data `no_such_data`" in errors
        assert "(in the sweep's member experiment=mine data=no_such_data)" in errors
        assert not Path("outputs").exists()


def test_only_settings_that_differ_and_have_no_column_yet_become_columns() -> None:
    asked = [f"training=smoke data.val_size={size} solver.tol={size} seed={size}".split() for size in (1, 2)]
    members, _ = sweep.compose_members([[*overrides, "solver.max_steps=9"] for overrides in asked])
    assert sweep.varied_keys(members.values()) == ["data.val_size"]


class TestComposingManyMembers:
    """Hydra takes a tenth of a second a config: what members share is composed once, and a bar shows how far it is."""

    @pytest.fixture
    def bars(self, monkeypatch: pytest.MonkeyPatch) -> list[tqdm]:
        """The bars that were drawn, as they were left."""
        drawn: list[tqdm] = []

        class Bar(tqdm):  # type: ignore[type-arg]
            def __init__(self, **options: Any) -> None:
                super().__init__(**{**options, "disable": False, "delay": 0, "file": io.StringIO()})
                drawn.append(self)

        monkeypatch.setattr(members, "tqdm", Bar)
        return drawn

    def test_hydra_composes_once_for_each_choice(self, monkeypatch: pytest.MonkeyPatch) -> None:
        composed = []
        hydras = compose_module.hydra_compose
        monkeypatch.setattr(
            compose_module,
            "hydra_compose",
            lambda *args, **keys: composed.append(args) or hydras(*args, **keys),
        )
        asked = [
            [f"model={model}", "data=digits", f"seed={n}"] for model in ("mlp", "rknet") for n in range(5)
        ]
        found, _ = members.compose_members(asked)
        assert len(found) == 10
        assert len(composed) == 4  # to know what a choice of files recommends, then with that

    def test_the_bar_counts_members_also_of_an_experiments_own_sweep(self, bars: list[tqdm]) -> None:
        found, _ = members.compose_members([["experiment=fig4_cnf", "training.num_steps=9", "seed=0"]])
        (bar,) = bars
        assert len(found) > 1
        assert (bar.n, bar.total) == (len(found), len(found))
