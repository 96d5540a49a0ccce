"""`nodebench export`: the file gives what the net gives, and what cannot be exported is said in one sentence."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nodebench
from nodebench import cli
from nodebench.commands import export_formats
from nodebench.config.compose import compose
from nodebench.config.identity import run_folder

SMALL = ("data=digits", "training=smoke", "data.batch_size=8", "data.limit_train=16", "solver.tol=1e-2")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    overrides = (*SMALL, f"output_dir={tmp_path_factory.mktemp('runs')}")
    assert cli.main(["train", *overrides]) == 0
    return run_folder(compose(overrides).config)


def export(*arguments: str | Path) -> int:
    return cli.main(["export", *map(str, arguments)])


def loaded(file_format: str, path: Path, images: Tensor) -> Tensor:
    if file_format == "torchscript":
        script: Any = torch.jit.load(str(path))
        return script(images)
    logits: Tensor = torch.export.load(str(path)).module()(images)
    return logits


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("file_format", ["torchscript", "pt2"])
def test_a_file_gives_what_the_net_gives_with_the_same_steps_for_any_number_of_images(
    trained: Path, file_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Path(f"net.{file_format}")
    assert export(trained, "--format", file_format, "solver=rk4", "solver.dt=0.25", "--out", out) == 0
    images = torch.rand(7, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    wanted = nodebench.load(trained).solved("rk4", dt=0.25)(images)
    torch.testing.assert_close(loaded(file_format, out, images), wanted, rtol=1e-4, atol=1e-4)
    said = " ".join(capsys.readouterr().out.split())
    assert "solve 4 equal steps of rk4 from 0 to 1, whatever the image" in said
    assert "between the file and the net with these steps" in said
    assert "images are called another class" in said
    assert f"wrote {out}" in said


def test_a_solver_that_chooses_its_steps_is_exported_with_as_many_equal_ones_and_that_is_said(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(trained, "--format", "pt2") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "equal steps of dopri5 from 0 to 1" in said
    assert "no error is controlled any more" in said
    assert Path(f"{trained.parent.name}-seed0.pt2").is_file()


def test_a_net_without_an_ode_is_exported_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    overrides = ("model=mlp", *SMALL[:-1])
    assert cli.main(["train", *overrides]) == 0
    run = run_folder(compose(overrides).config)
    capsys.readouterr()
    assert export(run, "--format", "pt2", "--out", "net.pt2") == 0
    images = torch.rand(3, 1, 28, 28)
    torch.testing.assert_close(loaded("pt2", Path("net.pt2"), images), nodebench.load(run).model(images))
    assert "solve" not in capsys.readouterr().out


def test_a_file_that_is_not_the_net_is_not_written(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrong(file_format: str, net: nn.Module, images: Tensor) -> tuple[bytes, Tensor]:
        return b"", net(images) + 0.01

    monkeypatch.setattr("nodebench.commands.exported.written_as", wrong)
    assert export(trained, "--format", "pt2", "--out", "net.pt2") == 1
    assert "the file is not what the net computes: a logit differs by 1.0e-02" in capsys.readouterr().err
    assert not Path("net.pt2").exists()


def test_a_net_that_torch_cannot_write_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    class Branching(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images if float(images.sum()) > 0 else -images

    with pytest.raises(nodebench.FailedError, match="torch cannot write this net as pt2"):
        export_formats.written_as("pt2", Branching(), torch.rand(4, 1, 28, 28))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("solver=implicit_adams", "solver.dt=0.1"), "implicit_adams is no explicit Runge-Kutta method"),
        (("--out", "nowhere/net.pt2"), "cannot write to `nowhere/net.pt2`"),
        (("optimizer.lr=1",), "cannot be changed here"),
    ],
)
def test_what_cannot_be_exported_is_said(
    trained: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    assert export(trained, "--format", "pt2", *arguments) == 2
    assert said in capsys.readouterr().err


def test_a_flow_has_nothing_that_one_call_gives(capsys: pytest.CaptureFixture[str]) -> None:
    overrides = (
        *("task=density", "data=two_circles", "model=planar_nf", "model.num_layers=1"),
        *("training=smoke", "data.batch_size=8", "task.steps_per_record=2"),
    )
    assert cli.main(["train", *overrides]) == 0
    assert export(run_folder(compose(overrides).config), "--format", "pt2") == 2
    assert "planar_nf is no classifier" in capsys.readouterr().err


def test_packages_that_are_not_there_are_named_with_the_line_that_installs_them(
    trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_spec(name: str) -> object:
        return None if name.startswith("onnx") else importlib.util.find_spec(name)

    monkeypatch.setattr(export_formats, "find_spec", find_spec)
    assert export(trained, "--format", "onnx") == 2
    assert "pip install 'nodebench[onnx]'" in capsys.readouterr().err


def test_an_onnx_file_runs_in_another_runtime(trained: Path) -> None:
    for name in ("onnx", "onnxscript"):
        pytest.importorskip(name)
    onnxruntime = pytest.importorskip("onnxruntime")
    assert export(trained, "--format", "onnx", "solver=rk4", "solver.dt=0.25", "--out", "net.onnx") == 0
    images = torch.rand(7, 1, 28, 28)
    (logits,) = onnxruntime.InferenceSession("net.onnx").run(None, {"images": images.numpy()})
    wanted = nodebench.load(trained).solved("rk4", dt=0.25)(images)
    torch.testing.assert_close(torch.from_numpy(logits), wanted, rtol=1e-4, atol=1e-4)
