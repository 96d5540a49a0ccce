"""What a run computes products in while it trains, in the words of its config and its environment.json."""

from __future__ import annotations

from typing import Final

FLOAT32: Final = "float32"
BF16: Final = "bf16"
PRECISIONS = (FLOAT32, BF16)

KEY: Final = "precision"
"""Configs and environments of older runs lack it, and mean float32."""
