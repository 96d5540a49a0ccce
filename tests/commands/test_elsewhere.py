"""Two sweeps that share members at the same time: what another process trains is left for the end, and waited for."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nodebench import cli
from nodebench.commands import elsewhere
from nodebench.commands.elsewhere import train_with_others
from nodebench.commands.endings import Ending, trained_elsewhere
from nodebench.commands.jobs import run_side_by_side
from nodebench.commands.members import compose_members
from nodebench.records.lock import holder_of, take_lock

FINISHED = Ending("finished")
ME = f"process {os.getpid()} on {os.uname().nodename}"


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """other(folder, *events): another process holds `folder`, and lets it go after these events, one a look."""
    held: dict[Path, Callable[[], None]] = {}

    def hold(folder: Path, *events: Callable[[], None]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        held[folder] = take_lock(folder)
        to_come = iter(events)

        def sleep(seconds: float) -> None:
            event = next(to_come, None)
            if event is None:
                held.pop(folder)()
            else:
                event()

        monkeypatch.setattr(elsewhere, "time", SimpleNamespace(sleep=sleep))

    return hold


def summarise(folder: Path, status: str, reason: str | None = None) -> None:
    code = {"version": "0.1.0", "git_commit": None, "git_dirty": None}
    (folder / "summary.json").write_text(json.dumps({"status": status, "reason": reason, **code}))


class TestMembersOfOneFunction:
    """Whose training is a stub that takes the names of those it trained."""

    @pytest.fixture
    def members(self, tmp_path: Path) -> dict[Path, Any]:
        return {tmp_path / name: name for name in "abc"}

    def train(self, members: dict[Path, Any]) -> tuple[list[str], dict[Path, Ending]]:
        trained = []

        def stub(chosen: Mapping[Path, Any]) -> dict[Path, Ending]:
            free = {folder: name for folder, name in chosen.items() if holder_of(folder) is None}
            trained.extend(free.values())
            return {folder: FINISHED if folder in free else trained_elsewhere(folder) for folder in chosen}

        return trained, train_with_others(members, stub)

    def test_are_trained_in_their_order_where_nobody_else_does(self, members: dict[Path, Any]) -> None:
        assert self.train(members) == (["a", "b", "c"], dict.fromkeys(members, FINISHED))

    def test_are_not_trained_where_the_other_process_finishes_them(
        self, members: dict[Path, Any], other: Callable[..., None], capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = list(members)[1]
        other(folder, lambda: None, lambda: summarise(folder, "finished"))
        assert self.train(members) == (["a", "c"], dict.fromkeys(members, FINISHED))
        printed = capsys.readouterr().out
        assert printed.count("waiting ") == 1
        assert f"waiting   for {folder}, which {ME} trains; Ctrl-C stops waiting" in printed
        assert f"finished  {folder}, trained elsewhere" in printed

    @pytest.mark.parametrize("summary", [None, "interrupted"])
    def test_are_trained_at_the_end_where_it_was_stopped_or_killed(
        self, members: dict[Path, Any], other: Callable[..., None], summary: str | None
    ) -> None:
        folder = next(iter(members))
        other(folder, *([lambda: summarise(folder, summary)] if summary else []))
        assert self.train(members) == (["b", "c", "a"], dict.fromkeys(members, FINISHED))

    def test_that_failed_elsewhere_are_not_tried_once_more(
        self, members: dict[Path, Any], other: Callable[..., None]
    ) -> None:
        folder = next(iter(members))
        other(folder, lambda: summarise(folder, "diverged", "not finite"))
        trained, endings = self.train(members)
        assert trained == ["b", "c"]
        assert endings[folder] == ("diverged", "not finite")


def test_a_sweep_trains_the_others_first_and_what_another_process_left_at_the_end(
    smoke: tuple[str, ...], other: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = [*smoke, "model=mlp", "seed=0,1"]
    members, _ = compose_members([[*overrides[:-1], "seed=0"], [*overrides[:-1], "seed=1"]])
    other(next(iter(members)))
    assert cli.main(["train", "-m", *overrides]) == 0
    printed = capsys.readouterr().out
    assert f"elsewhere {ME} trains it; it is left for the end" in printed
    first, second = (folder / "summary.json" for folder in members)
    assert first.stat().st_mtime_ns > second.stat().st_mtime_ns


def test_a_run_by_itself_is_refused_before_anything_is_loaded(
    smoke: tuple[str, ...],
    other: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    members, _ = compose_members([smoke])
    other(next(iter(members)))
    monkeypatch.setattr("nodebench.commands.session.assemble", lambda *_: pytest.fail("it was made"))
    assert cli.main(["train", *smoke]) == 1
    assert f"{ME} is training in" in capsys.readouterr().err


def test_of_jobs_side_by_side_none_is_started_for_a_member_that_is_held(
    smoke: tuple[str, ...], other: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    members, _ = compose_members([smoke])
    (folder,) = members
    other(folder)
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("it was started"))
    assert run_side_by_side(members, ["one"], 2) == {folder: trained_elsewhere(folder)}
