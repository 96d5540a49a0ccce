"""The index of many runs: what it saves, and that it never tells of a run what its files do not."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nodebench import __version__
from nodebench.reporting import find_runs, index
from nodebench.reporting.run_files import Contents, read_files

WriteRun = Callable[..., Path]
Reads = list[str]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    """The folders whose files were read; five runs are many here, and files have settled as they are written."""
    folders: Reads = []

    def counted(folder: Path) -> Contents:
        folders.append(folder.name)
        return read_files(folder)

    monkeypatch.setattr(index, "MANY", 5)
    monkeypatch.setattr(index, "SETTLED_S", -1.0)
    monkeypatch.setattr(index, "read_files", counted)
    return folders


@pytest.fixture
def root(tmp_path: Path, write_run: WriteRun) -> Path:
    """Six runs: three finished, one failed, one unfinished, and one that is cut off."""
    folders = [write_run(seed=seed) for seed in range(6)]
    (folders[3] / "summary.json").write_text('{"status": "failed", "reason": "StepSizeError"}')
    (folders[4] / "summary.json").unlink()
    (folders[5] / "config.yaml").write_text("task: {name: classification}\n")
    return tmp_path / "outputs"


def index_file(root: Path) -> Path:
    return root / index.FOLDER / index.FILE


def test_what_was_read_once_is_not_read_again_and_says_the_same(root: Path, reads: Reads) -> None:
    first = find_runs(root)
    assert len(reads) == 6
    assert find_runs(root) == first
    assert len(reads) == 6
    assert [run.status for run in first] == ["finished"] * 3 + ["failed", "unfinished", "damaged"]
    assert (root / index.FOLDER / ".gitignore").read_text() == "*\n"


def test_a_file_that_cannot_be_read_is_tried_each_time(root: Path, reads: Reads) -> None:
    next(root.rglob("seed5/summary.json")).write_text("{")
    assert find_runs(root)[5].problem.startswith("summary.json cannot be read")
    find_runs(root)
    assert reads[6:] == ["seed5"]


def test_few_runs_have_no_index(root: Path, reads: Reads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "MANY", 7)
    find_runs(root)
    assert not (root / index.FOLDER).exists()


def test_a_changed_file_is_seen_though_its_size_and_its_time_are_as_before(root: Path, reads: Reads) -> None:
    runs = find_runs(root)
    path = runs[1].folder / "summary.json"
    text, status = path.read_text(), path.stat()
    changed = text.replace('"error_test": 0.5', '"error_test": 0.7')
    assert len(changed) == len(text)
    assert changed != text
    path.write_text(changed)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    assert find_runs(root)[1].summary["error_test"] == 0.7
    assert reads[6:] == ["seed1"]


def test_what_has_just_changed_is_read_again(
    root: Path, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "SETTLED_S", 60.0)
    find_runs(root)
    find_runs(root)
    assert len(reads) == 12


def test_runs_that_come_go_move_or_lose_a_file_are_as_they_are(
    root: Path, reads: Reads, write_run: WriteRun
) -> None:
    runs = find_runs(root)
    for path in runs[0].folder.rglob("*.*"):
        path.unlink()
    (runs[1].folder / "summary.json").unlink()
    runs[2].folder.rename(runs[2].folder.with_name("seed8"))
    write_run(seed=7)

    found = {run.folder.name: run.status for run in find_runs(root)}

    assert found == {
        **{"seed1": "unfinished", "seed3": "failed", "seed4": "unfinished", "seed5": "damaged"},
        **{"seed7": "finished", "seed8": "finished"},
    }
    assert sorted(reads[6:]) == ["seed1", "seed7", "seed8"]


def test_an_index_goes_with_the_folder_that_it_is_in(root: Path, reads: Reads) -> None:
    find_runs(root)
    moved = root.rename(root.with_name("elsewhere"))
    assert find_runs(moved)[0].folder.is_relative_to(moved)
    assert len(reads) == 6


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'"text"', b"{}"),
        b'{"made_by": %s, "runs": {}}',
        b'{"made_by": %s, "environments": 3, "runs": {}}',
        b'{"made_by": %s, "environments": [[]], "runs": {}}',
        b'{"made_by": %s, "environments": [{}], "runs": []}',
        b'{"made_by": %s, "environments": [{}], "runs": {"a": [[], {}, {}]}}',
        b'{"made_by": %s, "environments": [{}], "runs": {"a": [[7], {}, {}, 0]}}',
        b'{"made_by": %s, "environments": [{}], "runs": {"a": [[], [], {}, 0]}}',
        b'{"made_by": %s, "environments": [{}], "runs": {"a": [[], {}, {}, 5]}}',
        b'{"made_by": %s, "environments": [{}], "runs": {"a": 3}}',
    ],
)
def test_a_damaged_index_is_as_good_as_none(root: Path, reads: Reads, content: bytes) -> None:
    runs = find_runs(root)
    made_by = json.dumps(json.loads(index_file(root).read_text())["made_by"])
    index_file(root).write_bytes(content.replace(b"%s", made_by.encode()))
    assert find_runs(root) == runs
    assert len(reads) == 12
    find_runs(root)
    assert len(reads) == 12


def test_an_index_that_was_cut_off_is_as_good_as_none(root: Path, reads: Reads) -> None:
    runs = find_runs(root)
    whole = index_file(root).read_bytes()
    index_file(root).write_bytes(whole[: len(whole) // 2])
    assert find_runs(root) == runs
    assert index_file(root).read_bytes() == whole


def test_an_index_of_another_version_is_made_anew(root: Path, reads: Reads) -> None:
    find_runs(root)
    text = index_file(root).read_text()
    index_file(root).write_text(text.replace(json.dumps(__version__), '"0.0.1"').replace("0.5", "0.6"))
    assert find_runs(root)[0].summary["error_test"] == 0.5
    assert len(reads) == 12


def test_where_no_index_can_be_written_runs_are_read_each_time(root: Path, reads: Reads) -> None:
    (root / index.FOLDER).write_text("a file of somebody's")
    assert find_runs(root) == find_runs(root)
    assert len(reads) == 12
    assert (root / index.FOLDER).read_text() == "a file of somebody's"


@pytest.mark.parametrize("link", [index.FOLDER, f"{index.FOLDER}/{index.FILE}"])
def test_no_link_is_followed_out_of_the_folder(root: Path, reads: Reads, link: str) -> None:
    find_runs(root)
    elsewhere = (root / link).rename(root.with_name("elsewhere"))
    (root / link).symlink_to(elsewhere)
    forged = elsewhere / index.FILE if elsewhere.is_dir() else elsewhere
    text = forged.read_text().replace("0.5", "0.6")
    forged.write_text(text)

    assert find_runs(root)[0].summary["error_test"] == 0.5
    assert forged.read_text() == text


def test_values_that_json_would_change_are_read_from_the_file(root: Path, reads: Reads) -> None:
    path = next(root.rglob("seed2/config.yaml"))
    path.write_text(f"{path.read_text()}\nstarted: 2026-01-02\nsizes: {{1: one, .inf: two}}\n")
    first, second = find_runs(root), find_runs(root)
    assert first == second
    assert first[2].config["sizes"] == {1: "one", float("inf"): "two"}
    assert reads[6:] == ["seed2"]


def test_readers_at_the_same_time_all_read_what_is_there(root: Path, reads: Reads) -> None:
    with ThreadPoolExecutor(4) as readers:
        found = list(readers.map(find_runs, [root] * 8))
    assert all(runs == found[0] for runs in found)
    assert len(found[0]) == 6
    assert not list(index_file(root).parent.glob("*.tmp"))
