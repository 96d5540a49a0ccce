"""How a run can end, and what it then leaves in its folder."""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import signal
from contextlib import suppress

import pytest
import torch

from nodebench.records import storage
from nodebench.reporting import find_runs
from nodebench.training import (
    RunFolder,
    RunFolderBusyError,
    RunFolderError,
    TrainingSettings,
    environment,
    train,
)
from nodebench.training.protocols import NonFiniteValuesError
from nodebench.training.schedules import make_schedule


class SolverError(ArithmeticError):
    """Stands for the solver library's error: training knows it by `failure_types` alone."""


def raise_at(step, error):
    def on(place, number):
        if (place, number) == ("batch", step):
            raise error

    return on


def read_summary(path):
    return json.loads((path / "summary.json").read_text())


def test_finished_run_is_returned_without_training(toy, unbroken, capsys):
    before = {file: file.stat().st_mtime_ns for file in unbroken.rglob("*")}
    task = toy.ToyTask()
    outcome = toy.toy_run(unbroken, task)
    assert outcome.status == "finished"
    assert not outcome.was_trained
    assert outcome.summary == read_summary(unbroken)
    assert task.trained_steps == []
    assert {file: file.stat().st_mtime_ns for file in unbroken.rglob("*") if file.name != "lock"} == {
        file: time for file, time in before.items() if file.name != "lock"
    }
    assert "already finished, trained with nodebench" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", '{"status": "fini', "[]", "{}", '{"status": "finished"}'])
def test_damaged_summary_is_made_again_from_the_checkpoint(toy, tmp_path, text):
    toy.toy_run(tmp_path / "run")
    whole = read_summary(tmp_path / "run")
    (tmp_path / "run" / "summary.json").write_text(text)
    task = toy.ToyTask()
    assert toy.toy_run(tmp_path / "run", task).status == "finished"
    assert task.trained_steps == []
    assert read_summary(tmp_path / "run")["error_test"] == whole["error_test"]


@pytest.mark.parametrize("damage", ["cut off", "gone"])
def test_finished_record_without_summary_and_checkpoint_is_not_overwritten(toy, tmp_path, damage):
    path = tmp_path / "run"
    toy.toy_run(path)
    shutil.rmtree(path / "checkpoints")
    (path / "summary.json").write_text('{"status": "fini')
    if damage == "gone":
        (path / "summary.json").unlink()
    before = {
        name: (path / name).read_bytes() for name in ("metrics.jsonl", "environment.json", "config.yaml")
    }
    with pytest.raises(RunFolderError, match=r"has the records of a finished run.*put summary.json back"):
        toy.toy_run(path)
    assert {name: (path / name).read_bytes() for name in before} == before
    assert toy.toy_run(path, force=True).status == "finished"


@pytest.mark.parametrize("name", ["environment.json", "metrics.jsonl"])
def test_other_damaged_files_are_named_with_what_to_do(toy, tmp_path, name):
    path = tmp_path / "run"
    toy.toy_run(path)
    (path / "summary.json").unlink()
    (path / name).write_text("{" * (path / name).stat().st_size)
    with pytest.raises(RunFolderError, match=f"{name}` is damaged .*; (remove it|put it back)"):
        toy.toy_run(path)


@pytest.mark.parametrize(
    "entry", [{"resumed_in": 5}, {"resumed_in": [5]}, {"packages": None}, {"version": [1]}]
)
def test_environment_of_somebody_elses_making_is_named_before_any_step(toy, tmp_path, entry):
    with pytest.raises(KeyError):
        toy.toy_run(tmp_path, toy.ToyTask(on=raise_at(12, KeyError())))
    path = tmp_path / "environment.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entry))
    task = toy.ToyTask()
    with pytest.raises(RunFolderError, match=r"environment.json` is damaged .*; remove it"):
        toy.toy_run(tmp_path, task)
    assert task.trained_steps == []
    path.unlink()
    assert toy.toy_run(tmp_path).status == "finished"


