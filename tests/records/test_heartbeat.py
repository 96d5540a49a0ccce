"""What a run says of itself while it goes on: seldom enough to cost nothing, and gone when it has ended."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from nodebench.records import heartbeat
from nodebench.records.heartbeat import EVERY_S, Heart, ago, read_heartbeat


def beating(folder: Path, times: list[float]) -> list[int]:
    """The steps that a run says which begins each at one of `times`, in seconds."""
    now = iter(times)
    heart = Heart(folder, 100, lambda: next(now))
    said = []
    for step in range(len(times)):
        heart.beat(step, lambda: 12.5)
        beat = read_heartbeat(folder)
        assert beat is not None
        said.append(beat.step)
    return said


def test_a_run_says_how_far_it_is_at_once_and_then_every_few_seconds(tmp_path: Path) -> None:
    assert beating(tmp_path, [7.0, 7.1, 7.0 + EVERY_S, 7.1 + EVERY_S]) == [0, 0, 2, 2]


def test_steps_between_two_beats_estimate_nothing_and_write_nothing(tmp_path: Path) -> None:
    heart = Heart(tmp_path, 100, lambda: 0.0)
    heart.beat(1, lambda: None)
    before = (tmp_path / heartbeat.FILE).stat().st_mtime_ns

    def estimate() -> float:
        raise AssertionError("asked though nothing is said")

    heart.beat(2, estimate)
    assert (tmp_path / heartbeat.FILE).stat().st_mtime_ns == before


def test_it_names_process_and_host_and_stops(tmp_path: Path) -> None:
    heart = Heart(tmp_path, 100)
    heart.beat(3, lambda: 60.0)
    beat = read_heartbeat(tmp_path)
    assert beat is not None
    assert beat[:5] == (3, 100, 60.0, os.getpid(), os.uname().nodename)
    assert beat.age_s < 60
    heart.stop()
    heart.stop()
    assert read_heartbeat(tmp_path) is None


def test_a_folder_that_cannot_be_written_stops_no_training(tmp_path: Path) -> None:
    Heart(tmp_path / "gone", 100).beat(1, lambda: None)
    (tmp_path / f".{heartbeat.FILE}.tmp").mkdir()
    (tmp_path / f".{heartbeat.FILE}.tmp" / "in the way").mkdir()
    Heart(tmp_path, 100).beat(1, lambda: None)


@pytest.mark.parametrize(
    "change",
    [{"step": "3"}, {"step": True}, {"at": "now"}, {"seconds_left": "1"}, {"at": 1e300}, {"more": 1}],
)
def test_what_cannot_be_is_no_heartbeat(tmp_path: Path, change: dict[str, object]) -> None:
    Heart(tmp_path, 100).beat(3, lambda: 60.0)
    content = json.loads((tmp_path / heartbeat.FILE).read_text())
    (tmp_path / heartbeat.FILE).write_text(json.dumps({**content, **change}))
    assert read_heartbeat(tmp_path) is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(3.9, "3 s ago"), (240, "4 min ago"), (3 * 3600, "3 h ago"), (5 * 86400, "5 days ago")],
)
def test_how_long_ago_is_said_roughly(seconds: float, words: str) -> None:
    assert ago(seconds) == words
