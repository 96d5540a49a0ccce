"""What a run shows: TensorBoard and the screen."""

from __future__ import annotations

import io
import os
import re
import signal
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams.api_pb2 import ColParams, ListSessionGroupsRequest, Status
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.list_session_groups import Handler as ListSessionGroupsHandler
from tqdm import tqdm

from nodebench.records import COLUMNS
from nodebench.training.means import StepMeasurement
from nodebench.training.progress import Progress, about, shown
from nodebench.training.protocols import SolveCounts
from nodebench.training.series_image import series_image


def read_events(path):
    events = EventAccumulator(str(path), size_guidance={"scalars": 0, "tensors": 0})
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
        ("error_top5", "error/top5"),
        ("margin", "other/margin"),
        ("step", ""),
    ],
)
def test_tag_of_a_column(column, tag):
    assert COLUMNS[column].tag == tag


def test_config_and_hparams_are_in_the_run_itself_once(unbroken):
    events = read_events(unbroken)
    plugins = events.SummaryMetadata("_hparams_/session_start_info").plugin_data
    assert plugins.plugin_name == "hparams"
    assert b"model: toy" in events.Tensors("config/text_summary")[0].tensor_proto.string_val[0]
    assert len(read_scalars(unbroken)["result/error_test"]) == 1
    assert [entry for entry in unbroken.iterdir() if entry.is_dir()] == [unbroken / "checkpoints"]


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


def test_run_that_began_with_a_folder_of_events_goes_on_in_it(toy, tmp_path, unbroken):
    path = tmp_path / "run"
    toy.toy_run(
        path, toy.ToyTask(on=lambda *at: os.kill(os.getpid(), signal.SIGINT) if at == ("batch", 14) else None)
    )
    (path / "tensorboard").mkdir()
    for file in path.glob("events.*"):
        file.rename(path / "tensorboard" / file.name)
    toy.toy_run(path)
    assert list(path.glob("events.*")) == []
    assert without_times(read_scalars(path / "tensorboard")) == without_times(read_scalars(unbroken))
    toy.toy_run(path, force=True)
    assert not (path / "tensorboard").exists()
    assert without_times(read_scalars(path)) == without_times(read_scalars(unbroken))


def hparams_table(folder):
    """Column names of HPARAMS and of its metrics, and the rows, as TensorBoard's own backend gives them."""
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(folder))
    context = Context(TBContext(data_provider=provider, multiplexer=multiplexer))
    request_context = RequestContext()
    experiment = context.experiment_from_metadata(
        request_context, "", True, context.hparams_metadata(request_context, ""), []
    )
    metrics = [info.name.tag for info in experiment.metric_infos]
    request = ListSessionGroupsRequest(
        start_index=0,
        slice_size=10,
        allowed_statuses=[Status.Value("STATUS_SUCCESS"), Status.Value("STATUS_UNKNOWN")],
        col_params=[ColParams(hparam=info.name) for info in experiment.hparam_infos]
        + [ColParams(metric=info.name) for info in experiment.metric_infos],
    )
    rows = ListSessionGroupsHandler(request_context, context, "", request).run().session_groups
    return [info.name for info in experiment.hparam_infos], metrics, rows


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_hparams_have_the_columns_of_all_runs_whichever_comes_first(toy, tmp_path, order):
    """A net without a solver beside one with: TensorBoard takes all columns from one of them."""
    columns = {"model": "mlp", "method": str, "tol": float, "gradient": str, "seed": 0, "a_width": 3}
    for name, values in zip(
        order, (columns, columns | {"model": "cnf", "method": "dopri5", "tol": 1e-3}), strict=True
    ):
        toy.toy_run(tmp_path / name, num_steps=2, hparams=values)
    hparams, metrics, rows = hparams_table(tmp_path)
    assert set(hparams[:5]) == {"model", "method", "tol", "gradient", "seed"}
    assert hparams[5:] == ["a_width"]
    assert {"result/error_test", "result/nll", "result/kl_tight", "result/recon_error"} <= set(metrics)
    values = {row.hparams["model"].string_value: row for row in rows}
    assert values["cnf"].hparams["tol"].number_value == 1e-3
    assert not values["mlp"].hparams["tol"].HasField("kind")
    errors = [v.value for row in rows for v in row.metric_values if v.name.tag == "result/error_test"]
    assert len(errors) == 2


def image_of(path, tag):
    (event,) = [e for e in read_events(path).Images(tag)][-1:]
    return Image.open(io.BytesIO(event.encoded_image_string))


def picture_of(path):
    return np.asarray(image_of(path, "flow/density").convert("L"), dtype=int)


