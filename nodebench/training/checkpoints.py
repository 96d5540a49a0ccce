"""Checkpoints of a run: files `step-<number>.pt` in one folder, written whole, checked when read; `best.pt` beside."""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import NoneType
from typing import Any

import torch
from torch import Tensor, nn

from nodebench.reading import read_yaml
from nodebench.records.storage import RunFolderError, named_disk_errors, write_atomically
from nodebench.training.progress import say
from nodebench.training.protocols import NonFiniteValuesError

LAST, BEST = "last", "best"
"""Which weights of a run: those it ended with, or those that did best on the validation split."""

_NUM_KEPT = 2
_BEST_FILE = "best.pt"
_REQUIRED = {
    "step": int,
    "model": dict,
    "averaged": dict | NoneType,
    "num_steps": int,
    "metrics_length": int,
}


class DamagedCheckpointError(Exception):
    """A checkpoint that cannot be read, with the reason."""


def save_checkpoint(folder: Path, step: int, content: Mapping[str, Any]) -> None:
    """Write a checkpoint and remove all but the newest two.

    Raises RunFolderError if it cannot be written; the checkpoints before it then stay.
    """
    _write(folder, f"step-{step:09d}.pt", content)
    for old in _newest_first(folder)[_NUM_KEPT:]:
        with suppress(OSError):
            old.unlink()


def save_best(folder: Path, content: Mapping[str, Any]) -> None:
    """Write the weights that did best on the validation split, in place of those before. Raises RunFolderError."""
    _write(folder, _BEST_FILE, content)


def copy_best(source: Path, target: Path, until_step: int) -> None:
    """Copy the best weights of a run into another's folder, unless they are of a later step or cannot be read."""
    path = source / _BEST_FILE
    if path.is_file() and _step_of(path) <= until_step:
        with named_disk_errors(target):
            target.mkdir(exist_ok=True)
            content = path.read_bytes()
        write_atomically(target / _BEST_FILE, content)


def _write(folder: Path, name: str, content: Mapping[str, Any]) -> None:
    # Serialised in memory: torch's own file writer reports a full disk as an unspecific RuntimeError.
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    with named_disk_errors(folder):
        folder.mkdir(exist_ok=True)
    write_atomically(folder / name, buffer.getvalue())


