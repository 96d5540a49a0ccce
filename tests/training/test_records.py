"""The records of a run: their columns, and the means of an epoch."""

from __future__ import annotations

import json
import math

import pytest

from nodebench.records import COLUMNS
from nodebench.records.declared import point_process, time_series
from nodebench.training.means import EpochMeans, StepMeasurement, median_and_iqr
from nodebench.training.protocols import SolveCounts

COLUMNS_OF_DESIGN = [
    *(
        "kind",
        "epoch",
        "step",
        "step_best",
        "error_train",
        "error_val",
        "error_test",
        "loss_train",
        "num_params",
    ),
    *("flops_forward", "nfe_forward", "nfe_backward", "nfe_eval"),
    *("num_accepted_forward", "num_rejected_forward", "num_accepted_backward", "num_rejected_backward"),
    *("memory_saved_mib", "memory_peak_mib", "time_forward_ms", "time_forward_ms_iqr"),
    *("time_backward_ms", "time_backward_ms_iqr", "time_step_ms", "time_step_ms_iqr"),
    *("time_epoch_s", "time_epoch_s_iqr", "recon_error", "recon_ok"),
]
COLUMNS_OF_OWN_STEPS = ["nfe_sample_mean", "nfe_sample_median", "nfe_sample_worst"]
COLUMNS_OF_FLOWS = [
    *("nll_train", "nll_val", "nll", "nll_stderr", "nll_tight"),
    *("kl_train", "kl_val", "kl", "kl_stderr", "kl_tight", "mass_in_box"),
]


def step(loss=1.0, num_samples=2, counts=None, time_ms=5.0, **metrics):
    return StepMeasurement(num_samples, loss, metrics, counts, time_ms, 2 * time_ms, 4 * time_ms)


def test_columns_are_those_of_the_design_and_the_scores_of_other_tasks():
    names = ["kind", *(column.name for column in COLUMNS)]
    of_series = {column.name for column in (*time_series.COLUMNS, *point_process.COLUMNS)}
    of_processes = {"nfe_forward_max", "nfe_backward_max"}
    of_some = {*COLUMNS_OF_FLOWS, *COLUMNS_OF_OWN_STEPS, *of_series, *of_processes}
    assert [name for name in names if name not in of_some] == COLUMNS_OF_DESIGN
    assert [name for name in names if name in COLUMNS_OF_OWN_STEPS] == COLUMNS_OF_OWN_STEPS
    assert [name for name in names if name in COLUMNS_OF_FLOWS] == COLUMNS_OF_FLOWS
    assert of_series < set(names)


def test_records_of_a_run_hold_these_columns_in_this_order(unbroken):
    *epochs, final = [json.loads(line) for line in (unbroken / "metrics.jsonl").read_text().splitlines()]
    at_the_end = {
        "step_best",
        "error_test",
        "num_params",
        "flops_forward",
        "recon_error",
        "recon_ok",
        "time_epoch_s_iqr",
    }
    assert [(epoch["kind"], epoch["epoch"], epoch["step"]) for epoch in epochs] == [
        ("epoch", 1, 10),
        ("epoch", 2, 20),
        ("epoch", 3, 23),
    ]
    for epoch in epochs:
        assert list(epoch) == [name for name in COLUMNS_OF_DESIGN if name not in at_the_end]
    assert final["kind"] == "final"
    assert list(final) == COLUMNS_OF_DESIGN


def test_summary_repeats_the_final_record_beside_status_seed_and_versions(unbroken):
    final = json.loads((unbroken / "metrics.jsonl").read_text().splitlines()[-1])
    summary = json.loads((unbroken / "summary.json").read_text())
    assert {name: summary[name] for name in final if name != "kind"} == {
        k: v for k, v in final.items() if k != "kind"
    }
    assert summary["status"] == "finished"
    assert summary["reason"] is None
    assert summary["seed"] == 0
    assert {
        "version",
        "git_commit",
        "git_dirty",
        "mixed_versions",
        "torch",
        "device",
        "num_threads",
    } <= summary.keys()


def test_metrics_are_means_over_samples_and_counts_means_over_batches():
    means = EpochMeans()
    means.add(step(loss=1.0, num_samples=3, counts=SolveCounts(20, 14, 3, 1), error_train=10.0))
    means.add(step(loss=5.0, num_samples=1, counts=SolveCounts(26, 20, 4, 2), error_train=50.0))
    columns = means.columns()
    assert columns["loss_train"] == 2.0
    assert columns["error_train"] == 20.0
    assert (columns["nfe_forward"], columns["nfe_backward"]) == (23.0, 17.0)
    assert (columns["num_accepted_forward"], columns["num_rejected_forward"]) == (3.5, 1.5)
    assert columns["num_accepted_backward"] is None


def test_nets_without_an_ode_have_null_counts():
    means = EpochMeans()
    means.add(step())
    assert means.columns()["nfe_forward"] is None
    assert means.columns()["num_rejected_backward"] is None


def test_times_are_medians_with_the_distance_of_the_quartiles():
    means = EpochMeans()
    for time_ms in (1.0, 2.0, 3.0, 4.0, 100.0):
        means.add(step(time_ms=time_ms))
    columns = means.columns()
    assert (columns["time_forward_ms"], columns["time_forward_ms_iqr"]) == (3.0, 2.0)
    assert (columns["time_backward_ms"], columns["time_backward_ms_iqr"]) == (6.0, 4.0)
    assert columns["time_epoch_s"] == pytest.approx(0.44)
    assert median_and_iqr("time_epoch_s", [7.0]) == {"time_epoch_s": 7.0, "time_epoch_s_iqr": 0.0}


def test_means_continue_from_their_state():
    steps = [step(loss=math.pi * i, counts=SolveCounts(20 + i, 14), error_train=i / 7) for i in range(6)]
    whole, first, second = EpochMeans(), EpochMeans(), EpochMeans()
    for measured in steps:
        whole.add(measured)
    for measured in steps[:3]:
        first.add(measured)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for measured in steps[3:]:
        second.add(measured)
    assert second.columns() == whole.columns()


def test_columns_of_a_task_of_its_own_come_last():
    assert list(COLUMNS.ordered({"margin": 1.0, "step": 1, "kind": "epoch"})) == ["kind", "step", "margin"]


def test_numbers_that_are_not_finite_are_written_as_null(toy, tmp_path):
    class Unmeasurable(toy.ToyTask):
        def final_metrics(self, module):
            return {"recon_error": math.inf, "recon_ok": False}

    toy.toy_run(tmp_path / "run", Unmeasurable())
    final = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1]
    assert (
        json.loads(final, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))["recon_error"]
        is None
    )