@pytest.mark.parametrize("grows_down", [False, True])
def test_pictures_are_drawn_the_way_up_that_the_task_says(toy, tmp_path, grows_down):
    class Pictured(toy.ToyTask):
        z2_grows_down = grows_down

        def pictures(self, module, is_final):
            return {"density": np.arange(4.0)[None, :, None] * np.ones((1, 4, 4))}

    toy.toy_run(tmp_path, Pictured(), num_steps=2)
    picture = picture_of(tmp_path)
    assert (picture[0, 0] > picture[-1, 0]) != grows_down


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_series_are_drawn_with_what_is_predicted_of_them(toy, tmp_path, dim):
    times = np.linspace(0.0, 6.0, 20)
    clean = np.stack([np.cos(times + shift)[:, None] * np.ones(dim) + np.arange(dim) for shift in range(3)])
    far = clean + 1e6  # of a model that is not trained
    values, observed = clean.copy(), np.tile(times < 3, (3, 1))
    values[:, 3, 0] = np.nan  # a coordinate that is missing

    class Pictured(toy.ToyTask):
        prediction = clean

        def pictures(self, module, is_final):
            return {
                **{"times": np.tile(times, (3, 1)), "clean": clean, "values": values, "observed": observed},
                **{"is_horizon": ~observed, "prediction": self.prediction},
            }

    shown = {}
    for name, prediction in (("near", clean), ("far", far), ("unknown", np.full_like(clean, np.nan))):
        task = Pictured()
        task.prediction = prediction
        toy.toy_run(tmp_path / name, task, num_steps=2)
        image = image_of(tmp_path / name, "series/prediction")
        assert image.width == 3 * image.height
        shown[name] = np.asarray(image.convert("RGB"), dtype=int)
    is_blue = {name: (pixels[..., 2] - pixels[..., 0] > 60).sum() for name, pixels in shown.items()}
    assert is_blue["near"] > 0
    assert is_blue["far"] == is_blue["unknown"] == 0
    is_black = {name: (pixels.sum(-1) < 90).sum() for name, pixels in shown.items()}
    assert is_black["far"] == is_black["unknown"] > 0


@pytest.mark.parametrize("dim", [2, 3])
def test_series_that_stay_where_they_are_or_lack_a_coordinate_are_drawn(dim):
    times = np.tile(np.arange(5.0), (2, 1))
    values = np.ones((2, 5, dim))
    values[1, :, 0] = np.nan
    pictures = {
        **{"times": times, "clean": np.full_like(values, np.nan), "values": values, "prediction": values},
        **{"observed": times < 3, "is_horizon": times > 3},
    }
    assert (series_image(pictures) < 90).any()


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


@pytest.fixture
def every_step(monkeypatch):
    """The bar is drawn at every step, however fast they follow each other."""

    class Eager(tqdm):
        def __init__(self, **settings):
            super().__init__(mininterval=0, **settings)

    monkeypatch.setattr("nodebench.training.progress.tqdm", Eager)


@pytest.mark.usefixtures("every_step")
def test_bar_shows_loss_error_nfe_and_rate(capsys):
    progress = Progress(num_steps=100, first_step=40, show_bar=True, sample_unit="points")
    progress.step(measured(error_train=4.0))
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


@pytest.mark.usefixtures("every_step")
@pytest.mark.parametrize("columns", [60, 80, 120])
def test_on_a_terminal_the_bar_has_room_and_no_line_ends_inside_a_word(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("sys.stderr", screen := Terminal())
    progress = Progress(num_steps=600, first_step=0)
    for _ in range(30):
        progress.step(measured(error_train=4.0))
    progress.close()
    shown = re.split(r"[\r\n]", screen.getvalue())
    assert max(map(len, shown)) <= columns
    last = [line for line in shown if "loss 0.500" in line][-1]
    assert len(re.search(r"\|(.*)\|", last)[1]) >= 8
    assert last.rstrip().endswith(("error 4.00 %", "NFE 20/14", "320 images/s", "loss 0.500"))
    said = " ".join(line.strip() for line in shown if "loss" not in line)
    assert "(0.400 s a step, 580 steps; evaluation comes on top)" in said


def test_the_one_step_that_is_left_is_no_steps(capsys):
    progress = Progress(num_steps=21, first_step=0)
    for _ in range(20):
        progress.step(replace(measured(), time_step_ms=2000.0))
    assert "(2.000 s a step, 1 step; evaluation comes on top)" in " ".join(capsys.readouterr().err.split())


def test_a_time_that_would_be_00_00_is_said_in_words():
    assert about(0.9) == "less than a second"
    assert about(65.4) == "about 01:05"


def test_a_run_that_is_about_to_end_says_nothing_of_the_time_left(capsys):
    progress = Progress(num_steps=21, first_step=0)
    for _ in range(20):
        progress.step(measured())
    progress.epoch({"epoch": 1, "step": 20, "loss_train": 0.5})
    assert "left" not in capsys.readouterr().err


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
