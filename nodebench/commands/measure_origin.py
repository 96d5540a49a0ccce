"""What a measurement is made with: weights, settings, machine; and that rows of two origins are never mixed."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from torch import nn

from nodebench.commands.session import Session
from nodebench.config.own_code import own_code
from nodebench.measurement import ReferenceSettings
from nodebench.training.environment import describe_environment


def made_with(
    trained: Session, net: nn.Module, num_images: int, config: dict[str, Any], reference: ReferenceSettings
) -> dict[str, Any]:
    """What all rows of a table about a test set of `num_images` must share."""
    environment = describe_environment(trained.device)
    origin = {
        "step": trained.step,
        "weights": _digest(net),
        "data": config["data"]["name"],
        "num_images": num_images,
        "solver": _shared(config["solver"]),
        "reference": {**asdict(reference), "dtype": "float64"},
        **{key: environment[key] for key in ("version", "device", "device_name", "num_threads")},
    }
    if own := own_code(config):
        origin["own_code"] = own
    return origin


def commit_of(trained: Session) -> str | None:
    """The commit of the code that measures."""
    commit: str | None = describe_environment(trained.device)["git_commit"]
    return commit


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What is not `now` as it was: `step 1 and not 2`."""
    return [
        f"{key} {json.dumps(before.get(key))} and not {json.dumps(value)}"
        for key, value in now.items()
        if before.get(key) != value
    ]


def _digest(model: nn.Module) -> str:
    """Eight hexadecimal digits that differ when a weight does: a run trained anew may end at the same step."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:8]


def _shared(solver: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that all rows share; what is null in `adjoint` is as in the row."""
    own = ("name", "method", "tol", "rtol", "atol", "dt")
    shared = {key: value for key, value in solver.items() if key not in own}
    if shared.get("steps") == "shared":  # as in a measurement from before there was a choice
        del shared["steps"]
    return {**shared, "max_step": None if math.isinf(solver["max_step"]) else solver["max_step"]}
