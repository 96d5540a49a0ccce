"""What runs are doing, told from their folders alone, and one screen of it however many there are."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nodebench.records import heartbeat
from nodebench.records.heartbeat import Heart
from nodebench.records.lock import OWNER, take_lock
from nodebench.reporting.runs import SECTIONS, find_runs
from nodebench.reporting.states import (
    DAMAGED,
    FINISHED,
    RUNNING,
    SILENT_S,
    STALE,
    RunState,
    run_states,
)
from nodebench.reporting.status_screen import MAX_REASONS, MAX_RUNNING, status_lines

HERE = f"process {os.getpid()} on {os.uname().nodename}"


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """The folder of a run as it is from its first step on, in `runs`."""
    folder = tmp_path / "runs" / "run" / "seed0"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("seed: 0\n" + "".join(f"{section}: {{}}\n" for section in SECTIONS))
    return folder


@contextmanager
def trained(folder: Path) -> Iterator[None]:
    """Within, this process holds the folder."""
    let_go = take_lock(folder)
    try:
        yield
    finally:
        let_go()


def state_of(folder: Path) -> RunState:
    (state,) = run_states(folder)
    return state


def beat(folder: Path, step: int = 30, left: float | None = 90.0, **changes: Any) -> None:
    Heart(folder, 100).beat(step, lambda: left)
    content = json.loads((folder / heartbeat.FILE).read_text())
    (folder / heartbeat.FILE).write_text(json.dumps({**content, **changes}))


def summarise(folder: Path, status: str, reason: str | None = None) -> None:
    summary = {"status": status, "reason": reason, "step": 4, "num_steps": 100}
    (folder / "summary.json").write_text(json.dumps(summary))


class TestStates:
    def test_a_run_that_a_process_holds_is_running_with_step_and_time_left(self, begun: Path) -> None:
        with trained(begun):
            beat(begun, at=time.time() - 30)
            state = state_of(begun)
        assert (state.state, state.step, state.num_steps, str(state.holder)) == (RUNNING, 30, 100, HERE)
        assert state.seconds_left is not None
        assert 50 < state.seconds_left <= 60  # half a minute has gone since

    def test_the_heartbeat_of_a_killed_process_is_not_that_of_the_one_that_goes_on(self, begun: Path) -> None:
        beat(begun, process=1)
        with trained(begun):
            state = state_of(begun)
        assert (state.state, state.step) == (RUNNING, None)

    def test_a_run_that_goes_on_is_running_whatever_its_last_summary_says(self, begun: Path) -> None:
        summarise(begun, "interrupted", "SIGTERM at step 4 of 100")
        with trained(begun):
            assert state_of(begun).state == RUNNING
        assert state_of(begun).state == "interrupted"

    def test_a_run_whose_process_is_gone_is_stale_with_what_was_last_heard(self, begun: Path) -> None:
        beat(begun, at=time.time() - 7200, process=17, host="node7")
        state = state_of(begun)
        assert (state.state, state.step) == (STALE, 30)
        assert state.reason == "process 17 on node7 was last heard of 2 h ago"

    def test_a_stale_run_without_a_heartbeat_has_the_step_of_its_last_record(self, begun: Path) -> None:
        assert (state_of(begun).state, state_of(begun).step) == (STALE, None)
        (begun / "metrics.jsonl").write_text('{"kind": "epoch", "step": 10}\n{"kind": "epoch", "step": 20}\n')
        assert (state_of(begun).state, state_of(begun).step) == (STALE, 20)

    @pytest.mark.parametrize("status", ["interrupted", "diverged", "failed", "of a task of one's own"])
    def test_what_ended_otherwise_has_its_status_and_reason(self, begun: Path, status: str) -> None:
        summarise(begun, status, "why")
        state = state_of(begun)
        assert (state.state, state.step, state.num_steps, state.reason) == (status, 4, 100, "why")

    @pytest.mark.parametrize("text", ["{", "[]", "{}"])
    def test_a_damaged_summary_is_told(self, begun: Path, text: str) -> None:
        (begun / "summary.json").write_text(text)
        assert state_of(begun).state == DAMAGED
        assert "summary.json" in state_of(begun).reason

    @pytest.mark.parametrize("text", ["version: 2\n", "[]", "a: ["])
    def test_a_config_that_is_not_a_runs_is_told_as_tables_do(self, begun: Path, text: str) -> None:
        (begun / "config.yaml").write_text(text)
        (run,) = find_runs(begun)
        state = state_of(begun)
        assert (state.state, state.reason) == (run.status, run.problem)
        assert state.state == DAMAGED

    def test_a_finished_run_is_opened_no_further_than_its_summary(
        self, begun: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        summarise(begun, "finished")
        opened: list[str] = []
        usual = os.open

        def noting(path: Any, *args: Any, **settings: Any) -> int:
            opened.append(str(path))
            return usual(path, *args, **settings)

        monkeypatch.setattr(os, "open", noting)
        (begun / "config.yaml").unlink()
        assert state_of(begun).state == FINISHED
        assert opened == []  # Path.read_text does not go this way, whoever asks for a lock does


class TestOnAFileSystemWithoutLocks:
    @pytest.fixture(autouse=True)
    def without_locks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def flock(descriptor: int, operation: int) -> None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr(fcntl, "flock", flock)

    def held_by(self, folder: Path, host: str) -> None:
        owner = {"host": host, "process": 17, "started": None}
        (folder / OWNER).write_text(json.dumps(owner))

    def test_a_run_on_another_host_is_running_while_it_is_heard_of(self, begun: Path) -> None:
        self.held_by(begun, "node7")
        beat(begun, process=17, host="node7", at=time.time() - 60)
        state = state_of(begun)
        assert (state.state, state.step, str(state.holder)) == (RUNNING, 30, "process 17 on node7")

    def test_one_that_is_silent_is_stale_and_what_to_remove_is_named(self, begun: Path) -> None:
        self.held_by(begun, "node7")
        beat(begun, process=17, host="node7", at=time.time() - 2 * SILENT_S)
        state = state_of(begun)
        assert state.state == STALE
        assert state.reason == (
            f"process 17 on node7 was last heard of 30 min ago; if it is gone, remove {begun / OWNER}"
        )

    def test_one_that_never_said_anything_is_stale_too(self, begun: Path) -> None:
        self.held_by(begun, "node7")
        assert state_of(begun).reason.startswith("process 17 on node7 holds it; if it is gone, remove")


class TestScreen:
    def lines(self, states: list[RunState], width: int | None = None) -> list[str]:
        return status_lines(states, "outputs", width)

    def test_counts_come_first_and_those_that_are_finished_are_counted_alone(self) -> None:
        states = [
            *[RunState(Path(f"done{i}"), FINISHED) for i in range(1200)],
            RunState(Path("net/seed0"), "failed", reason="ValueError: no"),
        ]
        first, *rest = self.lines(states)
        assert first == "runs         1,201 runs under outputs: 1,200 finished, 1 failed"
        assert rest == ["", "failed       net/seed0: ValueError: no"]

    def test_a_running_one_is_said_with_step_time_left_and_host(self) -> None:
        holder: Any = "process 3 on node7"
        cases: list[tuple[tuple[Any, ...], str]] = [
            ((1200, 4000, 3725.0), "step 1,200 of 4,000, 1:02:05 left, process 3 on node7"),
            ((0, 4000, None), "step 0 of 4,000, process 3 on node7"),
            ((4000, 4000, 0.0), "step 4,000 of 4,000, evaluating, process 3 on node7"),
            ((None, None, None), "starting, process 3 on node7"),
        ]
        states = [RunState(Path("net/seed0"), RUNNING, *values, holder) for values, _ in cases]
        assert [line.partition(": ")[2] for line in self.lines(states)[2:]] == [words for _, words in cases]

    def test_those_that_ended_for_the_same_reason_are_one_line_whatever_the_numbers_in_it(self) -> None:
        states = [
            RunState(Path(f"net/seed{i}"), "diverged", reason=f"loss is {i}.5e+{i} at {i}") for i in range(5)
        ]
        states.append(RunState(Path("other/seed0"), "diverged", reason="weights are not finite"))
        assert self.lines(states)[2:] == [
            "diverged     5 runs, such as net/seed0: loss is … at …",
            "             other/seed0: weights are not finite",
        ]

    def test_ten_thousand_runs_of_all_states_are_one_screen(self) -> None:
        kinds = (FINISHED, RUNNING, STALE, DAMAGED, "interrupted", "failed", "diverged")
        states = [
            RunState(
                Path(f"run{i}/seed0"), kinds[i % len(kinds)], reason="".join(chr(97 + int(d)) for d in str(i))
            )
            for i in range(10_000)
        ]
        lines = self.lines(states)
        assert len(lines) <= 1 + (2 + MAX_RUNNING) + 5 * (3 + MAX_REASONS)
        assert sum(line.strip().startswith("and ") for line in lines) == len(kinds) - 1

    @pytest.mark.parametrize("width", [40, 100])
    def test_lines_keep_to_the_terminal_and_steer_it_nowhere(self, width: int) -> None:
        states = [RunState(Path("net/seed0"), "failed", reason="a word \x1b[2J and another " * 20)]
        text = "\n".join(self.lines(states, width))
        assert max(map(len, text.split("\n"))) <= width
        assert "\x1b" not in text


def test_states_of_many_runs_are_read_in_the_order_of_their_paths(
    write_run: Callable[..., Path], tmp_path: Path
) -> None:
    later, earlier = write_run("b-mlp-00000001", 0), write_run("a-mlp-00000002", 0, status="failed")
    assert [state.folder for state in run_states(tmp_path)] == [earlier, later]