@pytest.mark.parametrize("entry", [{"git_commit": 5}, {"version": None}, {"git_dirty": "yes"}])
def test_summary_of_somebody_elses_making_is_written_anew_from_the_checkpoint(toy, tmp_path, entry):
    toy.toy_run(tmp_path)
    path = tmp_path / "summary.json"
    whole = json.loads(path.read_text())
    path.write_text(json.dumps(whole | entry))
    assert toy.toy_run(tmp_path).was_trained
    assert json.loads(path.read_text()).keys() == whole.keys()


def test_forced_run_that_is_interrupted_says_how_it_continues(toy, tmp_path, capsys):
    def interrupt(place, number):
        if (place, number) == ("batch", 5):
            os.kill(os.getpid(), signal.SIGINT)

    assert toy.toy_run(tmp_path, toy.ToyTask(on=interrupt), force=True).status == "interrupted"
    assert "the same command without training.force=true continues" in capsys.readouterr().err
    again = toy.ToyTask()
    toy.toy_run(tmp_path, again)
    assert len(again.trained_steps) == toy.NUM_STEPS - 6


class Killed(BaseException):
    """Stands for SIGKILL in this process."""


class TestFinishedRunThatIsTrainedAnew:
    """With another learning rate, so that its numbers tell it from the run before."""

    @pytest.fixture
    def path(self, toy, tmp_path):
        toy.toy_run(tmp_path / "run")
        return tmp_path / "run"

    @pytest.fixture
    def before(self, path):
        return contents_of(path)

    def test_is_kept_until_the_new_one_is_finished(self, toy, path, before, capsys):
        def interrupt(place, number):
            if (place, number) == ("batch", 15):
                os.kill(os.getpid(), signal.SIGINT)

        toy.toy_run(path, toy.ToyTask(on=interrupt), learning_rate=0.01, force=True)
        assert contents_of(path / "replaced") == before
        assert read_summary(path)["status"] == "interrupted"
        said = capsys.readouterr().err
        assert f"is kept in `{path / 'replaced'}` until this one is finished; to have it back, put" in said
        toy.toy_run(path, learning_rate=0.01)
        assert read_summary(path)["loss_train"] != json.loads(before["summary.json"])["loss_train"]
        assert not (path / "replaced").exists()

    def test_is_not_lost_when_the_new_one_is_forced_again_and_fails(self, toy, path, before):
        for _ in range(2):
            with pytest.raises(KeyError):
                toy.toy_run(path, toy.ToyTask(on=raise_at(12, KeyError())), force=True)
        assert contents_of(path / "replaced") == before

    def test_is_whole_in_one_place_whenever_the_setting_aside_is_killed(self, toy, path, before, monkeypatch):
        def killed_at_call(number):
            calls = itertools.count(1)

            def counted(original):
                def call(*arguments, **options):
                    if next(calls) == number:
                        raise Killed
                    return original(*arguments, **options)

                return call

            with monkeypatch.context() as patch:
                for name in ("replace", "link", "unlink", "rmdir", "mkdir", "fsync"):
                    patch.setattr(os, name, counted(getattr(os, name)))
                with suppress(Killed), RunFolder(path, force=True):
                    return False
            return True

        number = 1
        while killed_at_call(number):
            whole = next(run for run in (path / "replaced", path) if (run / "summary.json").exists())
            assert contents_of(whole) == before, number
            number += 1
        assert number > 20
        assert contents_of(path / "replaced") == before
        assert contents_of(path) == {}

    def test_is_no_second_row_of_a_table(self, toy, path):
        with pytest.raises(KeyError):
            toy.toy_run(path, toy.ToyTask(on=raise_at(12, KeyError())), force=True)
        assert [run.folder for run in find_runs(path.parent)] == [path]


def contents_of(path):
    """The files of a run by name, without its lock and what stands aside."""
    return {
        name: file.read_bytes()
        for file in path.rglob("*")
        if file.is_file()
        and (name := str(file.relative_to(path))) != "lock"
        and not name.startswith(("replaced", ".replaced"))
    }