def load_latest_checkpoint(
    folder: Path, is_usable: Callable[[Mapping[str, Any]], bool], say: Callable[[str], None]
) -> dict[str, Any] | None:
    """The newest checkpoint that can be read and is usable; None if there is none. Tensors are on the CPU.

    Each one passed over is reported through `say`.
    """
    paths = _newest_first(folder)
    for path in paths:
        fallback = "there is none before it" if path == paths[-1] else "falling back to the one before"
        try:
            content = read_checkpoint(path)
        except DamagedCheckpointError as error:
            say(f"checkpoint {path.name} is damaged ({error}); {fallback}")
            continue
        if is_usable(content):
            return content
        say(f"checkpoint {path.name} is newer than metrics.jsonl; {fallback}")
    return None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, tensors and plain values alone: pickled objects are refused.

    Raises DamagedCheckpointError if the file is truncated, altered, or holds anything else, RunFolderError if the
    system cannot read it.
    """
    try:
        # torch.load does not compare the checksums that torch.save wrote into its zip file.
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise DamagedCheckpointError(f"wrong checksum of {damaged}")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise RunFolderError(
            f"`{path}` cannot be read ({error.strerror or error}); make it readable"
        ) from error
    except pickle.UnpicklingError as error:
        raise DamagedCheckpointError("it holds objects that are not tensors or plain values") from error
    except DamagedCheckpointError:
        raise
    except Exception as error:  # a damaged file can fail anywhere in two readers
        raise DamagedCheckpointError(str(error).partition("\n")[0]) from error
    if not isinstance(content, dict) or not content.keys() >= _REQUIRED.keys():
        raise DamagedCheckpointError("it is no checkpoint of a run")
    for name, kind in _REQUIRED.items():
        if not isinstance(content[name], kind):
            raise DamagedCheckpointError(f"its `{name}` is a {type(content[name]).__name__}")
    return content


def load_trained_weights(folder: Path, module: nn.Module, which: str = LAST) -> int:
    """Load a run's weights into `module`: see trained_weights; returns their step.

    Raises RunFolderError also if they are of another model.
    """
    state, step = trained_weights(folder, which)
    if problem := mismatch(state, module.state_dict()):
        raise RunFolderError(
            f"the checkpoint in `{folder}` is of another model: {problem}; train the run again"
        )
    module.load_state_dict(state)
    return step


def trained_weights(folder: Path, which: str = LAST) -> tuple[dict[str, Tensor], int]:
    """The newest checkpoint's weights, the averaged ones where averaging was on, or BEST; and their step.

    Where the newest is damaged, the one before is taken and stderr says so. Raises RunFolderError if the folder has no
    such checkpoint that can be read, NonFiniteValuesError if a weight is NaN or infinite.
    """
    content = _best(folder) if which == BEST else _last(folder)
    state = content["model"]
    if content["averaged"] is not None:
        prefix = "module."
        state = {
            str(key).removeprefix(prefix): value
            for key, value in content["averaged"].items()
            if str(key).startswith(prefix)
        }
    if problem := _not_finite(state):
        raise NonFiniteValuesError(
            f"the weights of step {content['step']} in `{folder}` are not finite: {problem}; the run has diverged, "
            "train it with a lower learning rate (optimizer.lr)"
        )
    return state, int(content["step"])


def _last(folder: Path) -> dict[str, Any]:
    skipped: list[str] = []
    content = load_latest_checkpoint(folder, lambda _: True, skipped.append)
    if content is None:
        raise RunFolderError(
            why_not_kept(folder)
            or f"no readable checkpoint in `{folder}`, and a committed record has none: train the run, under another "
            f"output_dir=... if it counts as finished here. {'. '.join(skipped)}".strip()
        )
    for message in skipped:
        say(message)
    return content


def why_not_kept(folder: Path) -> str:
    """Why there are no checkpoints in `folder`, where the config beside it says that they were not to be kept."""
    try:
        config = read_yaml((folder.parent / "config.yaml").read_text(encoding="utf-8"))
        was_kept = config["training"].get("keep_checkpoints", True) or folder.exists()
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return ""
    if was_kept:
        return ""
    return (
        f"the weights of `{folder.parent}` were not kept, as training.keep_checkpoints=false asked: train it again "
        "with training.force=true and training.keep_checkpoints=true"
    )


def _best(folder: Path) -> dict[str, Any]:
    path = folder / _BEST_FILE
    if not path.exists():
        raise RunFolderError(
            why_not_kept(folder)
            or f"`{folder}` has no {_BEST_FILE}: nothing was held out for validation, or the run was trained before "
            "nodebench kept one; --checkpoint last evaluates the weights that it ended with"
        )
    try:
        return read_checkpoint(path)
    except DamagedCheckpointError as error:
        raise RunFolderError(
            f"`{path}` is damaged ({error}); --checkpoint last evaluates the weights that the run ended with"
        ) from error


def _not_finite(state: Mapping[Any, Any]) -> str:
    """The first weight that is NaN or infinite somewhere; empty if there is none."""
    for name, weight in state.items():
        if isinstance(weight, Tensor) and (num_bad := int((~weight.isfinite()).sum())):
            return f"{name} is NaN or infinite in {num_bad:,} of {weight.numel():,} entries"
    return ""


def mismatch(state: Mapping[Any, Any], own: Mapping[str, Any]) -> str:
    """Why `state` cannot be loaded where `own` is, by the first weight that differs; empty if it can."""
    missing = [name for name in own if name not in state]
    foreign = [name for name in state if name not in own]
    if missing or foreign:
        examples = [f"{len(missing)} weights are missing ({missing[0]})"] if missing else []
        examples += [f"{len(foreign)} are not this model's ({foreign[0]})"] if foreign else []
        return ", ".join(examples)
    for name, weight in own.items():
        found = state[name]
        if not isinstance(found, Tensor):
            return f"its {name} is a {type(found).__name__}"
        if found.shape != weight.shape:
            return f"its {name} is {tuple(found.shape)} and not {tuple(weight.shape)}"
    return ""


def discard_after(folder: Path, step: int) -> None:
    """Remove the checkpoints after `step`, which a resumed run passed over: its own will take their place."""
    best = folder / _BEST_FILE
    for path in (*_newest_first(folder), *([best] if best.is_file() else [])):
        if _step_of(path) > step:
            with named_disk_errors(path):
                path.unlink()


def _step_of(path: Path) -> float:
    """The step of a checkpoint, by its name or else by its content; infinite if that cannot be read."""
    if path.name != _BEST_FILE:
        return int(path.stem.removeprefix("step-"))
    try:
        return int(read_checkpoint(path)["step"])
    except DamagedCheckpointError:
        return math.inf


def _newest_first(folder: Path) -> list[Path]:
    """The run's own checkpoints; a copy that somebody put beside them under another name is left alone."""
    return sorted(
        (path for path in folder.glob("step-*.pt") if path.stem.removeprefix("step-").isdecimal()),
        reverse=True,
    )
