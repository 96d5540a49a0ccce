"""A run folder that came from somebody else leads nowhere, and one without locks is locked all the same."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from nodebench.records import lock, storage
from nodebench.records.lock import Holder, holder_of
from nodebench.training import RunFolder, RunFolderBusyError, RunFolderError

FILES = ("summary.json", "metrics.jsonl", "config.yaml", "environment.json", "log.txt", "pictures.npz")
FOLDERS = ("checkpoints", "tensorboard")


@pytest.fixture
def elsewhere(tmp_path):
    """A file and a folder outside of every run, which must stay as they are."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "step-000000001.pt").write_text("mine too")
    yield tmp_path
    assert (tmp_path / "file").read_text() == "mine"
    assert [file.read_text() for file in (tmp_path / "folder").iterdir()] == ["mine too"]


class TestLinks:
    @pytest.mark.parametrize("name", ["lock", *FILES, *FOLDERS])
    @pytest.mark.parametrize("is_broken", [False, True])
    def test_where_a_run_writes_are_refused_by_name(self, toy, elsewhere, name, is_broken):
        target = elsewhere / ("nothing" if is_broken else "folder" if name in FOLDERS else "file")
        (elsewhere / "run").mkdir()
        (elsewhere / "run" / name).symlink_to(target)
        with pytest.raises(RunFolderError, match=f"{name}` is a link to `{target}`.*remove the link"):
            toy.toy_run(elsewhere / "run")
        assert not (elsewhere / "nothing").exists()

    def test_that_wait_for_a_half_written_file_are_removed(self, toy, elsewhere):
        (elsewhere / "run" / "checkpoints").mkdir(parents=True)
        for name in (*FILES, "checkpoints/step-000000010.pt"):
            folder, _, file = f"run/{name}".rpartition("/")
            (elsewhere / folder / f".{file}.tmp").symlink_to(elsewhere / "file")
        assert toy.toy_run(elsewhere / "run").status == "finished"

    def test_go_with_the_run_that_force_removes(self, toy, elsewhere):
        toy.toy_run(elsewhere / "run")
        shutil.rmtree(elsewhere / "run" / "checkpoints")
        for name in ("checkpoints", "replaced", ".replaced.tmp"):
            (elsewhere / "run" / name).symlink_to(elsewhere / "folder")
        (elsewhere / "run" / "log.txt").symlink_to(elsewhere / "file")
        assert toy.toy_run(elsewhere / "run", force=True).status == "finished"

    def test_in_the_place_of_an_evaluation_are_refused(self, elsewhere):
        (elsewhere / "evaluations.jsonl").symlink_to(elsewhere / "file")
        with pytest.raises(RunFolderError, match=r"evaluations.jsonl` is a link"):
            storage.append_durably(elsewhere / "evaluations.jsonl", b"{}\n")

    def test_to_the_run_folder_itself_are_the_users_own(self, toy, tmp_path):
        (tmp_path / "scratch").mkdir()
        (tmp_path / "run").symlink_to(tmp_path / "scratch")
        assert toy.toy_run(tmp_path / "run").status == "finished"