def test_finished_run_of_another_commit_is_marked(toy, tmp_path, monkeypatch, capsys):
    toy.toy_run(tmp_path / "run")
    capsys.readouterr()
    monkeypatch.setattr(environment, "git_state", lambda file: {"git_commit": "f" * 40, "git_dirty": False})
    toy.toy_run(tmp_path / "run")
    assert "warning: this is nodebench 0.1.0 at commit ffffffffff" in capsys.readouterr().err


def test_run_continued_with_another_commit_says_so_and_is_marked_as_mixed(toy, tmp_path, monkeypatch, capsys):
    path = tmp_path / "run"
    with pytest.raises(KeyError):
        toy.toy_run(path, toy.ToyTask(on=raise_at(12, KeyError())))
    monkeypatch.setattr(environment, "git_state", lambda file: {"git_commit": "f" * 40, "git_dirty": False})
    outcome = toy.toy_run(path)
    assert "warning: continuing in another environment" in capsys.readouterr().err
    assert outcome.summary["mixed_versions"] is True
    assert [
        later["git_commit"] for later in json.loads((path / "environment.json").read_text())["resumed_in"]
    ] == ["f" * 40]


@pytest.mark.parametrize("failing", ["ls-files", "status", "rev-parse"])
@pytest.mark.parametrize("fails_first", [True, False])
def test_moment_without_git_makes_no_other_version(toy, tmp_path, monkeypatch, capsys, fails_first, failing):
    """As where git is being installed, or times out: the commit is not known, and known again later."""
    git = {"ls-files": "file", "status": "", "rev-parse": "f" * 40}

    def answers(fails):
        return lambda _, command, *arguments: None if fails and command == failing else git[command]

    path = tmp_path / "run"
    monkeypatch.setattr(environment, "_git", answers(fails_first))
    with pytest.raises(KeyError):
        toy.toy_run(path, toy.ToyTask(on=raise_at(12, KeyError())))
    monkeypatch.setattr(environment, "_git", answers(not fails_first))
    assert toy.toy_run(path).summary["mixed_versions"] is False
    toy.toy_run(path)
    assert "warning" not in capsys.readouterr().err
    assert "resumed_in" not in json.loads((path / "environment.json").read_text())


def test_force_trains_anew_and_removes_only_what_a_run_wrote(toy, tmp_path):
    path = tmp_path / "run"
    toy.toy_run(path)
    (path / "notes.txt").write_text("mine")
    task = toy.ToyTask()
    outcome = toy.toy_run(path, task, force=True)
    assert outcome.was_trained
    assert len(task.trained_steps) == toy.NUM_STEPS
    assert len((path / "metrics.jsonl").read_text().splitlines()) == 4
    assert (path / "notes.txt").read_text() == "mine"


def test_non_finite_loss_is_named_and_leaves_a_row(toy, tmp_path):
    class Diverging(toy.ToyTask):
        def loss(self, module, batch):
            output = super().loss(module, batch)
            if len(self.trained_steps) == 12:
                output.loss = output.loss * torch.nan
            return output

    outcome = toy.toy_run(tmp_path / "run", Diverging())
    assert outcome.status == "diverged"
    assert "the loss is nan at step 13 (epoch 2)" in outcome.reason
    summary = read_summary(tmp_path / "run")
    assert summary["status"] == "diverged"
    assert summary["step"] == 12
    assert summary["error_val"] is not None
    state = torch.load(tmp_path / "run" / "checkpoints" / "step-000000010.pt", weights_only=True)
    assert all(tensor.isfinite().all() for tensor in state["model"].values())


