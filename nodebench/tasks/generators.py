"""Random numbers as a function of what they are for, so that a resumed run draws what it would have drawn."""

from __future__ import annotations

import hashlib
from functools import lru_cache

import torch
from torch import Tensor


def generator(purpose: str, seed: int, index: int) -> torch.Generator:
    """A generator of its own for each purpose, seed and index; hashed, so that neighbours have nothing in common."""
    digest = hashlib.sha256(f"{purpose} {seed} {index}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big"))


def rows_of_step(step: int, seed: int, num_samples: int, batch_size: int) -> Tensor:
    """Which of a set's samples are the batch of a step, counted from 0: (batch_size,) int64 on the CPU.

    Every pass goes through the set in an order of its own and drops an incomplete last batch.
    """
    turn, index = divmod(step, num_samples // batch_size)
    return _order(seed, turn, num_samples)[index * batch_size : (index + 1) * batch_size]


@lru_cache(maxsize=2)
def _order(seed: int, turn: int, num_samples: int) -> Tensor:
    return torch.randperm(num_samples, generator=generator("order", seed, turn))