class TestFileSystemWithoutLocks:
    @pytest.fixture(autouse=True, params=[errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
    def without_locks(self, monkeypatch, request):
        def flock(descriptor, operation):
            raise OSError(request.param, os.strerror(request.param))

        monkeypatch.setattr(fcntl, "flock", flock)

    def hold(self, path, **changes):
        """Leave the file of a process as it is now, with changes."""
        with RunFolder(path):
            holder = json.loads((path / "lock.owner").read_text())
        (path / "lock.owner").write_text(json.dumps({**holder, **changes}))
        return holder

    def test_a_run_trains_and_leaves_no_lock(self, toy, tmp_path):
        assert toy.toy_run(tmp_path).status == "finished"
        assert not list(tmp_path.glob("lock.owner*"))

    def test_a_second_run_is_refused_with_host_and_process_of_the_first(self, tmp_path):
        message = f"process {os.getpid()} on {os.uname().nodename} is training in `{tmp_path}`"
        with RunFolder(tmp_path):
            with pytest.raises(RunFolderBusyError, match=message):
                RunFolder(tmp_path).__enter__()
            assert (tmp_path / "lock.owner").exists()
            assert str(holder_of(tmp_path)) == f"process {os.getpid()} on {os.uname().nodename}"
        assert holder_of(tmp_path) is None
        with RunFolder(tmp_path):
            pass

    @pytest.mark.parametrize("process", [None, 10**12, 10**30])  # beyond what the system counts to
    def test_a_process_that_is_gone_holds_nothing(self, tmp_path, process):
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()
        self.hold(tmp_path, process=process or ended.pid)
        assert holder_of(tmp_path) is None
        with RunFolder(tmp_path):
            assert json.loads((tmp_path / "lock.owner").read_text())["process"] == os.getpid()
        assert not list(tmp_path.glob("lock.owner*"))

    @pytest.mark.skipif(sys.platform != "linux", reason="only /proc tells two processes of one number apart")
    def test_a_later_process_of_the_same_number_is_another_one(self, tmp_path):
        self.hold(tmp_path, started="before the machine was started 17")
        with RunFolder(tmp_path):
            pass

    def test_a_process_on_another_host_may_be_alive_and_the_file_to_remove_is_named(self, tmp_path):
        self.hold(tmp_path, host="node17", process=4)
        with pytest.raises(
            RunFolderBusyError,
            match=r"process 4 on node17 .if it is gone, remove `.*lock.owner`. is training",
        ):
            RunFolder(tmp_path).__enter__()
        (tmp_path / "lock.owner").unlink()
        with RunFolder(tmp_path):
            pass

    @pytest.mark.parametrize("text", ["", "[]", '{"process": "x"}', "[" * 100_000])
    def test_a_file_that_tells_nothing_is_not_taken_over(self, tmp_path, text):
        (tmp_path / "lock.owner").write_text(text)
        assert str(holder_of(tmp_path)) == ("process x" if "x" in text else "a process that is not named")
        with pytest.raises(RunFolderBusyError, match=r"if it is gone, remove `.*lock.owner`"):
            RunFolder(tmp_path).__enter__()


def test_who_trains_is_told_and_whoever_looks_keeps_nobody_out(tmp_path):
    assert holder_of(tmp_path) is None
    with RunFolder(tmp_path):
        assert holder_of(tmp_path) == holder_of(tmp_path) == Holder(os.getpid(), os.uname().nodename)
        with pytest.raises(RunFolderBusyError):
            RunFolder(tmp_path).__enter__()
    assert holder_of(tmp_path) is None
    (tmp_path / "lock").unlink()
    os.mkfifo(tmp_path / "lock")
    assert holder_of(tmp_path) is None


def test_who_only_looks_at_that_moment_keeps_nobody_out(tmp_path, monkeypatch):
    (tmp_path / "lock").touch()
    looking = os.open(tmp_path / "lock", os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    waited = SimpleNamespace(sleep=lambda seconds: fcntl.flock(looking, fcntl.LOCK_UN))
    monkeypatch.setattr(lock, "time", waited)
    with RunFolder(tmp_path):
        pass
    os.close(looking)


def test_lock_that_the_system_refuses_is_an_error(tmp_path, monkeypatch):
    def flock(descriptor, operation):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(RunFolderError, match="Input/output error"):
        RunFolder(tmp_path).__enter__()


@pytest.mark.parametrize("line", ['{"kind": "epo', "[]"])
def test_damage_before_the_checkpoint_is_told_before_anything_is_trained(toy, tmp_path, line):
    def interrupt(place, number):
        if (place, number) == ("batch", 15):
            os.kill(os.getpid(), signal.SIGINT)

    toy.toy_run(tmp_path, toy.ToyTask(on=interrupt))
    content = (tmp_path / "metrics.jsonl").read_text()
    damaged = line.ljust(len(content) - 1) + "\n"
    (tmp_path / "metrics.jsonl").write_text(damaged)
    again = toy.ToyTask()
    with pytest.raises(RunFolderError, match=r"metrics.jsonl` is damaged .*; put it back as it was"):
        toy.toy_run(tmp_path, again)
    assert again.trained_steps == []
    assert (tmp_path / "metrics.jsonl").read_text() == damaged
    (tmp_path / "metrics.jsonl").write_text(content)
    assert toy.toy_run(tmp_path).status == "finished"
