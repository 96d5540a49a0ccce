"""What values each key takes: a range or a list of names for every key that a user sets.

The ends are far beyond what anybody trains with, and within what float32, torch's integers and a machine's memory can
take, so that a slip of the keyboard is a sentence that names the key and not an error from below.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from nodebench.config.errors import ConfigError
from nodebench.config.files import flatten
from nodebench.ode.methods.traits import GRADIENTS
from nodebench.ode.ranges import SWITCH, Range, either, is_number, is_whole, list_of, number, one_of, whole
from nodebench.ode.settings import SPAN, STEPS, of_config
from nodebench.records.precision import PRECISIONS

ITEMS = whole(1, 10**9)
DEVICE: Range = (
    "one of auto, cpu, cuda, mps, or a GPU by its number such as cuda:1",
    lambda v: v in ("auto", "cpu", "cuda", "mps") or is_gpu(v),
)
SHARE: Range = ("a number from 0 up to, but not, 1", lambda v: is_number(v) and 0 <= v < 1)
PART: Range = ("a number above 0 and below 1", lambda v: is_number(v) and 0 < v < 1)


def is_gpu(device: object) -> bool:
    """Whether a device is a GPU by its number: `cuda:1`."""
    return isinstance(device, str) and re.fullmatch(r"cuda:(0|[1-9]\d{0,3})", device) is not None


ALLOWED: dict[str, Range] = {
    "seed": ("a whole number from 0 to 2**63 - 1", lambda v: is_whole(v) and 0 <= v < 2**63),
    "device": DEVICE,
    "num_threads": whole(1, 1024),  # many more crash OpenMP
    "precision": one_of(*PRECISIONS),
    "compile": SWITCH,
    "deterministic": SWITCH,
    "output_dir": ("the name of a folder", lambda v: isinstance(v, str) and v != ""),
    "data.root": ("the name of a folder", lambda v: isinstance(v, str)),
    "data.path": ("the name of a file", lambda v: isinstance(v, str) and v != ""),
    "data.val_size": whole(0, 10**9),
    "data.limit_train": ITEMS,
    "data.limit_val": ITEMS,
    "data.limit_test": ITEMS,
    "data.val_share": PART,
    "data.test_share": PART,
    "data.batch_size": whole(1, 10**7),
    "data.deskew": SWITCH,
    "data.noise": either(0, number(1e-9, 1e3)),  # the densities are a few units wide
    "data.augment": one_of("none", "shift", "affine"),
    "data.variant": one_of("text", "code", "sine", "spiral"),  # each data set has some of them
    "data.num_train": whole(1, 10**6),
    "data.num_test": whole(1, 10**6),
    "data.num_points": whole(2, 10_000),
    "data.num_observed": whole(2, 10_000),
    "data.horizon": whole(1, 10_000),
    "data.horizon_end": number(0, 1e6),
    "data.window_end": number(-1e15, 1e15),
    "data.time_scale": number(1e-15, 1e15),
    "data.rho": number(1e-9, 1e3),
    "data.omega": number(1e-9, 1e6),
    "data.min_radius": either(0, number(1e-9, 1e6)),
    "data.max_radius": either(0, number(1e-9, 1e6)),
    "data.rate": number(1e-9, 1e6),
    "data.duration": number(1e-9, 1e6),
    "data.depth": number(0, 1),
    "data.phase": number(-1e3, 1e3),
    "data.t_start": number(-1e15, 1e15),
    "data.t_end": number(-1e15, 1e15),
    "model.stem": one_of("conv", "res"),
    "model.gradient": one_of(*GRADIENTS),
    "model.num_blocks": whole(0, 1000),
    "model.num_layers": whole(1, 10_000),  # their couplings are a square matrix
    "model.width": whole(1, 10**6),
    "model.hidden_dim": whole(1, 10**6),
    "model.hidden_dims": list_of(whole(1, 10**6), 1, 100),
    "model.variant": one_of("paper", "example"),
    "model.encoder": one_of("none", "rnn", "gru", "ode_rnn"),  # each model has some of them
    "model.cell": one_of("rnn", "gru"),
    "model.time_input": SWITCH,
    "model.mask_input": SWITCH,
    "model.latent_dim": whole(1, 10**6),
    "model.field_dim": whole(1, 10**6),
    "model.field_layers": whole(1, 1000),
    "model.decoder_dim": whole(1, 10**6),
    "model.rate_dim": whole(1, 10**6),
    "model.activation": one_of("tanh", "elu"),
    "model.observation_noise": one_of("fixed", "learned"),
    "model.clock": one_of("mean_gap", "grid"),
    "model.divergence": one_of("exact", "hutchinson"),
    "model.noise": one_of("rademacher", "gaussian"),
    "model.t1": SPAN,
    "model.base_std": SPAN,
    "task.steps_per_record": STEPS,
    "task.num_frames": whole(1, 1000),  # each is a picture kept in memory
    "task.anneal_steps": whole(0, 10**12),
    **{f"solver.{key}": setting.usual for key, setting in of_config().items() if setting.usual is not None},
    "optimizer.lr": number(1e-15, 1e6),
    "optimizer.weight_decay": either(0, number(1e-15, 1e6)),
    "optimizer.momentum": SHARE,
    "optimizer.nesterov": SWITCH,
    "optimizer.alpha": SHARE,
    "optimizer.betas": list_of(SHARE, 2, 10),
    "optimizer.eps": number(1e-30, 1e6),  # with 0, a weight without a gradient becomes 0/0
    "training.epochs": ITEMS,
    "training.num_steps": STEPS,
    "training.schedule": one_of("one_cycle", "multistep", "constant"),
    "training.warmup_share": SHARE,
    "training.milestones": list_of(ITEMS, 0, 1000),
    "training.gamma": SPAN,
    "training.ema_decay": SHARE,
    "training.label_smoothing": SHARE,
    "training.clip_norm": number(1e-15, 1e15),
    "training.patience": ITEMS,
    "training.from": ("the folder of a run", lambda v: isinstance(v, str) and v != ""),
    "training.extend": ("the folder of a run", lambda v: isinstance(v, str) and v != ""),
    "training.checkpoint_every_s": number(1e-3, 1e9),
    "training.force": SWITCH,
    "training.keep_checkpoints": SWITCH,
}
# These may also be null.
NULLABLE = (
    "num_threads",
    *(f"data.limit_{part}" for part in ("train", "val", "test")),
    *(f"data.{key}" for key in ("num_observed", "window_end", "t_start", "t_end")),
    *(f"solver.{key}" for key, setting in of_config().items() if setting.usual and setting.default is None),
    *(
        f"training.{key}"
        for key in ("epochs", "num_steps", "ema_decay", "clip_norm", "patience", "from", "extend")
    ),
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
