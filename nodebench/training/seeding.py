"""Random number generators: seed them all, write their states down, and put them back."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int, deterministic: bool = False) -> None:
    """Seed Python, NumPy and torch; `deterministic` also makes torch refuse kernels that are not.

    Called before the module is built, so that its initial weights follow from the seed.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    if deterministic:
        # cuBLAS asks for this workspace setting before its first call (torch's notes on reproducibility).
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if (
        deterministic != torch.are_deterministic_algorithms_enabled()
    ):  # to say it imports torch's compiler, over a second
        torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = False


def rng_states() -> dict[str, Any]:
    """The state of every generator as tensors and plain values, which torch.load(weights_only=True) reads."""
    numpy_state = np.random.get_state(legacy=False)
    states: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": (
            numpy_state["bit_generator"],
            numpy_state["state"]["key"].tolist(),
            numpy_state["state"]["pos"],
            numpy_state["has_gauss"],
            numpy_state["gauss"],
        ),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state_all()
    if torch.backends.mps.is_available():
        states["mps"] = torch.mps.get_rng_state()
    return states


def restore_rng_states(states: dict[str, Any]) -> None:
    """Put the generators back to what `rng_states` returned; devices that are gone are left out."""
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.device_count() == len(states["cuda"]):
        torch.cuda.set_rng_state_all(states["cuda"])
    if "mps" in states and torch.backends.mps.is_available():
        torch.mps.set_rng_state(states["mps"])


@contextmanager
def preserved_rng() -> Iterator[None]:
    """Leave every generator as it was: what runs inside draws numbers without changing the training."""
    states = rng_states()
    try:
        yield
    finally:
        restore_rng_states(states)