def test_weights_that_are_nan_when_the_last_epoch_is_evaluated_are_no_finished_run(toy, tmp_path):
    class BrokenAtTheEnd(toy.ToyTask):
        def evaluate(self, module, split, progress):
            if len(self.trained_steps) == toy.NUM_STEPS:
                raise NonFiniteValuesError("the net gives NaN or infinity for 8 of 8 val images")
            return super().evaluate(module, split, progress)

    outcome = toy.toy_run(tmp_path / "run", BrokenAtTheEnd())
    assert outcome.status == read_summary(tmp_path / "run")["status"] == "diverged"
    assert outcome.reason == (
        "the net gives NaN or infinity for 8 of 8 val images; lower the learning rate (optimizer.lr) "
        "or limit the gradient (training.clip_norm)"
    )


def test_failure_of_the_solver_is_a_status_with_its_reason(toy, tmp_path):
    task = toy.ToyTask(on=raise_at(12, SolverError("step size underflow at t=0.91")))
    outcome = toy.toy_run(tmp_path / "run", task, failure_types=(SolverError,))
    assert outcome.status == "failed"
    assert outcome.reason == "SolverError: step size underflow at t=0.91"
    assert read_summary(tmp_path / "run")["reason"] == outcome.reason
    assert "Traceback" in (tmp_path / "run" / "log.txt").read_text()


def test_other_exceptions_are_logged_with_their_traceback_and_raised_again(toy, tmp_path):
    error = KeyError("a bug")
    with pytest.raises(KeyError) as caught:
        toy.toy_run(tmp_path / "run", toy.ToyTask(on=raise_at(3, error)), failure_types=(SolverError,))
    assert caught.value is error
    assert read_summary(tmp_path / "run")["status"] == "failed"
    assert "raise error" in (tmp_path / "run" / "log.txt").read_text()


def test_failed_run_is_tried_again_from_its_checkpoint(toy, tmp_path, unbroken, assert_same_numbers):
    toy.toy_run(tmp_path / "run", toy.ToyTask(on=raise_at(12, SolverError())), failure_types=(SolverError,))
    toy.toy_run(tmp_path / "run")
    assert_same_numbers(tmp_path / "run", unbroken)


@pytest.mark.parametrize("name", ["metrics.jsonl", "step-000000020.pt", "config.yaml"])
def test_full_disk_is_a_clear_error_and_leaves_no_half_file(
    toy, tmp_path, unbroken, assert_same_numbers, monkeypatch, name
):
    path = tmp_path / "run"
    write = os.write

    def write_half(descriptor, content):
        target = os.readlink(f"/proc/self/fd/{descriptor}")
        if name in target and (name != "metrics.jsonl" or os.fstat(descriptor).st_size > 0):
            write(descriptor, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, content)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write_half)
        with pytest.raises(RunFolderError, match=r"the disk is full.*continues from the last checkpoint"):
            toy.toy_run(path)
    assert not list(path.rglob("*.tmp"))
    assert not (path / "checkpoints" / "step-000000020.pt").exists()
    for line in (
        (path / "metrics.jsonl").read_text().splitlines() if (path / "metrics.jsonl").exists() else ()
    ):
        json.loads(line)
    again = toy.ToyTask()
    toy.toy_run(path, again)
    assert len(again.trained_steps) == toy.NUM_STEPS - (0 if name == "config.yaml" else 10)
    assert_same_numbers(path, unbroken)


def test_folder_that_cannot_be_made_is_a_clear_error(toy, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match=r"cannot be written .* choose another one with output_dir"):
        toy.toy_run(tmp_path / "file" / "run")


def test_second_run_in_the_same_folder_is_refused_and_the_lock_ends_with_the_first(tmp_path):
    with (
        RunFolder(tmp_path),
        pytest.raises(RunFolderBusyError, match=f"process {os.getpid()} on .* is training"),
    ):
        RunFolder(tmp_path).__enter__()
    with RunFolder(tmp_path):
        pass


def test_lock_file_of_a_dead_process_does_not_stop_the_next(tmp_path):
    (tmp_path / "lock").write_text("1\n")
    with RunFolder(tmp_path):
        assert json.loads((tmp_path / "lock").read_text())["process"] == os.getpid()
    assert (tmp_path / "lock").read_text() == ""


