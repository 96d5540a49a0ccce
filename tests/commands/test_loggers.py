"""A logger of one's own is told every record, and nothing of the run depends on it."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import pytest

from nodebench import cli
from nodebench.config.compose import compose
from nodebench.config.identity import hash8, run_folder

DOCS = Path(__file__).parent.parent.parent / "docs" / "loggers.md"
TOLD: list[tuple[str, Any]] = []
SMALL = (
    *("data=digits", "data.batch_size=8", "data.limit_train=16", "data.limit_val=8", "data.limit_test=8"),
    *("model=mlp", "training.epochs=2"),
)


class Stub:
    """Keeps what it is told."""

    def __init__(self, run: str, config: dict[str, Any], project: str = "") -> None:
        TOLD.append(("made", (run, config["optimizer.lr"], project)))

    def log(self, step: int, values: dict[str, float]) -> None:
        TOLD.append(("log", (step, dict(values))))

    def close(self) -> None:
        TOLD.append(("close", None))


class Failing:
    def log(self, step: int, values: dict[str, float]) -> None:
        TOLD.append(("log", step))
        raise ConnectionError("the tracker is gone")


class NotALogger:
    pass


@pytest.fixture
def configs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A folder of configs with loggers of this module, under the name that they are found by."""
    module = ModuleType("stub_loggers")
    for made in (Stub, Failing, NotALogger):
        setattr(module, made.__name__, made)
    monkeypatch.setitem(sys.modules, "stub_loggers", module)
    folder = tmp_path / "own" / "logger"
    folder.mkdir(parents=True)
    (folder / "stub.yaml").write_text("# A stub\n_target_: stub_loggers.Stub\nproject: odes\n")
    (folder / "failing.yaml").write_text("_target_: stub_loggers.Failing\n")
    (folder / "none.yaml").write_text("_target_: stub_loggers.NotALogger\n")
    (folder / "wrong.yaml").write_text("_target_: stub_loggers.Stub\ncolour: red\n")
    TOLD.clear()
    yield folder.parent
    TOLD.clear()


def train(*overrides: str | Path) -> int:
    return cli.main(["train", *SMALL, *map(str, overrides)])


def test_each_record_is_told_by_its_columns_and_the_end_is_told(configs: Path) -> None:
    assert train("logger=stub", "--config-dir", configs) == 0
    run = run_folder(compose([*SMALL]).config)
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    (made, arguments), *logged, (last, _) = TOLD
    assert (made, last) == ("made", "close")
    assert arguments == (str(run), 0.004, "odes")
    assert [(step, values["loss_train"]) for _, (step, values) in logged] == [
        (record["step"], record["loss_train"]) for record in records
    ]
    assert logged[-1][1][1]["error_test"] == records[-1]["error_test"]
    assert all(isinstance(value, float) for _, (_, values) in logged for value in values.values())


def test_a_logger_changes_neither_the_name_nor_what_is_asked_of_the_run_later(
    configs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("logger=stub", "logger.project=mine", "--config-dir", configs) == 0
    with_logger = compose([*SMALL, "logger=stub"], configs).config
    assert hash8(with_logger) == hash8(compose(SMALL).config)
    run = run_folder(with_logger)
    assert TOLD[0] == ("made", (str(run), 0.004, "mine"))
    assert cli.main(["evaluate", str(run)]) == 0  # without the folder of configs
    assert "own_code" not in json.loads((run / "environment.json").read_text())
    capsys.readouterr()
    assert train() == 0
    assert "already finished" in capsys.readouterr().err


def test_a_logger_that_fails_is_told_no_more_and_the_run_is_whole(
    configs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("logger=failing", "--config-dir", configs) == 0
    assert TOLD == [("log", 2)]
    said = " ".join(capsys.readouterr().err.split())
    assert "the logger failed and is told no more (ConnectionError: the tracker is gone)" in said
    run = run_folder(compose(SMALL).config)
    assert json.loads((run / "summary.json").read_text())["status"] == "finished"
    assert "Traceback" in (run / "log.txt").read_text()


@pytest.mark.parametrize(
    ("logger", "said"),
    [
        ("none", "logger._target_=stub_loggers.NotALogger is no logger (a class with log(step, values))"),
        ("wrong", "the keys under logger do not fit Stub"),
        ("nothing", "unknown logger `nothing`"),
    ],
)
def test_what_is_no_logger_is_said_and_nothing_is_written(
    configs: Path, capsys: pytest.CaptureFixture[str], logger: str, said: str
) -> None:
    assert train(f"logger={logger}", "--config-dir", configs) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not Path("outputs").exists()


def test_without_a_folder_of_ones_own_there_is_no_logger(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("logger=wandb") == 2
    assert "none is shipped; write logger/wandb.yaml in a folder of your own" in " ".join(
        capsys.readouterr().err.split()
    )


@pytest.mark.parametrize("tracker", ["", "trackio", "wandb", "mlflow"])
def test_the_loggers_of_the_page_are_told(
    tracker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each example beside its yaml file; the trackers themselves are stubs."""
    text = DOCS.read_text(encoding="utf-8")
    codes, files = (re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL) for kind in ("python", "yaml"))
    (number,) = [
        n for n, code in enumerate(codes) if code.startswith(f"import {tracker}\n" if tracker else "class")
    ]
    stub = MagicMock()
    if tracker:
        monkeypatch.setitem(sys.modules, tracker, stub)
    (tmp_path / "my_configs" / "logger").mkdir(parents=True)
    (tmp_path / "my_loggers.py").write_text(codes[number])
    (tmp_path / "my_configs" / "logger" / "mine.yaml").write_text(files[number])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_loggers", raising=False)
    importlib.invalidate_caches()
    assert train("logger=mine", "--config-dir", tmp_path / "my_configs") == 0
    monkeypatch.delitem(sys.modules, "my_loggers")
    if not tracker:
        assert capsys.readouterr().out.count("\n2 ") == 1
        return
    logged, closed = {
        "trackio": (stub.log, stub.finish),
        "wandb": (stub.init.return_value.log, stub.init.return_value.finish),
        "mlflow": (stub.log_metrics, stub.end_run),
    }[tracker]
    assert [call.kwargs["step"] for call in logged.call_args_list] == [2, 4, 4]
    assert "error_test" in logged.call_args.args[0]
    closed.assert_called_once_with()
