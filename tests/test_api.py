"""Runs in Python: what is loaded is what `nodebench evaluate` measures, and a program's own state stays as it was."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import nodebench
from nodebench import cli
from nodebench.config.compose import compose
from nodebench.config.identity import run_folder
from nodebench.models.ode_block import ode_blocks

SMOKE = ("data=digits", "training=smoke", "data.batch_size=8", "data.limit_train=64", "solver.tol=1")
DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A smoke run with averaged weights, in a folder of its own."""
    overrides = (*SMOKE, "training.ema_decay=0.9", f"output_dir={tmp_path_factory.mktemp('runs')}")
    assert cli.main(["train", *overrides]) == 0
    return run_folder(compose(overrides).config)


def evaluated(run: Path, *overrides: str) -> dict[str, Any]:
    """The record that `nodebench evaluate` leaves."""
    assert cli.main(["evaluate", str(run), *overrides]) == 0
    record: dict[str, Any] = json.loads((run / "evaluations.jsonl").read_text().splitlines()[-1])
    return record


@pytest.mark.parametrize(
    ("overrides", "solver", "settings"),
    [
        ((), None, {}),
        (("solver=rk4", "solver.dt=0.25"), "rk4", {"dt": 0.25}),
        (("solver.tol=1e-2",), None, {"tol": 1e-2}),
    ],
)
def test_a_loaded_run_gives_what_the_command_gives_and_records_nothing(
    trained: Path, overrides: tuple[str, ...], solver: str | None, settings: dict[str, Any]
) -> None:
    record = evaluated(trained, *overrides)
    lines = (trained / "evaluations.jsonl").read_text()
    scores = nodebench.load(trained).evaluate(solver, **settings)
    assert "error_test" in scores
    assert scores.items() <= record.items()
    assert (trained / "evaluations.jsonl").read_text() == lines


def test_a_loaded_net_has_the_averaged_weights_and_is_ready_to_be_evaluated(trained: Path) -> None:
    run = nodebench.load(trained)
    newest = max((trained / "checkpoints").glob("step-*.pt"))
    averaged = torch.load(newest, weights_only=True)["averaged"]
    for name, weight in run.model.state_dict().items():
        torch.testing.assert_close(weight, averaged[f"module.{name}"], rtol=0, atol=0)
    assert not run.model.training
    assert run.step == 2
    assert run.config["model"]["name"] == "odenet"


def test_evaluating_with_another_solver_leaves_the_net_as_it_was(trained: Path) -> None:
    run = nodebench.load(trained)
    images = run.task.batch(0).images
    before = run.model(images)
    run.evaluate("euler", dt=0.5)
    torch.testing.assert_close(run.model(images), before, rtol=0, atol=0)


def test_weights_that_were_changed_by_hand_are_those_that_are_evaluated(trained: Path) -> None:
    run = nodebench.load(trained)
    with torch.no_grad():
        for parameter in run.model.parameters():
            parameter.zero_()
    wrong = run.task.evaluate(run.model, "test")["error_test"]  # every image is called a 0
    assert run.evaluate("rk4", dt=0.5)["error_test"] == wrong


def test_loading_disturbs_neither_random_numbers_nor_settings_of_torch(trained: Path) -> None:
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    wanted = (torch.rand(3).tolist(), random.random(), np.random.rand())
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    threads, had = torch.get_num_threads(), torch.backends.cudnn.benchmark
    torch.set_num_threads(threads + 1)
    torch.backends.cudnn.benchmark = True
    try:
        nodebench.load(trained).evaluate("euler", dt=1)
        assert torch.get_num_threads() == threads + 1
        assert torch.backends.cudnn.benchmark
    finally:
        torch.set_num_threads(threads)
        torch.backends.cudnn.benchmark = had
    assert (torch.rand(3).tolist(), random.random(), np.random.rand()) == wanted


