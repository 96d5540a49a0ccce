"""Random numbers as a function of what they are for, so that a resumed run draws what it would have drawn."""

from __future__ import annotations

import hashlib

import torch


def generator(purpose: str, seed: int, index: int) -> torch.Generator:
    """A generator of its own for each purpose, seed and index; hashed, so that neighbours have nothing in common."""
    digest = hashlib.sha256(f"{purpose} {seed} {index}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big"))
