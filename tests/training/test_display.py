"""What a run shows: TensorBoard and the screen."""

from __future__ import annotations

import io
import os
import re
import signal

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nodebench.training.progress import Progress, shown
from nodebench.training.protocols import SolveCounts
from nodebench.training.records import StepMeasurement
from nodebench.training.tensorboard import tag_of


def read_events(path):
    events = EventAccumulator(str(path / "tensorboard"), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    return events


def read_scalars(path):
    events = read_events(path)
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }


def without_times(scalars):
    return {tag: values for tag, values in scalars.items() if "time" not in tag and "memory" not in tag}


def test_scalars_are_grouped(unbroken):
    scalars = read_scalars(unbroken)
    groups = {tag.partition("/")[0] for tag in scalars}
    assert groups == {"error", "loss", "nfe", "steps", "time", "memory", "lr", "result"}
    assert [step for step, _ in scalars["error/val"]] == [10, 20, 23]
    assert [step for step, _ in scalars["lr/lr"]] == [5, 15]


@pytest.mark.parametrize(
    ("column", "tag"),
    [
        ("error_val", "error/val"),
        ("loss_train", "loss/train"),
        ("nll", "nll/nll"),
        ("nll_tight", "nll/tight"),
        ("num_rejected_backward", "steps/rejected_backward"),
        ("time_epoch_s", "time/epoch_s"),
        ("memory_peak_mib", "memory/peak_mib"),
        ("num_params", "other/num_params"),
    ],
)
def test_tag_of_a_column(column, tag):
    assert tag_of(column) == tag


def test_config_and_hparams_are_in_the_run_itself_once(unbroken):
    events = read_events(unbroken)
    plugins = events.SummaryMetadata("_hparams_/session_start_info").plugin_data
    assert plugins.plugin_name == "hparams"
    assert b"model: toy" in events.Tensors("config/text_summary")[0].tensor_proto.string_val[0]
    assert len(read_scalars(unbroken)["result/error_test"]) == 1
    assert [entry for entry in (unbroken / "tensorboard").iterdir() if entry.is_dir()] == []


@pytest.mark.parametrize(("place", "number"), [("batch", 9), ("batch", 14), ("val", 0), ("test", 0)])
def test_events_of_a_continued_run_are_those_of_an_unbroken_one(toy, tmp_path, unbroken, place, number):
    class Killed(BaseException):
        pass

    def stop_twice():
        # First a signal, whose checkpoint is continued from; then a death that leaves events after a checkpoint.
        visits = []

        def on(current_place, current_number):
            if (current_place, current_number) == (place, number):
                visits.append(place)
                if len(visits) == 1:
                    os.kill(os.getpid(), signal.SIGINT)

        return on

    path = tmp_path / "run"
    assert toy.toy_run(path, toy.ToyTask(on=stop_twice())).status == "interrupted"

    def die(current_place, current_number):
        if (current_place, current_number) == ("batch", 22):
            raise Killed

    with pytest.raises(Killed) if place != "test" else pytest.MonkeyPatch.context():
        toy.toy_run(path, toy.ToyTask(on=die))
    toy.toy_run(path)
    assert without_times(read_scalars(path)) == without_times(read_scalars(unbroken))


def measured(**metrics):
    return StepMeasurement(128, 0.5, metrics, SolveCounts(20, 14), 100.0, 200.0, 400.0)


def test_without_a_terminal_there_is_a_line_an_epoch_and_no_bar(capsys):
    progress = Progress(num_steps=100, first_step=0)
    for _ in range(50):
        progress.step(measured(error_train=4.0))
    progress.epoch(
        {
            "epoch": 1,
            "step": 50,
            "loss_train": 0.52,
            "error_train": 3.1,
            "error_val": 1.2,
            "nfe_forward": 20.0,
            "nfe_backward": 14.0,
        }
    )
    progress.close()
    assert capsys.readouterr().err.splitlines() == [
        "about 00:32 of training left (0.400 s a step, 80 steps; evaluation comes on top)",
        "epoch 1, step 50/100: loss 0.5200, error 3.10 % train, 1.20 % val, NFE 20.0/14.0, 320 images/s, 00:20 left",
    ]


def test_bar_shows_loss_error_nfe_and_rate(capsys):
    progress = Progress(num_steps=100, first_step=40, show_bar=True, sample_unit="points")
    progress.step(measured(error_train=4.0))
    progress._bar.refresh()
    progress.close()
    assert "41/100" in (shown := capsys.readouterr().err)
    assert "loss 0.500, error 4.00 %, NFE 20/14, 320 points/s" in shown


def test_bar_counts_the_batches_of_an_evaluation_and_hands_them_on(capsys):
    progress = Progress(40, first_step=0, show_bar=True)
    assert list(progress.evaluation([5, 6, 7])) == [5, 6, 7]
    progress.close()
    assert re.findall(r"evaluating \d/\d", capsys.readouterr().err) == [
        f"evaluating {n}/3" for n in (1, 2, 3)
    ]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("fails", [False, True])
def test_a_bar_of_a_command_is_on_a_terminal_alone_and_nothing_of_it_stays(monkeypatch, capsys, fails):
    def work():
        with shown("evaluating") as progress:
            for number in progress(range(3)):
                if fails and number == 1:
                    raise ZeroDivisionError
            return number

    for screen in (Terminal(), io.StringIO()):
        monkeypatch.setattr("sys.stderr", screen)
        if fails:
            with pytest.raises(ZeroDivisionError):
                work()
        else:
            assert work() == 2
        text = screen.getvalue()
        assert ("evaluating:   0%" in text) == screen.isatty()
        assert text.rpartition("\r")[2].strip() == ""
