"""What values each key takes: a range or a list of names for every key that a user sets.

The ends are far beyond what anybody trains with, and within what float32, torch's integers and a machine's memory can
take, so that a slip of the keyboard is a sentence that names the key and not an error from below.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from nodebench.config.errors import ConfigError
from nodebench.config.files import flatten

GRADIENTS = ("direct", "checkpointed", "adjoint")
ADJOINT_NORMS = ("full", "joint", "seminorm", "state")

Check = tuple[str, Callable[[Any], bool]]  # what is allowed, in words, and whether a value is


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _one_of(*names: str) -> Check:
    return f"one of {', '.join(names)}", lambda value: value in names


def _number(low: float, high: float) -> Check:
    """A number from `low` to `high`, both allowed. NaN lies in no range; a whole number of any length is compared."""
    return f"a number from {_short(low)} to {_short(high)}", lambda v: _is_number(v) and low <= v <= high


def _whole(low: int, high: int) -> Check:
    return f"a whole number from {low:,} to {high:,}", lambda v: _is_whole(v) and low <= v <= high


def _list_of(item: Check, at_least: int, at_most: int) -> Check:
    words, allows = item
    return (
        f"a list of {at_least} to {at_most}, each {words}",
        lambda v: isinstance(v, list) and at_least <= len(v) <= at_most and all(map(allows, v)),
    )


def _or(value: float, check: Check) -> Check:
    words, allows = check
    return f"{words}, or {value:g}", lambda v: allows(v) or (_is_number(v) and v == value)


def _short(number: float) -> str:
    """1e-15 and 1e6, as one writes them."""
    return f"{number:g}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")


TOLERANCE = _number(1e-15, 1e6)
ABSOLUTE_TOLERANCE = _number(1e-30, 1e6)  # smaller than the state's size says that rtol alone counts
SPAN = _number(1e-6, 1e6)  # of steps, and what else is of order 1
STEPS = _whole(1, 10**12)
ITEMS = _whole(1, 10**9)
SHARE: Check = ("a number from 0 up to, but not, 1", lambda v: _is_number(v) and 0 <= v < 1)
PART: Check = ("a number above 0 and below 1", lambda v: _is_number(v) and 0 < v < 1)
SWITCH: Check = ("true or false", lambda v: isinstance(v, bool))

ALLOWED: dict[str, Check] = {
    "seed": ("a whole number from 0 to 2**63 - 1", lambda v: _is_whole(v) and 0 <= v < 2**63),
    "device": _one_of("auto", "cpu", "cuda", "mps"),
    "num_threads": _whole(1, 1024),  # many more crash OpenMP
    "compile": SWITCH,
    "deterministic": SWITCH,
    "output_dir": ("the name of a folder", lambda v: isinstance(v, str) and v != ""),
    "data.root": ("the name of a folder", lambda v: isinstance(v, str)),
    "data.path": ("the name of a .npy or .csv file", lambda v: isinstance(v, str) and v != ""),
    "data.val_size": _whole(0, 10**9),
    "data.limit_train": ITEMS,
    "data.limit_val": ITEMS,
    "data.limit_test": ITEMS,
    "data.val_share": PART,
    "data.test_share": PART,
    "data.batch_size": _whole(1, 10**7),
    "data.deskew": SWITCH,
    "data.noise": _or(0, _number(1e-9, 1e3)),  # the densities are a few units wide
    "data.augment": _one_of("none", "shift", "affine"),
    "model.stem": _one_of("conv", "res"),
    "model.gradient": _one_of(*GRADIENTS),
    "model.num_blocks": _whole(0, 1000),
    "model.num_layers": _whole(1, 10_000),  # their couplings are a square matrix
    "model.width": _whole(1, 10**6),
    "model.hidden_dim": _whole(1, 10**6),
    "model.hidden_dims": _list_of(_whole(1, 10**6), 1, 100),
    "model.variant": _one_of("paper", "example"),
    "model.divergence": _one_of("exact", "hutchinson"),
    "model.noise": _one_of("rademacher", "gaussian"),
    "model.t1": SPAN,
    "model.base_std": SPAN,
    "task.steps_per_record": STEPS,
    "task.num_frames": _whole(1, 1000),  # each is a picture kept in memory
    "task.anneal_steps": _whole(0, 10**12),
    "solver.tol": TOLERANCE,
    "solver.rtol": TOLERANCE,
    "solver.atol": ABSOLUTE_TOLERANCE,
    "solver.dt": SPAN,
    "solver.controller": _one_of("integral", "pi", "pid"),
    "solver.norm": _one_of("rms", "max_sample"),
    "solver.max_steps": STEPS,
    "solver.max_nfe": STEPS,
    "solver.min_step": _or(0, _number(1e-15, 1e6)),
    "solver.max_step": _or(math.inf, SPAN),
    "solver.first_step": _number(1e-15, 1e6),
    "solver.adjoint.rtol": TOLERANCE,
    "solver.adjoint.atol": ABSOLUTE_TOLERANCE,
    "solver.adjoint.norm": _one_of(*ADJOINT_NORMS),
    "optimizer.lr": _number(1e-15, 1e6),
    "optimizer.weight_decay": _or(0, _number(1e-15, 1e6)),
    "optimizer.momentum": SHARE,
    "optimizer.nesterov": SWITCH,
    "optimizer.alpha": SHARE,
    "optimizer.betas": _list_of(SHARE, 2, 10),
    "optimizer.eps": _number(1e-30, 1e6),  # with 0, a weight without a gradient becomes 0/0
    "training.epochs": ITEMS,
    "training.num_steps": STEPS,
    "training.schedule": _one_of("one_cycle", "multistep", "constant"),
    "training.warmup_share": SHARE,
    "training.milestones": _list_of(ITEMS, 0, 1000),
    "training.gamma": SPAN,
    "training.ema_decay": SHARE,
    "training.label_smoothing": SHARE,
    "training.clip_norm": _number(1e-15, 1e15),
    "training.checkpoint_every_s": _number(1e-3, 1e9),
    "training.force": SWITCH,
}
# These may also be null.
NULLABLE = (
    "num_threads",
    *(f"data.limit_{part}" for part in ("train", "val", "test")),
    *(f"solver.{key}" for key in ("tol", "rtol", "atol", "dt", "max_steps", "max_nfe", "first_step")),
    "solver.adjoint.rtol",
    "solver.adjoint.atol",
    *(f"training.{key}" for key in ("epochs", "num_steps", "ema_decay", "clip_norm")),
)


def check_ranges(config: Mapping[str, Any]) -> None:
    """Every value that has a range lies in it. Raises ConfigError for the first that does not."""
    for key, value in flatten(dict(config)):
        if key not in ALLOWED or (value is None and key in NULLABLE):
            continue
        words, allows = ALLOWED[key]
        if not allows(value):
            raise ConfigError(f"{key}={_shown(value)} is not possible; it must be {words}")


def _shown(value: Any) -> str:
    """A value as one would type it, cut where it would fill the screen."""
    text = "null" if value is None else str(value)
    return text if len(text) <= 100 else f"{text[:100]}..."