def test_environment_and_config_hold_no_path_and_no_host_name(unbroken):
    for name in ("environment.json", "config.yaml"):
        text = (unbroken / name).read_text()
        assert str(unbroken) not in text
        assert os.uname().nodename not in text
        assert os.sep + "home" not in text
        assert str(storage.__file__) not in text


def test_commit_of_a_repository_that_does_not_track_the_file_is_not_reported(tmp_path):
    (tmp_path / "module.py").write_text("")
    assert environment.git_state(tmp_path / "module.py") == {"git_commit": None, "git_dirty": None}


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("num_steps", 0),
        ("schedule", "cosine"),
        ("warmup_share", 1.0),
        ("milestones", (0,)),
        ("gamma", 0.0),
        ("ema_decay", 1.0),
        ("clip_norm", 0.0),
        ("checkpoint_every_s", 0.0),
    ],
)
def test_setting_out_of_range_is_named_with_its_value(setting, value):
    with pytest.raises(ValueError, match=f"`{setting}` is "):
        TrainingSettings(**{"num_steps": 1, setting: value})


@pytest.mark.parametrize("num_steps", [1, 2, 3, 4, 5, 8, 40])
def test_one_cycle_starts_low_and_ends_low_for_any_number_of_steps(num_steps):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.4)
    schedule = make_schedule(optimizer, TrainingSettings(num_steps, schedule="one_cycle"), steps_per_epoch=10)
    rates = []
    for _ in range(num_steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert max(rates) <= 0.4
    assert rates[-1] < 0.01


def test_one_cycle_without_warm_up_begins_near_its_peak():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.4)
    make_schedule(optimizer, TrainingSettings(40, schedule="one_cycle", warmup_share=0), steps_per_epoch=10)
    assert 0.39 < optimizer.param_groups[0]["lr"] <= 0.4  # torch takes the first of 40 steps down from it


def test_multistep_divides_at_its_epochs():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    settings = TrainingSettings(6, schedule="multistep", milestones=(1, 2), gamma=0.1)
    schedule = make_schedule(optimizer, settings, steps_per_epoch=2)
    rates = []
    for _ in range(6):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


class TestOwnCode:
    """Code of the user's own that a run was made with: a hash a choice, as config/own_code.py gives it."""

    def run(self, toy, path, own_code, **settings):
        with RunFolder(path, own_code=own_code) as run:
            make = settings.pop("task", None) or toy.ToyTask()
            return train(
                make,
                toy.toy_module(),
                lambda p: torch.optim.AdamW(p, lr=0.05),
                toy.toy_settings(**settings),
                run,
            )

    def test_finished_run_tells_that_the_code_has_changed_since(self, toy, tmp_path, capsys):
        self.run(toy, tmp_path, {"model=mine": "1"})
        assert not self.run(toy, tmp_path, {"model=mine": "1"}).was_trained
        assert "the code behind" not in capsys.readouterr().err
        assert not self.run(toy, tmp_path, {"model=mine": "2"}).was_trained
        assert "warning: the code behind model=mine has changed since; the numbers" in capsys.readouterr().err
        self.run(toy, tmp_path, {})
        assert "the code behind model=mine is not found here" in capsys.readouterr().err

    def test_run_continued_with_other_code_says_so_and_is_marked_as_mixed(self, toy, tmp_path, capsys):
        with pytest.raises(KeyError):
            self.run(toy, tmp_path, {"model=mine": "1"}, task=toy.ToyTask(on=raise_at(12, KeyError())))
        outcome = self.run(toy, tmp_path, {"model=mine": "2"})
        assert "numbers may differ: the code behind model=mine has changed since" in capsys.readouterr().err
        assert outcome.summary["mixed_versions"] is True
        assert RunFolder(tmp_path, own_code={"model=mine": "2"}).own_code_changes() == []

    def test_run_of_shipped_choices_says_nothing_of_it(self, toy, tmp_path):
        self.run(toy, tmp_path, {})
        assert "own_code" not in json.loads((tmp_path / "environment.json").read_text())
