"""Which run a config is: the folder name, with a hash over exactly the keys that determine the numbers.

Two ways to ask for the same numbers give the same hash. Values of null are left out, so that a key added
later with null as its default leaves the hash of older runs as it was; so are those of _ADDED_LATER at theirs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from nodebench.config.files import flatten
from nodebench.ode.settings import BUDGETS, of_later, precision, tolerances
from nodebench.records.precision import FLOAT32
from nodebench.records.precision import KEY as PRECISION

BUDGET_KEYS = tuple(f"solver.{name}" for name in BUDGETS)
# The names are those of files; what the files say is hashed. tol is hashed as the rtol and atol that it sets.
_WITHOUT_EFFECT = frozenset(
    {
        "seed",
        "device",
        "num_threads",
        "output_dir",
        "data.root",
        "data.path",  # data.content counts
        "training.force",
        "training.from",  # training.from_weights counts
        "training.extend",  # which gives the numbers that it would have without
        "training.checkpoint_every_s",
        "training.keep_checkpoints",
        "solver.tol",
        *BUDGET_KEYS,  # with a larger one a run that has spent its own goes on: docs/decisions/0023
    }
)
_ABOUT_THE_RUN = ("about", "logger")  # nodes that say nothing of how it is trained
# What came after runs were published: with these values it says what leaving it out says.
_ADDED_LATER = {
    PRECISION: FLOAT32,
    "data.deskew": False,
    **{f"solver.{key}": value for key, value in of_later().items()},
}


def run_folder(config: Mapping[str, Any]) -> Path:
    """`<output_dir>/<task>/<data>-<model>[-<solver>-<tol>-<gradient>]-<hash8>/seed<k>`.

    Where a budget is given and only the folder is there that counts it, as all did once, it is that.
    """
    folder = _named(config, hash8(config))
    if any((config.get("solver") or {}).get(name) is not None for name in BUDGETS) and not folder.exists():
        older = _named(config, _hash8(config, _WITHOUT_EFFECT.difference(BUDGET_KEYS)))
        return older if older.is_dir() else folder
    return folder


def _named(config: Mapping[str, Any], digits: str) -> Path:
    name = [config["data"]["name"], config["model"]["name"]]
    if "solver" in config:
        solver = config["solver"]
        text = precision(*tolerances(solver), solver["dt"], fixed="dt{:g}", between="_", digits=6)
        name += [solver["method"], text, config["model"]["gradient"]]
    folder = "-".join([*name, digits])
    return Path(config["output_dir"]) / config["task"]["name"] / folder / f"seed{config['seed']}"


def hash8(config: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits that differ when a key that determines the numbers does."""
    return _hash8(config, _WITHOUT_EFFECT)


def _hash8(config: Mapping[str, Any], without: Collection[str]) -> str:
    counted = flatten(_what_counts(config, without))
    numbers = {key: _same_form(value) for key, value in counted if not _is_left_out(key, value)}
    return hashlib.sha256(json.dumps(numbers, sort_keys=True).encode()).hexdigest()[:8]


def what_makes_the_numbers(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that determine the numbers, by the names and with the values that a user gives them.

    Precision and settings of a solver came later, and are there with what older configs, which lack them, mean.
    """
    config = {PRECISION: FLOAT32, **config}
    if "solver" in config:
        config = {**config, "solver": of_later() | config["solver"]}
    without_effect = _WITHOUT_EFFECT - {"solver.tol", "training.from"}
    return {
        key: value
        for key, value in flatten(dict(config))
        if key not in without_effect
        and key.split(".")[0] not in _ABOUT_THE_RUN
        and not key.endswith("_target_")
    }


def _what_counts(config: Mapping[str, Any], without: Collection[str]) -> dict[str, Any]:
    counted = {key: value for key, value in flatten(dict(config)) if key not in without}
    counted = {
        key: value
        for key, value in counted.items()
        if key.split(".")[0] not in _ABOUT_THE_RUN and not key.endswith(".name")
    }
    if "solver" in config:
        counted["solver.rtol"], counted["solver.atol"] = tolerances(config["solver"])
        if config["model"]["gradient"] != "adjoint":
            counted = {key: value for key, value in counted.items() if not key.startswith("solver.adjoint.")}
    return counted


def _is_left_out(key: str, value: Any) -> bool:
    return value is None or (key in _ADDED_LATER and value == _ADDED_LATER[key])


def _same_form(value: Any) -> Any:
    """1 and 1.0 are the same number; a text stays a text."""
    if isinstance(value, list | tuple):
        return [_same_form(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
