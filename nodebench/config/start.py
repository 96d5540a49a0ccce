"""The run that another starts from or goes on from: which it is, what its weights are, and whether it fits.

docs/decisions/0016 says what of a run goes on in either case, and why.
"""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodebench.config.errors import ConfigError, FailedError
from nodebench.config.identity import hash8, run_folder, what_makes_the_numbers
from nodebench.config.saved import read_config
from nodebench.records.requeue import was_begun_by_this_job

if TYPE_CHECKING:
    from torch import Tensor, nn

_LENGTH = ("epochs", "num_steps")


def is_forced(config: Mapping[str, Any]) -> bool:
    """Whether a run is to begin anew: for training.force=true, unless this is the requeue of the job that did so."""
    return bool(config["training"]["force"]) and not was_begun_by_this_job(run_folder(config))


def source_of(config: Mapping[str, Any], key: str) -> Path:
    """The run folder that training.<key> names; of a folder of seeds, the one of the config's own seed.

    Raises ConfigError if there is no run.
    """
    place = Path(str(config["training"][key])).expanduser()
    own_seed = place / f"seed{config['seed']}"
    folder = own_seed if key == "extend" and (own_seed / "config.yaml").is_file() else place
    try:
        read_config(folder)
    except ConfigError as error:
        raise ConfigError(f"training.{key}={place}: {error}") from error
    return folder


def settle_start(config: dict[str, Any]) -> tuple[str, ...]:
    """Put a hash of the weights that training.from names beside it; returns a note on what the run starts from.

    Raises ConfigError for a run that is not there, is not finished, or has no weights that can be read.
    """
    if config["training"]["from"] is None:
        return ()
    source = source_of(config, "from")
    state, step = _weights(source)
    config["training"]["from_weights"] = _hash_of(state)
    return (
        f"starts from the weights of {source} (step {step:,}), with an optimizer and a schedule of its own",
    )


def start_from_source(config: Mapping[str, Any], model: nn.Module) -> None:
    """Give the net the weights of the run that training.from names, if it names one.

    Raises ConfigError for weights of another net, and where they are no longer those that the run's name counts.
    """
    if config["training"].get("from") is None:
        return
    from nodebench.training.checkpoints import mismatch

    source = source_of(config, "from")
    state, _ = _weights(source)
    if _hash_of(state) != config["training"]["from_weights"]:
        raise ConfigError(f"training.from={source}: its weights have just changed; give the command again")
    if problem := mismatch(state, model.state_dict()):
        raise ConfigError(
            f"training.from={source} is of another net: {problem}; choose the model that it has, with its settings"
        )
    model.load_state_dict(state)


def started_otherwise(config: Mapping[str, Any]) -> Iterator[Path]:
    """Runs of these settings that started from other weights of the same source, which has changed since."""
    if config["training"].get("from") is None:
        return
    own = run_folder(config)
    prefix = own.parent.name.removesuffix(hash8(config))
    for folder in sorted(own.parent.parent.glob(f"{glob.escape(prefix)}*/{own.name}")):
        try:
            other = read_config(folder)
        except ConfigError:
            continue
        weights = other["training"].get("from_weights")
        if weights in (None, config["training"]["from_weights"]):
            continue
        is_same_source = _name(other["training"].get("from")) == _name(config["training"]["from"])
        if is_same_source and hash8(_without(other, "from_weights")) == hash8(
            _without(config, "from_weights")
        ):
            yield folder


def check_extension(config: Mapping[str, Any]) -> Path | None:
    """The run that training.extend names, of which this one is a longer one; None where it names none.

    Raises ConfigError if it is not the same run but for a smaller length, or if its first steps depend on the length.
    """
    if config["training"].get("extend") is None:
        return None
    source = source_of(config, "extend")
    theirs, named = read_config(source), f"training.extend={source}"
    if theirs["seed"] != config["seed"]:
        raise ConfigError(
            f"{named} has seed {theirs['seed']}, and this run has {config['seed']}; give seed={theirs['seed']}"
        )
    if hash8(_without(theirs, *_LENGTH)) != hash8(_without(config, *_LENGTH)):
        raise ConfigError(
            f"{named} differs from this run in more than its length: {_difference(theirs, config)}"
        )
    key = next(
        (key for key in _LENGTH if None not in (theirs["training"][key], config["training"][key])), None
    )
    if key is None:
        counted = next(key for key in _LENGTH if theirs["training"][key] is not None)
        raise ConfigError(f"{named} counts its length in training.{counted}; give that for this run too")
    there, here = theirs["training"][key], config["training"][key]
    if here <= there:
        raise ConfigError(f"{named} has training.{key}={there} itself; give more than that, and not {here}")
    if config["training"]["schedule"] == "one_cycle":
        raise ConfigError(
            f"{named}: the learning rates of one_cycle over {there} {key} are not the first of those over {here}; "
            f"training.from={source} starts a run of its own from its weights"
        )
    return source


def _weights(source: Path) -> tuple[dict[str, Tensor], int]:
    from nodebench.training import RunFolder, RunFolderError
    from nodebench.training.checkpoints import trained_weights
    from nodebench.training.protocols import NonFiniteValuesError

    if not RunFolder(source).is_finished():
        raise ConfigError(
            f"training.from={source} is not finished, so its weights are not its last; finish it first: the command "
            "that began it goes on with it"
        )
    try:
        return trained_weights(source / "checkpoints")
    except RunFolderError as error:
        raise ConfigError(f"training.from={source}: {error}") from error
    except NonFiniteValuesError as error:
        raise FailedError(f"training.from={source}: {error}") from error


def _hash_of(state: Mapping[str, Tensor]) -> str:
    """16 hexadecimal digits over the names, types, shapes and bits of weights."""
    import torch

    digest = hashlib.sha256()
    for name, weight in sorted(state.items()):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}\n".encode())
        digest.update(weight.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _without(config: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {**config, "training": {**config["training"], **dict.fromkeys(keys)}}


def _difference(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """The first setting that is not the same, length aside, in words."""
    there, here = (what_makes_the_numbers(_without(config, *_LENGTH)) for config in (theirs, ours))
    for key in (
        key for key in {**there, **here} if there.get(key) != here.get(key) and not key.endswith(".name")
    ):
        return f"it has {key}={there.get(key)}, and this one {here.get(key)}"
    return "it is of another version of nodebench"


def _name(place: object) -> tuple[str, ...]:
    """What is kept of a run's folder in the config of another: its own name and its seed."""
    return Path(str(place)).parts[-2:]
