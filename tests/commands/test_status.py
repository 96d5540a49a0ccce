"""`nodebench status`: the screen once, and again until Ctrl-C."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nodebench import cli
from nodebench.commands import status


@pytest.fixture
def leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Leaves a run with this status in `outputs`."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, state: str) -> None:
        folder = Path("outputs", name)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "summary.json").write_text(json.dumps({"status": state, "reason": None}))

    return write


def looking(monkeypatch: pytest.MonkeyPatch, *between: Callable[[], None]) -> None:
    """Between two looks of --watch the next of these happens, and at last Ctrl-C."""
    events = iter(between)

    def sleep(seconds: float) -> None:
        assert seconds >= status.EVERY_S
        event = next(events, None)
        if event is None:
            raise KeyboardInterrupt
        event()

    monkeypatch.setattr(time, "sleep", sleep)


def test_states_are_printed_once(leave: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    leave("a", "finished")
    leave("b", "failed")
    assert cli.main(["status"]) == 0
    assert capsys.readouterr().out == (
        "runs         2 runs under outputs: 1 finished, 1 failed\n\n"
        "failed       outputs/b: it does not say why\n"
    )


def test_a_folder_without_runs_is_named(
    leave: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["status", "--runs", "nowhere"]) == 2
    assert capsys.readouterr().err == (
        "nodebench: there is no folder `nowhere`; name another folder with --runs\n"
    )
    Path("file").touch()
    assert cli.main(["status", "--runs", "file", "--watch"]) == 2


def test_watching_appends_what_has_changed_where_there_is_no_terminal(
    leave: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looking(monkeypatch, lambda: None, lambda: leave("a", "finished"), lambda: None)
    assert cli.main(["status", "--watch"]) == 0
    printed = capsys.readouterr().out
    assert [line for line in printed.split("\n") if "runs " in line] == [
        "runs         0 runs under outputs yet",
        "runs         1 run under outputs: 1 finished",
    ]
    assert "\x1b" not in printed


def test_watching_draws_over_the_screen_and_keeps_within_it(
    leave: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(9):
        leave(f"run{number}", "".join(chr(97 + number) for _ in range(5)))
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("LINES", "8")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    looking(monkeypatch, lambda: None)
    assert cli.main(["status", "--watch"]) == 0
    _, first, second = capsys.readouterr().out.split("\x1b[H")[1:]
    assert first.count("\n") == 7
    assert second.count("\n") == 7 + 1  # and where the prompt goes on
    assert "a taller window shows more" in first
    assert first.endswith("\x1b[J")