def test_a_net_that_is_compiled_for_many_batches_is_one_of_its_own(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodebench.config.build.missing_compiler", lambda device: None)
    run = nodebench.load(trained)
    images = run.task.batch(0).images
    own, other = run.solved(compile=True), run.solved("rk4", dt=0.25, compile=True)
    torch.testing.assert_close(own(images), run.model(images), rtol=0, atol=0)  # few batches are eager
    for net, method in ((own, "dopri5"), (other, "rk4")):
        (block,) = ode_blocks(net)
        assert (block.solver.method, block.solver.compile, block.compiles_evaluation) == (method, True, True)
        assert not net.training
    (block,) = ode_blocks(run.model)
    assert (block.solver.compile, block.compiles_evaluation) == (False, False)

    monkeypatch.setattr("nodebench.config.build.missing_compiler", lambda device: "no C++ compiler was found")
    with pytest.raises(nodebench.ConfigError, match=r"compile=True would .*no C\+\+ compiler was found"):
        run.solved(compile=True)


def test_what_cannot_be_loaded_or_solved_is_one_sentence(trained: Path) -> None:
    with pytest.raises(nodebench.ConfigError, match=r"is no run folder.*there is one in .*seed0"):
        nodebench.load(trained.parent)
    with pytest.raises(ValueError, match="cannot be changed here"):
        nodebench.load(trained, "optimizer.lr=1")
    run = nodebench.load(trained)
    with pytest.raises(nodebench.ConfigError, match="Did you mean `rk4`"):
        run.evaluate("rk5")
    with pytest.raises(nodebench.FailedError, match=r"solver\.max_nfe=3 reached"):
        run.evaluate(max_nfe=3)


def test_a_frame_of_runs_has_their_numbers_by_name_and_the_settings_that_are_asked_for(
    trained: Path,
) -> None:
    frame = nodebench.runs(trained.parent, settings=["optimizer.lr"])
    summary = json.loads((trained / "summary.json").read_text())
    (row,) = frame.to_dict("records")
    assert row["folder"] == str(trained)
    assert (row["task"], row["model"], row["status"], row["seed"]) == (
        "classification",
        "odenet",
        "finished",
        0,
    )
    assert trained.parent.name.endswith(row["hash"])
    assert row["error_test"] == summary["error_test"]
    assert row["optimizer.lr"] == nodebench.load(trained).config["optimizer"]["lr"]
    assert pd.api.types.is_numeric_dtype(frame.error_test)
    assert row["recon_ok"] is summary["recon_ok"]


def test_a_run_that_is_not_finished_is_in_the_frame_with_its_status(tmp_path: Path, trained: Path) -> None:
    begun = tmp_path / "digits-odenet-dopri5-1e0-adjoint-00000000" / "seed3"
    begun.mkdir(parents=True)
    (begun / "config.yaml").write_text((trained / "config.yaml").read_text())
    frame = nodebench.runs(tmp_path)
    assert list(frame.status) == ["unfinished"]
    assert "error_test" not in frame


def test_a_frame_of_no_runs_is_empty_and_one_of_no_folder_an_error(tmp_path: Path, trained: Path) -> None:
    assert len(nodebench.runs(tmp_path)) == 0
    with pytest.raises(nodebench.ConfigError, match="there is no folder"):
        nodebench.runs(tmp_path / "nowhere")
    with pytest.raises(nodebench.ConfigError, match=r"the nearest is `optimizer\.lr`"):
        nodebench.runs(trained, settings=["optimizer.lrr"])


def test_the_page_about_python_says_what_runs(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "python.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 4
    code = re.sub(r'"outputs/classification/[^"]*"', repr(str(trained)), "\n".join(blocks))
    monkeypatch.chdir(trained.parent.parent)
    exec(code.replace('runs("outputs"', 'runs("."'), {})


def test_there_is_nothing_of_another_name() -> None:
    assert {"load", "runs", "__version__"} <= set(dir(nodebench))
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = nodebench.lode  # type: ignore[attr-defined]
