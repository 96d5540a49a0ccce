"""The kinds of files that `nodebench export` writes: each is read back and run on more images than it was made of."""

from __future__ import annotations

import importlib
import io
import tempfile
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nodebench.config.errors import ConfigError, FailedError

HOW_TO_LOAD = {
    "torchscript": 'torch.jit.load("{out}")(images)',
    "pt2": 'torch.export.load("{out}").module()(images)',
    "onnx": 'onnxruntime.InferenceSession("{out}").run(None, {{"images": images}})  # a NumPy array',
}
_NEEDED = {"onnx": ("onnx", "onnxscript", "onnxruntime")}
_NUM_TRACED = 3  # images; the file is checked with another number of them


def check_can_write(file_format: str) -> None:
    """Raises ConfigError, with the line that installs them, for packages that a format needs and are not here."""
    missing = [name for name in _NEEDED.get(file_format, ()) if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"--format {file_format} needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not "
            "installed; `pip install 'nodebench[onnx]'` brings all that it needs"
        )


def written_as(file_format: str, net: nn.Module, images: Tensor) -> tuple[bytes, Tensor]:
    """The content of a file of a net, and the logits that the file, read back, gives for all images.

    Raises FailedError, in one sentence, where torch cannot write the net.
    """
    write: Callable[[nn.Module, Tensor, Tensor], tuple[bytes, Tensor]] = {
        "torchscript": _torchscript,
        "pt2": _pt2,
        "onnx": _onnx,
    }[file_format]
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # of deprecations, and of what the tracer has been checked for below
            return write(net, images[:_NUM_TRACED], images)
    except Exception as error:
        words = " ".join(str(error).split())
        words = words if len(words) <= 200 else f"{words[:200]}..."
        raise FailedError(
            f"torch cannot write this net as {file_format}: {type(error).__name__}: {words}"
        ) from error


def _torchscript(net: nn.Module, few: Tensor, images: Tensor) -> tuple[bytes, Tensor]:
    traced: Any = torch.jit.trace(net, few, check_trace=False)
    buffer = io.BytesIO()
    torch.jit.save(traced, buffer)
    buffer.seek(0)
    read: Any = torch.jit.load(buffer)
    return buffer.getvalue(), read(images)


def _exported(net: nn.Module, few: Tensor) -> torch.export.ExportedProgram:
    return torch.export.export(net, (few,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))


def _pt2(net: nn.Module, few: Tensor, images: Tensor) -> tuple[bytes, Tensor]:
    buffer = io.BytesIO()
    torch.export.save(_exported(net, few), buffer)
    buffer.seek(0)
    logits: Tensor = torch.export.load(buffer).module()(images)
    return buffer.getvalue(), logits


def _onnx(net: nn.Module, few: Tensor, images: Tensor) -> tuple[bytes, Tensor]:
    onnxruntime: Any = importlib.import_module("onnxruntime")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        torch.onnx.export(
            _exported(net, few),
            (),
            str(path),
            dynamo=True,
            external_data=False,
            verbose=False,
            input_names=["images"],
            output_names=["logits"],
        )
        content = path.read_bytes()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"images": images.numpy()})
    return content, torch.from_numpy(logits)
